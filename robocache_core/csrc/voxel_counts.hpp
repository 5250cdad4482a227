// SPDX-License-Identifier: Apache-2.0
// Counts and occupancies alone, dense, on the GPU.
#pragma once

#include <cstdint>

#include "gpu.hpp"
#include "voxels.hpp"

namespace robocache {

// Whether counts and occupancies are all that is asked for, of so few points that floats count them.
bool counts_alone(const VoxelParams& params, int64_t num_points);

// As voxelize_dense_cuda, where counts_alone.
void count_dense_cuda(const GpuStream& gpu, const VoxelParams& params, const Cloud& cloud, float* tensor,
                      int64_t* numbers);

}  // namespace robocache
