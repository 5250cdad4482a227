// SPDX-License-Identifier: Apache-2.0
// The first half of every voxelization on the GPU: the occupied voxels get rows, in order of index.
//
// A bit a voxel says whether it is occupied; the bits before it are its row. So no point is sorted and no slot is
// searched, and the order of the points shows nowhere. Who counts the marks takes them away: scratch is all zero
// between calls, and nothing is cleared that was not used.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cub/block/block_scan.cuh>

#include "hard_voxels.hpp"
#include "staged_points.cuh"
#include "voxels.hpp"

namespace robocache {

// Voxels are counted by words of 32, words by blocks of as many as a block of threads takes at once.
constexpr int kThreadWords = 2;
constexpr int64_t kRankWords = kThreadWords * kThreads;
constexpr uint32_t kNoVoxel = 0xffffffffu;

// Which voxels of a word are occupied, and how many of the block's are before them.
struct alignas(8) RankedWord {
  uint32_t bits, rank;
};

struct Counters {
  unsigned long long* dropped;  // [kNumDrops] points; zero between calls
  uint32_t* num_voxels;         // occupied
  uint32_t* finished;           // blocks of a launch; zero between launches
};

struct VoxelRows {
  uint32_t* marks;       // [words] which voxels are occupied; zero between calls
  RankedWord* words;     // [words]
  uint32_t* block_rank;  // [words / kRankWords] occupied voxels before the block
  uint32_t* voxels;      // [points] of the points; kNoVoxel where one is dropped
  int64_t num_words;     // a multiple of kRankWords
  int64_t max_rows;      // that the points can occupy
  Counters counters;

  __device__ void mark(uint32_t voxel) const { atomicOr(marks + voxel / 32, 1u << (voxel % 32)); }

  __device__ uint32_t row_of(uint32_t voxel) const {
    const uint32_t word = voxel / 32;
    const RankedWord ranked = words[word];
    return block_rank[word / kRankWords] + ranked.rank + __popc(ranked.bits & ((1u << (voxel % 32)) - 1));
  }

  // The voxel of a row: neighbouring threads search for neighbours, so they read the same.
  __device__ uint32_t voxel_of(uint32_t row) const {
    const uint32_t block = last_not_above(row, 0, static_cast<uint32_t>(num_words / kRankWords),
                                          [&](uint32_t i) { return block_rank[i]; });
    row -= block_rank[block];
    const uint32_t first = block * static_cast<uint32_t>(kRankWords);
    const uint32_t word = last_not_above(row, first, first + static_cast<uint32_t>(kRankWords),
                                         [&](uint32_t i) { return words[i].rank; });
    return 32 * word + place_of_bit(words[word].bits, row - words[word].rank);
  }

 private:
  // Where the bit is that `before` others are below.
  __device__ static uint32_t place_of_bit(uint32_t bits, uint32_t before) {
    uint32_t place = 0;
    for (uint32_t width = 16; width > 0; width /= 2) {
      const uint32_t below = __popc(bits >> place & ((1u << width) - 1));
      if (below <= before) {
        place += width;
        before -= below;
      }
    }
    return place;
  }

  // The last i of [begin, end) where at(i) <= value; they ascend, the first is not above.
  template <class At>
  __device__ static uint32_t last_not_above(uint32_t value, uint32_t begin, uint32_t end, At at) {
    while (end - begin > 1) {
      const uint32_t middle = begin + (end - begin) / 2;
      if (at(middle) <= value) {
        begin = middle;
      } else {
        end = middle;
      }
    }
    return begin;
  }
};

struct RowsScratch {
  GpuMemory marks, words, block_rank, voxels, counters;

  VoxelRows reserve(const Box& box, int64_t num_points, bool in_graph, const char* operation) {
    const int64_t num_voxels = int64_t{box.shape[0]} * box.shape[1] * box.shape[2];
    const int64_t blocks = (num_voxels + 32 * kRankWords - 1) / (32 * kRankWords);
    VoxelRows rows;
    rows.num_words = blocks * kRankWords;
    rows.max_rows = std::min(num_points, num_voxels);
    rows.marks = marks.reserve<uint32_t>(rows.num_words, in_graph, operation);
    rows.words = words.reserve<RankedWord>(rows.num_words, in_graph, operation);
    rows.block_rank = block_rank.reserve<uint32_t>(blocks, in_graph, operation);
    rows.voxels = voxels.reserve<uint32_t>(num_points, in_graph, operation);
    rows.counters = reserve_counters(in_graph, operation);
    return rows;
  }

