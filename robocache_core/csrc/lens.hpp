// SPDX-License-Identifier: Apache-2.0
// Where a lens bends a ray to: `distorted` of robocache_core/rectify.py, in float32.
#pragma once

#include <cmath>
#include <cstdint>

#include "scalar.hpp"

namespace robocache {

enum class Lens : int32_t {
  kStraight,
  kPolynomial,   // plumb_bob, rational_polynomial
  kEquidistant,  // fisheye
};

constexpr int kLensCoefficients = 12;

// Arc tangent of t >= 0: the angle is halved three times, then a series takes it.
RC_HD RC_INLINE float arc_tangent(float t) {
  for (int halving = 0; halving < 3; ++halving) t = t / (1.0f + sqrtf(1.0f + t * t));
  const float u = t * t;
  float total = static_cast<float>(1.0 / 25);
  for (int k = 11; k >= 0; --k) total = static_cast<float>(1.0 / (2 * k + 1)) - u * total;
  return 8.0f * t * total;
}

// x / z and y / z of a ray, to where the lens bends them. d: coefficients in the order of a CameraInfo's D.
template <Lens kLens>
RC_HD RC_INLINE void bend(const float* d, float* ray_x, float* ray_y) {
  const float x = *ray_x, y = *ray_y;
  const float r2 = x * x + y * y;
  if (kLens == Lens::kEquidistant) {
    const float r = sqrtf(r2);
    const float theta = arc_tangent(r);
    const float t2 = theta * theta;
    const float bent = theta * (1.0f + t2 * (d[0] + t2 * (d[1] + t2 * (d[2] + t2 * d[3]))));
    const float scale = r > 0.0f ? bent / (r > 0.0f ? r : 1.0f) : 1.0f;
    *ray_x = x * scale;
    *ray_y = y * scale;
  } else if (kLens == Lens::kPolynomial) {
    const float radial =
        (1.0f + r2 * (d[0] + r2 * (d[1] + r2 * d[4]))) / (1.0f + r2 * (d[5] + r2 * (d[6] + r2 * d[7])));
    const float xy2 = 2.0f * x * y;
    *ray_x = x * radial + d[2] * xy2 + d[3] * (r2 + 2.0f * x * x) + r2 * (d[8] + r2 * d[9]);
    *ray_y = y * radial + d[2] * (r2 + 2.0f * y * y) + d[3] * xy2 + r2 * (d[10] + r2 * d[11]);
  }
}

}  // namespace robocache
