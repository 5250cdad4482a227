// SPDX-License-Identifier: Apache-2.0
// The first half of every voxelization on the GPU: the occupied voxels get rows, in order of index.
//
// A bit a voxel says whether it is occupied; the bits before it are its row. So no point is sorted and no slot is
// searched, and the order of the points shows nowhere. Whoever reads the rows last clears what it read: scratch is all
// zero between calls, and nothing is cleared that was not used.
#pragma once

#include <cub/block/block_reduce.cuh>
#include <cub/block/block_scan.cuh>

#include <algorithm>
#include <cstdint>

#include "points.cuh"

namespace robocache {

constexpr int64_t kRankWords = 4 * kThreads;  // that a block counts

// What a voxelization tells at its end: `num_voxels` rows written, then the points dropped by reason.
constexpr int kNumReported = 1 + kNumDrops;

struct VoxelRows {
  uint32_t* bits;        // [words] zero between calls
  uint32_t* word_rank;   // [words] occupied voxels of the same block before the word
  uint32_t* block_rank;  // [words / kRankWords] occupied voxels before the block
  uint32_t* index;       // [rows] of the voxel
  uint32_t* num_voxels;  // occupied
  uint32_t* finished;    // blocks that have counted; zero between calls
  unsigned long long* dropped;  // [kNumDrops] zero between calls
  int64_t num_words;            // a multiple of kRankWords
  int64_t max_rows;             // that the points can occupy

  __device__ uint32_t row_of(uint32_t voxel) const {
    const uint32_t word = voxel / 32, below = (1u << (voxel % 32)) - 1;
    return block_rank[word / kRankWords] + word_rank[word] + __popc(bits[word] & below);
  }
};

struct RowsScratch {
  GpuMemory bits, word_rank, block_rank, index, counters;

  VoxelRows reserve(const Box& box, int64_t num_points, bool in_graph, const char* operation) {
    const int64_t num_voxels = int64_t{box.shape[0]} * box.shape[1] * box.shape[2];
    const int64_t blocks = (num_voxels + 32 * kRankWords - 1) / (32 * kRankWords);
    VoxelRows rows;
    rows.num_words = blocks * kRankWords;
    rows.max_rows = std::min(num_points, num_voxels);
    rows.bits = bits.reserve<uint32_t>(rows.num_words, in_graph, operation);
    rows.word_rank = word_rank.reserve<uint32_t>(rows.num_words, in_graph, operation);
    rows.block_rank = block_rank.reserve<uint32_t>(blocks, in_graph, operation);
    rows.index = index.reserve<uint32_t>(rows.max_rows, in_graph, operation);
    rows.dropped = counters.reserve<unsigned long long>(kNumDrops + 1, in_graph, operation);
    rows.num_voxels = reinterpret_cast<uint32_t*>(rows.dropped + kNumDrops);
    rows.finished = rows.num_voxels + 1;
    return rows;
  }
};

// Counts the points dropped by a block; every thread of it takes part.
class DropCounts {
 public:
  __device__ explicit DropCounts(uint32_t* shared) : shared_(shared) {
    if (threadIdx.x < kNumDrops) shared_[threadIdx.x] = 0;
    __syncthreads();
  }
  __device__ void add(int32_t drop) { atomicAdd(shared_ + drop, 1u); }
  __device__ void finish(unsigned long long* dropped) {
    __syncthreads();
    if (threadIdx.x < kNumDrops && shared_[threadIdx.x] != 0) atomicAdd(dropped + threadIdx.x, shared_[threadIdx.x]);
  }

