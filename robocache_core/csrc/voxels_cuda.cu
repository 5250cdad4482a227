// SPDX-License-Identifier: Apache-2.0
// Voxelization on the GPU: the points are added to their voxels' rows by atomics on integers, then the rows become
// channels. Memory takes atomics of neighbouring addresses together, so a warp adds to few rows at once, with a lane
// for every number of a row; and rows are read, written and cleared by as many threads as they have numbers.
#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "voxel_counts.hpp"
#include "voxel_rows.cuh"

namespace robocache {
namespace {

constexpr uint64_t kSignBit = 0x80000000u;

// The rows' numbers, all zero between calls: in words of 64 bits how many points there are and the sums, then in 32
// bits each the maxima (as unsigned numbers whose least is zero).
struct Sums {
  unsigned long long* words;
  int32_t row_words, num_sums;

  __device__ unsigned long long* row(int64_t row) const { return words + row * row_words; }
  __device__ unsigned long long* sum(int64_t row, int32_t slot) const { return this->row(row) + 1 + slot; }
  __device__ uint32_t* maximum(int64_t row, int32_t slot) const {
    return reinterpret_cast<uint32_t*>(this->row(row) + 1 + num_sums) + slot;
  }
};

struct Scratch {
  RowsScratch rows;
  GpuMemory sums;
};

__device__ inline bool is_extreme(ChannelKind kind) { return kind == ChannelKind::kMax || kind == ChannelKind::kMin; }

// The points of a warp in one voxel: a bit for each of their lanes.
struct Group {
  uint32_t row, lanes;
};

// Where a point is: x y z in the target frame, then the fractions of its voxel's edges.
struct Located {
  float values[6];
};

// What points of a warp add to a channel's sum, or what its maximum must be at least.
template <bool kPlain>
class Term {
 public:
  __device__ Term(const VoxelParams& params, const Channel& channel, const Located* located,
                  const StagedPoints<kPlain, 1>& staged)
      : params_(params), channel_(channel), staged_(staged), is_located_(channel.source < 3) {
    const int32_t column = channel.kind == ChannelKind::kMeanOffset ? 3 + channel.source : channel.source;
    values_ = is_located_ ? reinterpret_cast<const uint8_t*>(located->values + column)
                          : staged.bytes(0) + params.points.fields[channel.source].offset;
    step_ = is_located_ ? static_cast<int32_t>(sizeof(Located)) : staged.step();
  }

  // Of the point whose lane's bit is the lowest of `lanes`.
  __device__ uint64_t of_first(uint32_t lanes) const {
    const float value = value_of(__ffs(lanes) - 1);
    if (channel_.kind == ChannelKind::kMeanOffset) return static_cast<uint64_t>(offset_term(value));
    if (is_extreme(channel_.kind)) {
      const int32_t ordered = ordered_int(value);
      return static_cast<uint32_t>(channel_.kind == ChannelKind::kMax ? ordered : ~ordered) ^ kSignBit;
    }
    return static_cast<uint64_t>(int64_t{mean_term(value, params_.inverse_quantum, params_.most_mean)});
  }

 private:
  __device__ float value_of(int32_t i) const {
    if (kPlain || is_located_) return *reinterpret_cast<const float*>(values_ + i * step_);
    return read_field<kPlain>(params_.points, channel_.source, staged_.bytes(i));
  }

