// SPDX-License-Identifier: Apache-2.0
// Points on the CPU, a block at a time: from the bytes of a cloud to columns, in the target frame, tested. Loops over
// columns become SIMD, and reading a column chooses the field's type once a block.
#pragma once

#include <cstdint>

#include "grid.hpp"

namespace robocache {

constexpr int32_t kBlock = 256;

struct PointBlock {
  alignas(64) float values[kMaxFields][kBlock];  // x, y, z, then the other fields
  float fraction[3][kBlock];                     // of the voxel's edge
  uint32_t index[kBlock];                        // of the voxel; 0 where the point is dropped
  int32_t drop[kBlock];                          // a Drop
  double time[kBlock];                           // of a depth image: its values
  float distance[kBlock];                        // m, of a depth image alone
  int32_t size, kept;
  const uint16_t* order;  // [kept]: which points are kept, ascending
  uint16_t kept_points[kBlock];
};

// The poses of a table as columns that SIMD reads: `columns [num, 4, 4]`, scratch of the caller where `by_time`.
void transpose_poses(const Poses& poses, float* columns);

// Reads points [first, first + size) with size <= kBlock. Writes values (x y z in the target frame) and drop.
void read_block(const PointParams& params, const Cloud& cloud, const float* pose_columns, int64_t first, int32_t size,
                PointBlock* block);

// Finds the voxels of a block that was read: fraction, index, drop.
void place_block(const Box& box, PointBlock* block);

// Lists the points that are kept, and counts the others in `dropped [kNumDrops]`.
void list_kept(PointBlock* block, int64_t* dropped);

}  // namespace robocache
