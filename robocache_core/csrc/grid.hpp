// SPDX-License-Identifier: Apache-2.0
// A grid of voxels: in which voxel a point is, and where in it.
#pragma once

#include <cstdint>

#include "points.hpp"

namespace robocache {

// A box of voxels; every reciprocal is the caller's.
struct Box {
  float lower[3], inverse_size[3];  // m, 1/m
  float extent[3];                  // voxels along x y z, as floats
  uint32_t shape[3];                // the same, as integers
};

// The numbers of a voxelization: rows written (0 of a dense tensor), then the points dropped, by reason.
constexpr int kNumbers = 1 + kNumDrops;

// Whether 0 <= value < bound, where bound is above 0. Bits of floats from 0 up are ordered as integers; those of
// negative values and NaN are larger as unsigned ones. The addition takes -0 to 0.
RC_HD RC_INLINE bool is_within(float value, float bound) { return bits_of(value + 0.0f) < bits_of(bound); }

// Where a point is in a box: index linear, ((z * shape_y) + y) * shape_x + x; fraction of the voxel's edge.
struct Place {
  bool inside;
  uint32_t index;  // 0 outside
  float fraction[3];
};

RC_HD RC_INLINE Place place_in(const Box& box, float x, float y, float z) {
  const float u[3] = {(x - box.lower[0]) * box.inverse_size[0], (y - box.lower[1]) * box.inverse_size[1],
                      (z - box.lower[2]) * box.inverse_size[2]};
  Place place;
  place.inside = is_within(u[0], box.extent[0]) & is_within(u[1], box.extent[1]) & is_within(u[2], box.extent[2]);
  const uint32_t mask = 0u - static_cast<uint32_t>(place.inside);
  int32_t cell[3];
  for (int i = 0; i < 3; ++i) {
    const float inside = float_of(bits_of(u[i]) & mask);       // a conversion outside would be undefined
    cell[i] = static_cast<int32_t>(inside);                    // the floor, as it is not negative
    place.fraction[i] = inside - static_cast<float>(cell[i]);  // exact, so below 1
  }
  place.index = (static_cast<uint32_t>(cell[2]) * box.shape[1] + static_cast<uint32_t>(cell[1])) * box.shape[0] +
                static_cast<uint32_t>(cell[0]);
  return place;
}

}  // namespace robocache
