// SPDX-License-Identifier: Apache-2.0
// Points of a cloud in the target frame, on the CPU.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "buffer.hpp"
#include "point_block.hpp"
#include "points.hpp"
#include "pool.hpp"

namespace robocache {
namespace {

constexpr int64_t kLeastBlocks = 16;  // that are worth another thread

// Kept by each calling thread, so that only the first call allocates.
struct Scratch {
  Buffer<float> poses;
  std::vector<PointBlock> threads;
};

Scratch& scratch() {
  static thread_local Scratch instance;
  return instance;
}

}  // namespace

void deskew_points_cpu(const PointParams& params, const Cloud& cloud, float* points, bool* valid) {
  Scratch& s = scratch();
  const int64_t num_points = cloud.width * cloud.height;
  const int max_threads = pool_threads();
  if (s.threads.size() < static_cast<size_t>(max_threads)) s.threads.resize(max_threads);
  float* const columns = cloud.poses.by_time ? s.poses.reserve(16 * cloud.poses.num) : nullptr;
  if (columns != nullptr) transpose_poses(cloud.poses, columns);

  const auto body = [&](int64_t begin, int64_t end, int thread) {
    PointBlock& block = s.threads[thread];
    for (int64_t b = begin; b < end; ++b) {
      const int64_t first = b * kBlock;
      const int32_t size = static_cast<int32_t>(std::min<int64_t>(kBlock, num_points - first));
      read_block(params, cloud, columns, first, size, &block);
      const int32_t width = params.num_fields;
      for (int32_t i = 0; i < size; ++i) {
        const bool kept = block.drop[i] == kKept;
        valid[first + i] = kept;
        float* const row = points + (first + i) * width;
        for (int32_t f = 0; f < width; ++f)
          row[f] = from_float<float>(kept || f >= 3 ? block.values[f][i] : float_of(0x7fc00000u));
      }
    }
  };
  parallel_for((num_points + kBlock - 1) / kBlock, kLeastBlocks, body, max_threads);
}

}  // namespace robocache