  Counters reserve_counters(bool in_graph, const char* operation) {
    auto* const dropped = counters.reserve<unsigned long long>(kNumDrops + 1, in_graph, operation);
    auto* const others = reinterpret_cast<uint32_t*>(dropped + kNumDrops);
    return {dropped, others, others + 1};
  }
};

// Counts points dropped by a block; every thread of it takes part.
class DropCounts {
 public:
  __device__ explicit DropCounts(uint32_t* shared) : shared_(shared) {
    if (threadIdx.x < kNumDrops) shared_[threadIdx.x] = 0;
    __syncthreads();
  }
  __device__ void add(int32_t drop, uint32_t points) { atomicAdd(shared_ + drop, points); }
  __device__ void finish(unsigned long long* dropped) {
    __syncthreads();
    if (threadIdx.x < kNumDrops && shared_[threadIdx.x] != 0)
      atomicAdd(dropped + threadIdx.x, static_cast<unsigned long long>(shared_[threadIdx.x]));
  }

 private:
  uint32_t* shared_;  // [kNumDrops]; additions to 64 bits would be loops
};

// Counts them where points are placed: a thread counts its own by reason in one register.
class PlacedDrops {
 public:
  static constexpr int kReasons = 4, kBits = 8, kMostPoints = ((1 << kBits) - 1) / 32;  // of a thread
  static_assert(kNonFinite < kReasons && kRange < kReasons && kOutside < kReasons && kOverflow < kReasons);

  __device__ void add(int32_t drop) { own_ += 1u << (kBits * drop); }

  // For each of the first kReasons threads the block's points of a reason, for others 0. Every thread takes part, once.
  __device__ uint32_t of_block() const {
    __shared__ uint32_t warps[kThreads / 32];
    const uint32_t of_warp = __reduce_add_sync(kWholeWarp, own_);
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = of_warp;
    __syncthreads();
    uint32_t points = 0;
    if (threadIdx.x < kReasons)
      for (const uint32_t counts : warps) points += counts >> (kBits * threadIdx.x) & ((1u << kBits) - 1);
    return points;
  }

 private:
  uint32_t own_ = 0;
};

// Whether all values to be averaged have a sum.
template <bool kPlain>
__device__ inline bool terms_fit(const VoxelParams& params, const GpuPoint& point) {
  bool all = true;
#pragma unroll 4
  for (int c = 0; c < params.num_channels; ++c) {
    if (params.channels[c].kind == ChannelKind::kMean)
      all &= has_term(point.value<kPlain>(params.points, params.channels[c].source), params.most_mean);
  }
  return all;
}

template <bool kPlain>
__device__ inline bool terms_fit(const HardParams&, const GpuPoint&) {
  return true;
}

// Whether all other blocks of the launch have ended; what they wrote can then be read, past the first cache.
__device__ inline bool is_last_block(const Counters& counters) {
  __shared__ bool is_last;
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    is_last = atomicAdd(counters.finished, 1u) == gridDim.x - 1;
    if (is_last) *counters.finished = 0;
  }
  __syncthreads();
  __threadfence();
  return is_last;
}

// The index of a point's voxel; one that is in no voxel is dropped.
__device__ inline uint32_t place_point(const Box& box, GpuPoint& point) {
  const Place place = place_in(box, point.x, point.y, point.z);
  if (point.drop == kKept && !place.inside) point.drop = kOutside;
  return place.index;
}

