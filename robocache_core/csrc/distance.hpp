// SPDX-License-Identifier: Apache-2.0
// What the values of a depth image mean.
#pragma once

#include "scalar.hpp"

namespace robocache {

struct DepthScale {
  double unit;        // metres of a count
  float least, most;  // m, finite, both allowed
};

RC_HD RC_INLINE float metres_of(double value, const DepthScale& scale) {
  return static_cast<float>(value * scale.unit);
}

// Whether a distance, which is no NaN, is one that is allowed.
RC_HD RC_INLINE bool is_allowed(float metres, const DepthScale& scale) {
  return (metres >= scale.least) & (metres <= scale.most);
}

}  // namespace robocache
