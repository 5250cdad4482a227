// SPDX-License-Identifier: Apache-2.0
// Voxelization on the GPU: the points are added to their voxels' rows by atomics on integers, then the rows become
// channels. Memory takes atomics of neighbouring addresses together, so a warp adds its points one after the other, each
// with a lane for every number of its row; and rows are read, written and cleared by as many threads as they have numbers.
#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "voxel_rows.cuh"

namespace robocache {
namespace {

constexpr uint64_t kSignBit = 0x80000000u;
constexpr int kMaxLanes = 16;  // that add a point

// The rows' numbers, all zero between calls: in words of 64 bits how many points there are and the sums, then in 32 bits
// each the maxima (as unsigned numbers whose least is zero).
struct Sums {
  unsigned long long* words;
  int32_t row_words, num_sums;

  __device__ unsigned long long* row(int64_t row) const { return words + row * row_words; }
  __device__ const unsigned long long* sum(int64_t row, int32_t slot) const { return this->row(row) + 1 + slot; }
  __device__ uint32_t* maximum(int64_t row, int32_t slot) const {
    return reinterpret_cast<uint32_t*>(this->row(row) + 1 + num_sums) + slot;
  }
};

struct Scratch {
  RowsScratch rows;
  GpuMemory sums;
};

__device__ inline bool is_extreme(ChannelKind kind) { return kind == ChannelKind::kMax || kind == ChannelKind::kMin; }

// What a point adds to a channel's sum, or what its maximum must be at least.
template <bool kPlain>
__device__ inline uint64_t term_of(const VoxelParams& params, const Channel& channel, const GpuPoint& point,
                                   const Place& place) {
  if (channel.kind == ChannelKind::kMeanOffset) {
    const float* const f = place.fraction;
    return static_cast<uint64_t>(offset_term(channel.source == 0 ? f[0] : channel.source == 1 ? f[1] : f[2]));
  }
  const float value = point.value<kPlain>(params.points, channel.source);
  if (is_extreme(channel.kind)) {
    const int32_t ordered = ordered_int(value);
    return static_cast<uint32_t>(channel.kind == ChannelKind::kMax ? ordered : ~ordered) ^ kSignBit;
  }
  bool fits;
  return static_cast<uint64_t>(int64_t{mean_term(value, params.inverse_quantum, &fits)});
}

// What all lanes in `peers` have, added up or the greatest, in the first of them; every lane of the warp takes part.
__device__ inline uint64_t combine_peers(uint64_t value, uint32_t peers, bool greatest) {
  const uint32_t lane = threadIdx.x % 32;
  uint32_t later = peers & (0xfffffffeu << lane);
  uint32_t position = __popc(peers & ((1u << lane) - 1));
  while (__any_sync(kWholeWarp, later != 0)) {
    const int next = __ffs(later) - 1;
    const uint64_t other = __shfl_sync(kWholeWarp, value, next < 0 ? lane : next);
    if (next >= 0) value = !greatest ? value + other : value > other ? value : other;
    later &= ~__ballot_sync(kWholeWarp, position % 2 == 1);  // their values are taken
    position /= 2;
  }
  return value;
}

// A thread a point, and kLanes lanes to add one. Points of a warp that share a voxel become one first, as neighbours in
// a lidar's scan do.
template <bool kPlain, int kLanes>
__global__ void __launch_bounds__(kThreads)
    add_points(const __grid_constant__ VoxelParams params, const __grid_constant__ GpuCloud cloud,
               const __grid_constant__ VoxelRows rows, const __grid_constant__ Sums sums, int64_t num_points,
               int64_t capacity, bool needs_place) {
  constexpr uint32_t kNone = 0xffffffffu;
  __shared__ unsigned long long shared[kNumDrops];
  __shared__ uint64_t all_terms[kThreads / 32][32][kLanes + 1];  // no two lanes in one bank
  DropCounts drops(shared);
  const uint32_t lane = threadIdx.x % 32;
  auto& terms = all_terms[threadIdx.x / 32];
  const int64_t i = thread_number();
  GpuPoint point{};
  Place place{};
  uint32_t row = kNone;
  const uint32_t voxel = i < num_points ? rows.voxels[i] : kNoVoxel;
  if (voxel != kNoVoxel) {
    row = rows.row_of(voxel);
    point.bytes = bytes_of_point(cloud.cloud, i);
    if (needs_place) {
      point = read_point<kPlain>(params.points, cloud, i);
      place = place_in(params.box, point.x, point.y, point.z);
    }
    if (row >= capacity) {
      drops.add_one(kTableFull);
      row = kNone;
    }
  }
  const uint32_t peers = __match_any_sync(kWholeWarp, row);
  const bool shares = __any_sync(kWholeWarp, row != kNone && __popc(peers) > 1);
  const bool first = row != kNone && __ffs(peers) - 1 == static_cast<int>(lane);
  const uint32_t firsts = __ballot_sync(kWholeWarp, first);

  for (int begin = 0; begin <= params.num_channels; begin += kLanes) {
    for (int k = 0; k < kLanes; ++k) {
      const int c = begin + k - 1;  // -1: the number of points
      if (c >= params.num_channels) break;
      uint64_t term;
      if (c < 0) {
        term = __popc(peers);
      } else {
        const Channel channel = params.channels[c];
        if (channel.slot < 0) continue;
        term = row == kNone ? 0 : term_of<kPlain>(params, channel, point, place);
        if (shares) term = combine_peers(term, peers, is_extreme(channel.kind));
      }
      terms[lane][k] = term;
    }
    __syncwarp();
    const int k = lane % kLanes, c = begin + k - 1;
    const Channel channel = c >= 0 && c < params.num_channels ? params.channels[c] : Channel{ChannelKind::kCount, 0, 0};
    const bool has_number = c < 0 || (c < params.num_channels && channel.slot >= 0);
    for (uint32_t from = lane / kLanes; from < 32; from += 32 / kLanes) {
      const uint32_t of = __shfl_sync(kWholeWarp, row, from);
      if (!has_number || (firsts >> from & 1) == 0) continue;
      if (is_extreme(channel.kind)) {
        atomicMax(sums.maximum(of, channel.slot), static_cast<uint32_t>(terms[from][k]));
      } else {
        atomicAdd(sums.row(of) + (c < 0 ? 0 : 1 + channel.slot), terms[from][k]);
      }
    }
    __syncwarp();
  }
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
                 const __grid_constant__ Sums sums, int64_t capacity, int32_t* coords, float* features,
                 int32_t* counts, int64_t* reported) {
  if (blockIdx.x == 0) report(rows.counters, capacity, reported);
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
    features[begin * params.num_channels + i] =
        channel_of(params, params.channels[c], sums, begin + r);
  }
  __syncthreads();
  for (int32_t i = threadIdx.x; i < size * sums.row_words; i += kThreads) sums.row(begin)[i] = 0;
}

constexpr int kVoxels = 4;  // of a thread, in one word

// kWhole: whole vectors can be stored. A thread writes kVoxels voxels of every channel.
template <bool kWhole>
__global__ void __launch_bounds__(kThreads, 6)
    write_dense(const __grid_constant__ VoxelParams params, const __grid_constant__ VoxelRows rows,
                const __grid_constant__ Sums sums, int64_t num_voxels, float* tensor, int64_t* reported) {
  if (blockIdx.x == 0) report(rows.counters, num_voxels, reported);
  const int64_t first = kVoxels * thread_number();
  if (first - first % (32 * kVoxels) >= num_voxels) return;  // the whole warp
  const int64_t word = first / 32;  // there are words for all threads of the warp
  const RankedWord ranked = rows.words[word];
  const uint32_t shift = static_cast<uint32_t>(first % 32), bits = ranked.bits >> shift & ((1u << kVoxels) - 1);
  const uint32_t row = rows.block_rank[word / kRankWords] + ranked.rank + __popc(ranked.bits & ((1u << shift) - 1));
  for (int c = 0; c < params.num_channels; ++c) {
    float values[kVoxels] = {};
    if (bits != 0) {
      const Channel channel = params.channels[c];
      uint32_t at = row;
#pragma unroll
      for (int k = 0; k < kVoxels; ++k)
        if ((bits >> k & 1) != 0) values[k] = channel_of(params, channel, sums, at++);
    }
    float* const out = tensor + c * num_voxels + first;
    if (kWhole) {
      if (first < num_voxels) __stcs(reinterpret_cast<float4*>(out), make_float4(values[0], values[1], values[2], values[3]));
    } else {
#pragma unroll
      for (int k = 0; k < kVoxels; ++k)
        if (first + k < num_voxels) out[k] = values[k];
    }
  }
  // The rows of a warp's voxels lie side by side.
  const uint32_t lane = threadIdx.x % 32;
  const uint32_t begin = __shfl_sync(kWholeWarp, row, 0);
  const uint32_t size = __shfl_sync(kWholeWarp, row + __popc(bits), 31) - begin;
  __syncwarp();  // all of them have read their rows
  for (uint32_t i = lane; i < size * sums.row_words; i += 32) sums.row(begin)[i] = 0;
}

// Where counts and occupancy are all that is asked for, the result itself, all zero before, is where points are added.
// Floats count exactly to 2^24.
constexpr int64_t kMostCounted = 1 << 24;

bool counts_alone(const VoxelParams& params, int64_t num_points) {
  const auto is_counted = [](const Channel& channel) {
    return channel.kind == ChannelKind::kCount || channel.kind == ChannelKind::kOccupancy;
  };
  return num_points <= kMostCounted && std::all_of(params.channels, params.channels + params.num_channels, is_counted);
}

template <bool kPlain>
__global__ void count_points(const __grid_constant__ VoxelParams params, const __grid_constant__ GpuCloud cloud,
                             const __grid_constant__ Counters counters, int64_t num_points, int64_t num_voxels,
                             float* tensor, int64_t* reported) {
  __shared__ unsigned long long shared[kNumDrops];
  DropCounts drops(shared);
  find_voxels<kPlain>(params, cloud, num_points, drops, [&](int64_t, uint32_t voxel) {
    for (int c = 0; c < params.num_channels && voxel != kNoVoxel; ++c) {
      float* const value = tensor + c * num_voxels + voxel;
      if (params.channels[c].kind == ChannelKind::kOccupancy) {
        *value = 1.0f;
      } else {
        atomicAdd(value, 1.0f);
      }
    }
  });
  drops.finish(counters.dropped);
  if (is_last_block(counters)) report(counters, 0, reported);
}

int32_t words_of_row(const VoxelParams& params) { return 1 + params.num_sums + (params.num_maxima + 1) / 2; }

// The first half of both: rows, and their sums.
Sums add_cloud(const VoxelParams& params, const GpuCloud& cloud, const VoxelRows& rows, int64_t capacity,
               GpuMemory& memory, bool in_graph, cudaStream_t stream, const char* operation) {
  const Sums sums{memory.reserve<unsigned long long>(
                      std::min(rows.max_rows, capacity) * words_of_row(params), in_graph, operation),
                  words_of_row(params), params.num_sums};
  find_rows(params, cloud, rows, stream, operation);
  const bool needs_place = std::any_of(params.channels, params.channels + params.num_channels,
                                       [](const Channel& c) { return c.slot >= 0 && c.source < 3; });
  with_plainness(params.points, cloud.cloud, [&](auto plain) {
    constexpr bool kPlain = decltype(plain)::value;
    const int numbers = 1 + params.num_channels;
    const auto add = numbers <= 2   ? add_points<kPlain, 2>
                     : numbers <= 4 ? add_points<kPlain, 4>
                     : numbers <= 8 ? add_points<kPlain, 8>
                                    : add_points<kPlain, kMaxLanes>;
    add<<<blocks_for(cloud.size()), kThreads, 0, stream>>>(params, cloud, rows, sums, cloud.size(), capacity,
                                                           needs_place);
  });
  check_launch(operation);
  return sums;
}

}  // namespace