// A thread a point: marks the occupied voxels, counts what is dropped.
template <bool kPlain, class Params>
__global__ void mark_voxels(const __grid_constant__ Params params, const __grid_constant__ GpuCloud cloud,
                            const __grid_constant__ VoxelRows rows, int64_t num_points) {
  static_assert(fits_staged(1, sizeof(uint32_t[kThreads / 32])));
  PlacedDrops drops;
  const uint32_t i = static_cast<uint32_t>(thread_number());  // no cloud has more points than an int32 counts
  const StagedPoints<kPlain, 1> staged(cloud, i - threadIdx.x % 32);
  staged.wait();
  if (i < num_points) {
    GpuPoint point = read_point<kPlain>(params.points, cloud, staged.bytes(threadIdx.x % 32));
    const uint32_t voxel = place_point(params.box, point);
    if (point.drop == kKept && !terms_fit<kPlain>(params, point)) point.drop = kOverflow;
    rows.voxels[i] = point.drop == kKept ? voxel : kNoVoxel;
    if (point.drop == kKept) {
      rows.mark(voxel);
    } else {
      drops.add(point.drop);
    }
  }
  const uint32_t dropped = drops.of_block();
  if (dropped != 0) atomicAdd(rows.counters.dropped + threadIdx.x, static_cast<unsigned long long>(dropped));
}

// A block for kRankWords words: takes and counts marks; the last block to end adds up what all have counted.
static __global__ void rank_voxels(const __grid_constant__ VoxelRows rows) {
  using Scan = cub::BlockScan<uint32_t, kThreads>;
  __shared__ typename Scan::TempStorage scratch;
  const int64_t first_word = kThreadWords * thread_number();
  uint32_t bits[kThreadWords], before = 0, sum;
  for (int k = 0; k < kThreadWords; ++k) {
    bits[k] = rows.marks[first_word + k];
    if (bits[k] != 0) rows.marks[first_word + k] = 0;
    before += __popc(bits[k]);
  }
  Scan(scratch).ExclusiveSum(before, before, sum);
  for (int k = 0; k < kThreadWords; ++k) {
    rows.words[first_word + k] = {bits[k], before};
    before += __popc(bits[k]);
  }
  if (threadIdx.x == 0) rows.block_rank[blockIdx.x] = sum;
  if (!is_last_block(rows.counters)) return;
  uint32_t total = 0;
  for (uint32_t first = 0; first < gridDim.x; first += kThreads) {
    const uint32_t block = first + threadIdx.x;
    const uint32_t count = block < gridDim.x ? __ldcg(rows.block_rank + block) : 0;
    __syncthreads();  // the scan's memory is used again
    Scan(scratch).ExclusiveSum(count, before, sum);
    if (block < gridDim.x) rows.block_rank[block] = total + before;
    total += sum;
  }
  if (threadIdx.x == 0) *rows.counters.num_voxels = total;
}

// Launches both: afterwards rows.row_of holds, and the number of voxels.
template <class Params>
void find_rows(const Params& params, const GpuCloud& cloud, const VoxelRows& rows, cudaStream_t stream,
               const char* operation) {
  with_constant(is_staged_plain(params.points, cloud.cloud), [&](auto plain) {
    mark_voxels<plain.value, Params><<<blocks_for(cloud.size()), kThreads, staged_bytes(cloud.cloud, 1), stream>>>(
        params, cloud, rows, cloud.size());
  });
  check_launch(operation);
  rank_voxels<<<static_cast<unsigned>(rows.num_words / kRankWords), kThreads, 0, stream>>>(rows);
  check_launch(operation);
}

// By one block, when nothing is counted any more: writes the numbers and clears what was counted. numbers [kNumbers].
__device__ inline void report(const Counters& counters, int64_t capacity, int64_t* numbers) {
  if (threadIdx.x == 0) {
    const int64_t num_voxels = *counters.num_voxels;
    numbers[0] = num_voxels < capacity ? num_voxels : capacity;
  }
  if (threadIdx.x < kNumDrops) {
    numbers[1 + threadIdx.x] = static_cast<int64_t>(__ldcg(counters.dropped + threadIdx.x));
    counters.dropped[threadIdx.x] = 0;
  }
}

// coords [3] (z y x) of a linear index.
__device__ inline void write_coords(const Box& box, uint32_t index, int32_t* coords) {
  const uint32_t zy = index / box.shape[0];
  coords[0] = static_cast<int32_t>(zy / box.shape[1]);
  coords[1] = static_cast<int32_t>(zy % box.shape[1]);
  coords[2] = static_cast<int32_t>(index % box.shape[0]);
}

}  // namespace robocache
