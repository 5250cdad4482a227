// SPDX-License-Identifier: Apache-2.0
// The first half of every voxelization on the CPU: the points of a cloud to records sorted by voxel.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "buffer.hpp"
#include "grid.hpp"
#include "point_block.hpp"
#include "pool.hpp"
#include "record_sort.hpp"

namespace robocache {

constexpr int64_t kThreadPoints = 1 << 14;  // that are worth another thread

// Scratch memory of a calling thread, kept, so that after the first scans nothing is allocated. `Thread`: what each of
// the threads that help it has; it has members `points` (a PointBlock) and `dropped [kNumDrops]`.
template <class Thread>
struct VoxelScratch {
  RecordSort records;
  Buffer<float> poses;
  std::vector<Thread> threads;
  std::vector<int64_t> rows;  // where the voxels of a group begin in the result

  // Makes `threads` as many as may take part in work on this cloud; returns how many.
  int reserve_threads(const Cloud& cloud) {
    const int64_t worth = 1 + cloud.width * cloud.height / kThreadPoints;
    const int max_threads = static_cast<int>(std::min<int64_t>(worth, pool_threads()));
    if (threads.size() < static_cast<size_t>(max_threads)) threads.resize(max_threads);
    return max_threads;
  }

  // Reads the points and sorts what write(t, keys, words) makes of those kept of a block, t.points: records of
  // `num_words` words; it returns how many, as does close(t, keys, words), which writes what a part's blocks left.
  template <class Write, class Close>
  void sort_points(const PointParams& params, const Box& box, const Cloud& cloud, int num_words, int max_threads,
                   Write write, Close close) {
    for (Thread& t : threads) std::fill_n(t.dropped, kNumDrops, 0);
    float* const columns = cloud.poses.by_time ? poses.reserve(16 * cloud.poses.num) : nullptr;
    if (columns != nullptr) transpose_poses(cloud.poses, columns);

    records.start(cloud.width * cloud.height, num_words, uint64_t{box.shape[0]} * box.shape[1] * box.shape[2],
                  max_threads);
    const auto read_parts = [&](int64_t begin, int64_t end, int thread) {
      Thread& t = threads[thread];
      for (int part = static_cast<int>(begin); part < end; ++part) {
        uint32_t* const keys = records.keys(part);
        int32_t* const words = records.words(part);
        const int64_t last = records.part_begin(part + 1);
        int64_t size = 0;
        for (int64_t first = records.part_begin(part); first < last; first += kBlock) {
          const int32_t block = static_cast<int32_t>(std::min<int64_t>(kBlock, last - first));
          read_block(params, cloud, columns, first, block, &t.points);
          place_block(box, &t.points);
          size += write(t, keys + size, words + size * num_words);
        }
        size += close(t, keys + size, words + size * num_words);
        records.finish_part(part, size);
      }
    };
    parallel_for(records.num_parts(), 1, read_parts, max_threads);
    records.sort();

    rows.clear();
    int64_t row = 0;
    for (const RecordSort::Group& group : records.groups()) {
      rows.push_back(row);
      row += group.num_keys;
    }
    rows.push_back(row);
  }

  int64_t num_voxels() const { return rows.back(); }

  // numbers [kNumbers]: `rows_written`, then what the threads dropped.
  void write_numbers(int64_t rows_written, int64_t* numbers) const {
    std::fill_n(numbers, kNumbers, 0);
    numbers[0] = rows_written;
    for (const Thread& t : threads)
      for (int reason = 0; reason < kNumDrops; ++reason) numbers[1 + reason] += t.dropped[reason];
  }
};

// coords [size, 3] (z y x) of linear indices.
void write_coords(const Box& box, const uint32_t* index, int32_t size, int32_t* coords);

}  // namespace robocache
