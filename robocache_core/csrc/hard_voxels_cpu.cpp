// SPDX-License-Identifier: Apache-2.0
// Hard voxels on the CPU: a record is a point, its words the distance to the voxel's centre, then its row, all as
// ordered integers; the least records of a voxel are kept.
#include <algorithm>
#include <cstdint>
#include <numeric>

#include "hard_voxels.hpp"
#include "voxel_records.hpp"

namespace robocache {
namespace {

struct ThreadScratch {
  PointBlock points;
  int64_t dropped[kNumDrops];
  Buffer<uint32_t> order;
};

VoxelScratch<ThreadScratch>& scratch() {
  static thread_local VoxelScratch<ThreadScratch> instance;
  return instance;
}

int64_t write_records(const HardParams& params, const PointBlock& points, uint32_t* keys, int32_t* words) {
  const int num_words = 1 + params.num_columns;
  for (int32_t k = 0; k < points.kept; ++k) {
    const int32_t i = points.order[k];
    const float fraction[3] = {points.fraction[0][i], points.fraction[1][i], points.fraction[2][i]};
    keys[k] = points.index[i];
    int32_t* const record = words + int64_t{k} * num_words;
    record[0] = ordered_int(distance2_to_centre(fraction, params.size));
    for (int c = 0; c < params.num_columns; ++c) record[1 + c] = ordered_int(points.values[params.columns[c]][i]);
  }
  return points.kept;
}

// Writes the least of a voxel's `records [size, 1 + num_columns]` to `row [max_points, num_columns]`; returns how many.
// order [size]: scratch.
int32_t write_voxel(const HardParams& params, const int32_t* records, int64_t size, uint32_t* order, float* row) {
  const int64_t num_words = 1 + params.num_columns;
  const auto less = [&](uint32_t a, uint32_t b) {
    const int32_t *x = records + a * num_words, *y = records + b * num_words;
    return std::lexicographical_compare(x, x + num_words, y, y + num_words);
  };
  const int32_t kept = static_cast<int32_t>(std::min<int64_t>(size, params.max_points));
  std::iota(order, order + size, 0u);
  if (kept < size) std::nth_element(order, order + kept, order + size, less);
  std::sort(order, order + kept, less);
  for (int32_t k = 0; k < kept; ++k) {
    const int32_t* const record = records + order[k] * num_words + 1;
    for (int c = 0; c < params.num_columns; ++c) *row++ = ordered_float(record[c]);
  }
  std::fill_n(row, int64_t{params.max_points - kept} * params.num_columns, 0.0f);
  return kept;
}

}  // namespace

void voxelize_hard_cpu(const HardParams& params, const Cloud& cloud, int64_t capacity, float* voxels, int32_t* coords,
                       int32_t* num_points, int64_t* numbers) {
  VoxelScratch<ThreadScratch>& s = scratch();
  const auto write = [&](ThreadScratch& t, uint32_t* keys, int32_t* words) {
    list_kept(&t.points, t.dropped);
    return write_records(params, t.points, keys, words);
  };
  const auto close = [](ThreadScratch&, uint32_t*, int32_t*) { return int64_t{0}; };
  const int max_threads = s.reserve_threads(cloud);
  for (ThreadScratch& t : s.threads) t.order.reserve(cloud.width * cloud.height);
  s.sort_points(params.points, params.box, cloud, 1 + params.num_columns, max_threads, write, close);
  const auto write_groups = [&](int64_t begin, int64_t end, int thread) {
    ThreadScratch& t = s.threads[thread];
    for (int64_t g = begin; g < end; ++g) {
      const RecordSort::Group& group = s.records.groups()[g];
      const uint32_t* const keys = s.records.sorted_keys(group);
      const int32_t* const records = s.records.sorted_words(group);
      int64_t row = s.rows[g];
      for (int64_t i = 0, last; i < group.size; i = last, ++row) {
        last = i + 1;
        while (last < group.size && keys[last] == keys[i]) ++last;
        if (row >= capacity) {
          t.dropped[kTableFull] += last - i;
          continue;
        }
        write_coords(params.box, keys + i, 1, coords + 3 * row);
        float* const points = voxels + row * params.max_points * params.num_columns;
        num_points[row] = write_voxel(params, records + i * (1 + params.num_columns), last - i, t.order.data(), points);
        t.dropped[kVoxelFull] += last - i - num_points[row];
      }
    }
  };
  parallel_for(static_cast<int64_t>(s.records.groups().size()), 1, write_groups, max_threads);
  s.write_numbers(std::min(s.num_voxels(), capacity), numbers);
}

}  // namespace robocache