 private:
  uint32_t* shared_;  // [kNumDrops]
};

// Whether all values to be averaged have a sum.
__device__ inline bool terms_fit(const VoxelParams& params, const GpuPoint& point) {
  bool all = true;
  for (int c = 0; c < params.num_channels; ++c) {
    if (params.channels[c].kind != ChannelKind::kMean) continue;
    bool fits;
    mean_term(point.value(params.points, params.channels[c].source), params.inverse_quantum, &fits);
    all &= fits;
  }
  return all;
}

__device__ inline bool terms_fit(const HardParams&, const GpuPoint&) { return true; }

// Reads a point and finds its voxel; point->drop says whether it is in one.
template <class Params>
__device__ inline Place place_point(const Params& params, const GpuCloud& cloud, int64_t i, GpuPoint* point) {
  *point = read_point(params.points, cloud, i);
  const Place place = place_in(params.box, point->x, point->y, point->z);
  if (point->drop == kKept && !place.inside) point->drop = kOutside;
  if (point->drop == kKept && !terms_fit(params, *point)) point->drop = kOverflow;
  return place;
}

// A thread a point: sets the bits of occupied voxels, counts what is dropped.
template <class Params>
__global__ void mark_voxels(const __grid_constant__ Params params, const __grid_constant__ GpuCloud cloud,
                            const __grid_constant__ VoxelRows rows, int64_t num_points) {
  __shared__ uint32_t shared[kNumDrops];
  DropCounts drops(shared);
  const int64_t i = thread_number();
  if (i < num_points) {
    GpuPoint point;
    const Place place = place_point(params, cloud, i, &point);
    if (point.drop != kKept) {
      drops.add(point.drop);
    } else {
      const uint32_t word = place.index / 32, bit = 1u << (place.index % 32);
      if ((rows.bits[word] & bit) == 0) atomicOr(rows.bits + word, bit);
    }
  }
  drops.finish(rows.dropped);
}

// A block for kRankWords words: counts bits; the last one to end adds up what all have counted.
static __global__ void rank_voxels(const __grid_constant__ VoxelRows rows) {
  using Scan = cub::BlockScan<uint32_t, kThreads>;
  __shared__ typename Scan::TempStorage scratch;
  __shared__ bool is_last;
  const int64_t at = thread_number();
  const uint4 bits = reinterpret_cast<const uint4*>(rows.bits)[at];
  const uint32_t counts[4] = {static_cast<uint32_t>(__popc(bits.x)), static_cast<uint32_t>(__popc(bits.y)),
                              static_cast<uint32_t>(__popc(bits.z)), static_cast<uint32_t>(__popc(bits.w))};
  uint32_t before, sum;
  Scan(scratch).ExclusiveSum(counts[0] + counts[1] + counts[2] + counts[3], before, sum);
  reinterpret_cast<uint4*>(rows.word_rank)[at] =
      make_uint4(before, before + counts[0], before + counts[0] + counts[1], before + counts[0] + counts[1] + counts[2]);
  if (threadIdx.x == 0) {
    rows.block_rank[blockIdx.x] = sum;
    __threadfence();
    is_last = atomicAdd(rows.finished, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (!is_last) return;
  __threadfence();
  uint32_t total = 0;
  for (uint32_t first = 0; first < gridDim.x; first += kThreads) {
    const uint32_t block = first + threadIdx.x;
    const uint32_t count = block < gridDim.x ? __ldcg(rows.block_rank + block) : 0;
    __syncthreads();  // the scan's memory is used again
    Scan(scratch).ExclusiveSum(count, before, sum);
    if (block < gridDim.x) rows.block_rank[block] = total + before;
    total += sum;
  }
  if (threadIdx.x == 0) {
    *rows.num_voxels = total;
    *rows.finished = 0;
  }
}

// Launches both: afterwards rows.row_of holds, and rows.num_voxels.
template <class Params>
void find_rows(const Params& params, const GpuCloud& cloud, const VoxelRows& rows, cudaStream_t stream,
               const char* operation) {
  mark_voxels<Params><<<blocks_for(cloud.size()), kThreads, 0, stream>>>(params, cloud, rows, cloud.size());
  check_launch(operation);
  rank_voxels<<<static_cast<unsigned>(rows.num_words / kRankWords), kThreads, 0, stream>>>(rows);
  check_launch(operation);
}

// By one block of the last launch: hands the numbers over and clears them. reported [kNumReported].
__device__ inline void report(const VoxelRows& rows, int64_t capacity, int64_t* reported) {
  if (threadIdx.x == 0) {
    const int64_t num_voxels = *rows.num_voxels;
    reported[0] = num_voxels < capacity ? num_voxels : capacity;
  }
  if (threadIdx.x < kNumDrops) {
    reported[1 + threadIdx.x] = static_cast<int64_t>(rows.dropped[threadIdx.x]);
    rows.dropped[threadIdx.x] = 0;
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