  const VoxelParams& params_;
  const Channel& channel_;
  const StagedPoints<kPlain, 1>& staged_;
  bool is_located_;
  const uint8_t* values_;  // of point 0; those of the others follow at step_
  int32_t step_;
};

// Groups the points of a warp, a lane each, whose voxels have rows; returns how many groups there are.
__device__ inline int32_t group_points(const VoxelRows& rows, uint32_t voxel, int64_t capacity, DropCounts& drops,
                                       Group* groups) {
  constexpr uint32_t kNoRow = 0xffffffffu;
  uint32_t row = voxel == kNoVoxel ? kNoRow : rows.row_of(voxel);
  if (row != kNoRow && row >= capacity) {
    drops.add(kTableFull, 1);
    row = kNoRow;
  }
  const uint32_t lanes = __match_any_sync(kWholeWarp, row), lane = threadIdx.x % 32;
  const bool is_first = row != kNoRow && __ffs(lanes) - 1 == static_cast<int>(lane);
  const uint32_t firsts = __ballot_sync(kWholeWarp, is_first);
  if (is_first) groups[__popc(firsts & ((1u << lane) - 1))] = {row, lanes};
  return __popc(firsts);
}

// Adds groups to their rows. As many lanes as rows have numbers add one, so several at once; the first number is that
// of the points.
template <bool kPlain>
__device__ inline void add_groups(const VoxelParams& params, const Sums& sums, const Group* groups, int32_t num_groups,
                                  const Located* located, const StagedPoints<kPlain, 1>& staged) {
  const int32_t numbers = 1 + params.num_channels, width = min(numbers, 32), at_once = 32 / width;
  const int32_t lane = threadIdx.x % 32, first = lane / width;
  for (int32_t n = lane - first * width; n < numbers && first < at_once; n += width) {
    const Channel channel = n > 0 ? params.channels[n - 1] : Channel{ChannelKind::kCount, 0, 0};
    if (channel.slot < 0) continue;
    const bool greatest = is_extreme(channel.kind);
    const Term<kPlain> term(params, channel, located, staged);
    // In row 0; rows follow each other at row_bytes.
    auto* const column = reinterpret_cast<uint8_t*>(greatest ? static_cast<void*>(sums.maximum(0, channel.slot))
                                                    : n > 0  ? sums.sum(0, channel.slot)
                                                             : sums.row(0));
    const uint32_t row_bytes = sums.row_words * sizeof(*sums.words);
    for (const Group* group = groups + first; group < groups + num_groups; group += at_once) {
      uint64_t number = n > 0 ? term.of_first(group->lanes) : __popc(group->lanes);
      for (uint32_t others = group->lanes & (group->lanes - 1); others != 0 && n > 0; others &= others - 1) {
        const uint64_t other = term.of_first(others);
        number = !greatest ? number + other : number > other ? number : other;
      }
      uint8_t* const at = column + uint64_t{group->row} * row_bytes;
      if (greatest) {
        atomicMax(reinterpret_cast<uint32_t*>(at), static_cast<uint32_t>(number));
      } else {
        atomicAdd(reinterpret_cast<unsigned long long*>(at), number);
      }
    }
  }
}

// A thread a point. Points of a warp that share a voxel are added as one, as neighbours in a lidar's scan do.
template <bool kPlain>
__global__ void __launch_bounds__(kThreads)
    add_points(const __grid_constant__ VoxelParams params, const __grid_constant__ GpuCloud cloud,
               const __grid_constant__ VoxelRows rows, const __grid_constant__ Sums sums, int64_t num_points,
               int64_t capacity, bool needs_place) {
  __shared__ uint32_t shared[kNumDrops];
  __shared__ Group all_groups[kThreads / 32][32];
  __shared__ Located all_located[kThreads / 32][32];
  static_assert(fits_staged(1, sizeof shared + sizeof all_groups + sizeof all_located));
  DropCounts drops(shared);
  const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t i = thread_number();
  const StagedPoints<kPlain, 1> staged(cloud, static_cast<uint32_t>(i - lane));
  // While their bytes are on the way:
  const uint32_t voxel = i < num_points ? rows.voxels[i] : kNoVoxel;
  const int32_t num_groups = group_points(rows, voxel, capacity, drops, all_groups[warp]);
  staged.wait();
  if (needs_place && voxel != kNoVoxel) {
    const GpuPoint point = read_point<kPlain>(params.points, cloud, staged.bytes(lane));
    const Place place = place_in(params.box, point.x, point.y, point.z);
    const float* const f = place.fraction;
    all_located[warp][lane] = {{point.x, point.y, point.z, f[0], f[1], f[2]}};
  }
  __syncwarp();
  add_groups(params, sums, all_groups[warp], num_groups, all_located[warp], staged);
  drops.finish(rows.counters.dropped);
}

__device__ inline float channel_of(const VoxelParams& params, const Channel& channel, const Sums& sums, int64_t row) {
  if (channel.kind == ChannelKind::kOccupancy) return 1.0f;
  if (is_extreme(channel.kind)) {
    const int32_t extreme = static_cast<int32_t>(*sums.maximum(row, channel.slot) ^ kSignBit);
    return channel.kind == ChannelKind::kMax ? max_of(extreme) : min_of(extreme);
  }
  const int32_t count = static_cast<int32_t>(*sums.row(row));
  if (channel.kind == ChannelKind::kCount) return static_cast<float>(count);
  if (channel.kind == ChannelKind::kDensity) return density_of(params.inverse_volume, count);
  const int64_t sum = static_cast<int64_t>(*sums.sum(row, channel.slot));
  if (channel.kind == ChannelKind::kMeanOffset) return mean_offset_of(params.size[channel.source], sum, count);
  return mean_of(params.quantum, sum, count);
}

constexpr int kBlockRows = kThreads;

// A block for kBlockRows rows, a thread for each value.
__global__ void __launch_bounds__(kThreads)
    write_sparse(const __grid_constant__ VoxelParams params, const __grid_constant__ VoxelRows rows,
                 const __grid_constant__ Sums sums, int64_t capacity, int32_t* coords, float* features, int32_t* counts,
                 int64_t* numbers) {
  if (blockIdx.x == 0) report(rows.counters, capacity, numbers);
  const int64_t begin = int64_t{blockIdx.x} * kBlockRows;
  const int64_t end = min(min(begin + kBlockRows, int64_t{*rows.counters.num_voxels}), capacity);
  if (begin >= end) return;
  const int32_t size = static_cast<int32_t>(end - begin);
  if (threadIdx.x < size) {
    const int64_t row = begin + threadIdx.x;
    write_coords(params.box, rows.voxel_of(static_cast<uint32_t>(row)), coords + 3 * row);
    counts[row] = static_cast<int32_t>(*sums.row(row));
  }
  for (int32_t i = threadIdx.x; i < size * params.num_channels; i += kThreads) {
    const int32_t r = i / params.num_channels, c = i - r * params.num_channels;
    features[begin * params.num_channels + i] = channel_of(params, params.channels[c], sums, begin + r);
  }
  __syncthreads();
  for (int32_t i = threadIdx.x; i < size * sums.row_words; i += kThreads) sums.row(begin)[i] = 0;
}

constexpr int kVoxels = 4;    // of a thread, in one word
constexpr int kChannels = 4;  // that a warp computes before it writes them

// kWhole: whole vectors can be stored. A warp computes the channels of its rows, which are side by side, a row a lane;
// then a lane writes those of kVoxels voxels.
template <bool kWhole>
__global__ void __launch_bounds__(kThreads, 4)
    write_dense(const __grid_constant__ VoxelParams params, const __grid_constant__ VoxelRows rows,
                const __grid_constant__ Sums sums, int64_t num_voxels, float* tensor, int64_t* numbers) {
  __shared__ float all_values[kThreads / 32][kChannels][32 * kVoxels];
  if (blockIdx.x == 0) report(rows.counters, 0, numbers);
  const int64_t first = kVoxels * thread_number();
  if (first - first % (32 * kVoxels) >= num_voxels) return;  // the whole warp
  const int64_t word = first / 32;                           // there are words for all threads of the warp
  const RankedWord ranked = rows.words[word];
  const uint32_t shift = static_cast<uint32_t>(first % 32), bits = ranked.bits >> shift & ((1u << kVoxels) - 1);
  const uint32_t row = rows.block_rank[word / kRankWords] + ranked.rank + __popc(ranked.bits & ((1u << shift) - 1));
  const uint32_t lane = threadIdx.x % 32;
  const uint32_t begin = __shfl_sync(kWholeWarp, row, 0);
  const uint32_t size = __shfl_sync(kWholeWarp, row + __popc(bits), 31) - begin;
  auto& values = all_values[threadIdx.x / 32];
  for (int c = 0; c < params.num_channels; c += kChannels) {
    const int at_once = min(kChannels, params.num_channels - c);
    for (uint32_t r = lane; r < size; r += 32)
      for (int k = 0; k < at_once; ++k) values[k][r] = channel_of(params, params.channels[c + k], sums, begin + r);
    __syncwarp();
    for (int k = 0; k < at_once; ++k) {
      float of_voxels[kVoxels] = {};
      const float* value = values[k] + (row - begin);
#pragma unroll
      for (int v = 0; v < kVoxels; ++v)
        if ((bits >> v & 1) != 0) of_voxels[v] = *value++;
      float* const out = tensor + (c + k) * num_voxels + first;
      if (kWhole) {
        if (first < num_voxels)
          __stcs(reinterpret_cast<float4*>(out), make_float4(of_voxels[0], of_voxels[1], of_voxels[2], of_voxels[3]));
      } else {
#pragma unroll
        for (int v = 0; v < kVoxels; ++v)
          if (first + v < num_voxels) out[v] = of_voxels[v];
      }
    }
    __syncwarp();  // all of them have read the values
  }
  for (uint32_t i = lane; i < size * sums.row_words; i += 32) sums.row(begin)[i] = 0;
}

int32_t words_of_row(const VoxelParams& params) { return 1 + params.num_sums + (params.num_maxima + 1) / 2; }

// The first half of both: rows, and their sums.
Sums add_cloud(const VoxelParams& params, const GpuCloud& cloud, const VoxelRows& rows, int64_t capacity,
               GpuMemory& memory, bool in_graph, cudaStream_t stream, const char* operation) {
  const Sums sums{
      memory.reserve<unsigned long long>(std::min(rows.max_rows, capacity) * words_of_row(params), in_graph, operation),
      words_of_row(params), params.num_sums};
  find_rows(params, cloud, rows, stream, operation);
  const bool needs_place = std::any_of(params.channels, params.channels + params.num_channels,
                                       [](const Channel& c) { return c.slot >= 0 && c.source < 3; });
  with_constant(is_staged_plain(params.points, cloud.cloud), [&](auto plain) {
    add_points<plain.value><<<blocks_for(cloud.size()), kThreads, staged_bytes(cloud.cloud, 1), stream>>>(
        params, cloud, rows, sums, cloud.size(), capacity, needs_place);
  });
  check_launch(operation);
  return sums;
}

}  // namespace

void voxelize_dense_cuda(const GpuStream& gpu, const VoxelParams& params, const Cloud& given, float* tensor,
                         int64_t* numbers) {
  constexpr const char* kOperation = "voxelize_dense";
  const cudaStream_t stream = stream_of(gpu);
  const GpuCloud cloud(given);
  if (counts_alone(params, cloud.size())) return count_dense_cuda(gpu, params, given, tensor, numbers);
  const int64_t num_voxels = int64_t{params.box.shape[0]} * params.box.shape[1] * params.box.shape[2];
  with_scratch<Scratch>(gpu, kOperation, [&](Scratch& s, bool in_graph) {
    if (cloud.size() == 0) {
      check_gpu(cudaMemsetAsync(tensor, 0, num_voxels * params.num_channels * sizeof(float), stream), kOperation);
      check_gpu(cudaMemsetAsync(numbers, 0, kNumbers * sizeof(int64_t), stream), kOperation);
      return;
    }
    const VoxelRows rows = s.rows.reserve(params.box, cloud.size(), in_graph, kOperation);
    const Sums sums = add_cloud(params, cloud, rows, num_voxels, s.sums, in_graph, stream, kOperation);
    const bool whole = num_voxels % kVoxels == 0 && reinterpret_cast<uintptr_t>(tensor) % sizeof(float4) == 0;
    const auto write = whole ? write_dense<true> : write_dense<false>;
    const unsigned blocks = blocks_for((num_voxels + kVoxels - 1) / kVoxels);
    write<<<blocks, kThreads, 0, stream>>>(params, rows, sums, num_voxels, tensor, numbers);
    check_launch(kOperation);
  });
}

void voxelize_sparse_cuda(const GpuStream& gpu, const VoxelParams& params, const Cloud& given, int64_t capacity,
                          int32_t* coords, float* features, int32_t* counts, int64_t* numbers) {
  constexpr const char* kOperation = "voxelize_sparse";
  const cudaStream_t stream = stream_of(gpu);
  const GpuCloud cloud(given);
  with_scratch<Scratch>(gpu, kOperation, [&](Scratch& s, bool in_graph) {
    if (cloud.size() == 0) {
      check_gpu(cudaMemsetAsync(numbers, 0, kNumbers * sizeof(int64_t), stream), kOperation);
      return;
    }
    const VoxelRows rows = s.rows.reserve(params.box, cloud.size(), in_graph, kOperation);
    const Sums sums = add_cloud(params, cloud, rows, capacity, s.sums, in_graph, stream, kOperation);
    const int64_t most = std::max<int64_t>(1, std::min(rows.max_rows, capacity));
    write_sparse<<<blocks_for(most, kBlockRows), kThreads, 0, stream>>>(params, rows, sums, capacity, coords, features,
                                                                        counts, numbers);
    check_launch(kOperation);
  });
}

}  // namespace robocache
