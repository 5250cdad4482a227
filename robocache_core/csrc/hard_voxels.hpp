// SPDX-License-Identifier: Apache-2.0
// Voxelization to points: which points of a voxel are nearest to its centre.
#pragma once

#include <cstdint>

#include "grid.hpp"

namespace robocache {

// Constants of a voxelization to points.
struct HardParams {
  PointParams points;
  Box box;
  float size[3];                  // m
  int32_t columns[kMaxChannels];  // the fields of a row
  int32_t num_columns;
  int32_t max_points;
};

// The squared distance of a point to the centre of its voxel, m^2, from its place in it.
RC_HD RC_INLINE float distance2_to_centre(const float* fraction, const float* size) {
  const float x = (fraction[0] - 0.5f) * size[0], y = (fraction[1] - 0.5f) * size[1],
              z = (fraction[2] - 0.5f) * size[2];
  return (x * x + y * y) + z * z;
}

// Writes voxels [capacity, max_points, num_columns], coords [capacity, 3] (z y x), num_points [capacity] and numbers
// [kNumbers]. Of a GPU every address is the device's, but that of a single pose.
void voxelize_hard_cpu(const HardParams& params, const Cloud& cloud, int64_t capacity, float* voxels, int32_t* coords,
                       int32_t* num_points, int64_t* numbers);
void voxelize_hard_cuda(const GpuStream& gpu, const HardParams& params, const Cloud& cloud, int64_t capacity,
                        float* voxels, int32_t* coords, int32_t* num_points, int64_t* numbers);

}  // namespace robocache