void voxelize_dense_cuda(const GpuStream& gpu, const VoxelParams& params, const Cloud& given, float* tensor,
                         int64_t* reported) {
  constexpr const char* kOperation = "voxelize_dense";
  const cudaStream_t stream = stream_of(gpu);
  const GpuCloud cloud(given);
  const int64_t num_voxels = int64_t{params.box.shape[0]} * params.box.shape[1] * params.box.shape[2];
  with_scratch<Scratch>(gpu, kOperation, [&](Scratch& s, bool in_graph) {
    if (cloud.size() == 0) {
      check_gpu(cudaMemsetAsync(tensor, 0, num_voxels * params.num_channels * sizeof(float), stream), kOperation);
      check_gpu(cudaMemsetAsync(reported, 0, kNumReported * sizeof(int64_t), stream), kOperation);
      return;
    }
    if (counts_alone(params, cloud.size())) {
      check_gpu(cudaMemsetAsync(tensor, 0, num_voxels * params.num_channels * sizeof(float), stream), kOperation);
      const Counters counters = s.rows.reserve_counters(in_graph, kOperation);
      with_plainness(params.points, given, [&](auto plain) {
        count_points<plain.value><<<blocks_for_points(cloud.size()), kThreads, 0, stream>>>(
            params, cloud, counters, cloud.size(), num_voxels, tensor, reported);
      });
      check_launch(kOperation);
      return;
    }
    const VoxelRows rows = s.rows.reserve(params.box, cloud.size(), in_graph, kOperation);
    const Sums sums = add_cloud(params, cloud, rows, num_voxels, s.sums, in_graph, stream, kOperation);
    const bool whole = num_voxels % kVoxels == 0 && reinterpret_cast<uintptr_t>(tensor) % sizeof(float4) == 0;
    const auto write = whole ? write_dense<true> : write_dense<false>;
    const unsigned blocks = blocks_for((num_voxels + kVoxels - 1) / kVoxels);
    write<<<blocks, kThreads, 0, stream>>>(params, rows, sums, num_voxels, tensor, reported);
    check_launch(kOperation);
  });
}

void voxelize_sparse_cuda(const GpuStream& gpu, const VoxelParams& params, const Cloud& given, int64_t capacity,
                          int32_t* coords, float* features, int32_t* counts, int64_t* reported) {
  constexpr const char* kOperation = "voxelize_sparse";
  const cudaStream_t stream = stream_of(gpu);
  const GpuCloud cloud(given);
  with_scratch<Scratch>(gpu, kOperation, [&](Scratch& s, bool in_graph) {
    if (cloud.size() == 0) {
      check_gpu(cudaMemsetAsync(reported, 0, kNumReported * sizeof(int64_t), stream), kOperation);
      return;
    }
    const VoxelRows rows = s.rows.reserve(params.box, cloud.size(), in_graph, kOperation);
    const Sums sums = add_cloud(params, cloud, rows, capacity, s.sums, in_graph, stream, kOperation);
    const int64_t most = std::max<int64_t>(1, std::min(rows.max_rows, capacity));
    write_sparse<<<blocks_for(most, kBlockRows), kThreads, 0, stream>>>(params, rows, sums, capacity, coords, features,
                                                                       counts, reported);
    check_launch(kOperation);
  });
}

}  // namespace robocache
