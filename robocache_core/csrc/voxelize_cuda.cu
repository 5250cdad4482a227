// SPDX-License-Identifier: Apache-2.0
// Voxelization on the GPU: the points are added to their voxels' rows by atomics on integers, then each row becomes
// channels: in place for the sparse result, and for the dense one by a pass that writes every voxel once.
#include <cstdint>

#include "voxel_rows.cuh"

namespace robocache {
namespace {

// Where the sums of the rows are. A row: its number of points, then the sums (64 bits each), then the maxima (32 bits
// each, as unsigned numbers whose least is zero), all zero between calls.
struct Sums {
  unsigned long long* words;
  int32_t row_words;
  int32_t num_sums;

  __device__ uint32_t* count(int64_t row) const { return reinterpret_cast<uint32_t*>(words + row * row_words); }
  __device__ unsigned long long* sum(int64_t row, int32_t slot) const { return words + row * row_words + 1 + slot; }
  __device__ uint32_t* maximum(int64_t row, int32_t slot) const {
    return reinterpret_cast<uint32_t*>(words + row * row_words + 1 + num_sums) + slot;
  }
  __device__ void clear(int64_t row) const {
    for (int32_t i = 0; i < row_words; ++i) words[row * row_words + i] = 0;
  }
};

struct Scratch {
  RowsScratch rows;
  GpuMemory sums;
};

constexpr uint32_t kSignBit = 0x80000000u;

// What combine makes of the values of the lanes in `peers`, in the first of them; every lane of the warp takes part.
template <class T, class Combine>
__device__ inline T combine_peers(T value, uint32_t peers, Combine combine) {
  const uint32_t lane = threadIdx.x % 32;
  uint32_t later = peers & (0xfffffffeu << lane);
  uint32_t position = __popc(peers & ((1u << lane) - 1));
  while (__any_sync(kWholeWarp, later != 0)) {
    const int next = __ffs(later) - 1;
    const T other = __shfl_sync(kWholeWarp, value, next < 0 ? lane : next);
    if (next >= 0) value = combine(value, other);
    later &= ~__ballot_sync(kWholeWarp, position % 2 == 1);  // their values are taken
    position /= 2;
  }
  return value;
}

// A thread a point. Points of a warp that share a voxel are added up first, as in a lidar's scan neighbours do.
__global__ void add_points(const __grid_constant__ VoxelParams params, const __grid_constant__ GpuCloud cloud,
                           const __grid_constant__ VoxelRows rows, const __grid_constant__ Sums sums,
                           int64_t num_points, int64_t capacity) {
  __shared__ uint32_t shared[kNumDrops];
  DropCounts drops(shared);
  constexpr uint32_t kNone = 0xffffffffu;
  const int64_t i = thread_number();
  GpuPoint point{};
  Place place{};
  uint32_t row = kNone;
  if (i < num_points) {
    place = place_point(params, cloud, i, &point);
    if (point.drop == kKept) {
      row = rows.row_of(place.index);
      rows.index[row] = place.index;
      if (row >= capacity) {
        drops.add(kTableFull);
        row = kNone;
      }
    }
  }
  const uint32_t peers = __match_any_sync(kWholeWarp, row);
  const bool first = row != kNone && __ffs(peers) - 1 == threadIdx.x % 32;
  const bool shares = __any_sync(kWholeWarp, row != kNone && __popc(peers) > 1);
  if (first) atomicAdd(sums.count(row), static_cast<uint32_t>(__popc(peers)));
  for (int c = 0; c < params.num_channels; ++c) {
    const Channel channel = params.channels[c];
    if (channel.slot < 0) continue;
    if (channel.kind == ChannelKind::kMeanOffset || channel.kind == ChannelKind::kMean) {
      int64_t term = 0;
      if (row != kNone && channel.kind == ChannelKind::kMeanOffset) {
        const float* fraction = place.fraction;
        term = offset_term(channel.source == 0 ? fraction[0] : channel.source == 1 ? fraction[1] : fraction[2]);
      } else if (row != kNone) {
        bool fits;
        term = mean_term(point.value(params.points, channel.source), params.inverse_quantum, &fits);
      }
      if (shares) term = combine_peers(term, peers, [](int64_t a, int64_t b) { return a + b; });
      if (first) atomicAdd(sums.sum(row, channel.slot), static_cast<unsigned long long>(term));
    } else {
      uint32_t term = 0;
      if (row != kNone) {
        const int32_t ordered = ordered_int(point.value(params.points, channel.source));
        term = static_cast<uint32_t>(channel.kind == ChannelKind::kMax ? ordered : ~ordered) ^ kSignBit;
      }
      if (shares) term = combine_peers(term, peers, [](uint32_t a, uint32_t b) { return a > b ? a : b; });
      if (first) atomicMax(sums.maximum(row, channel.slot), term);
    }
  }
  drops.finish(rows.dropped);
}

__device__ inline float channel_of(const VoxelParams& params, const Sums& sums, Channel channel, int64_t row) {
  const int32_t count = static_cast<int32_t>(*sums.count(row));
  switch (channel.kind) {
    case ChannelKind::kCount: return static_cast<float>(count);
    case ChannelKind::kOccupancy: return 1.0f;
    case ChannelKind::kDensity: return density_of(params.inverse_volume, count);
    case ChannelKind::kMeanOffset:
      return mean_offset_of(params.size[channel.source], static_cast<int64_t>(*sums.sum(row, channel.slot)), count);
    case ChannelKind::kMean:
      return mean_of(params.quantum, static_cast<int64_t>(*sums.sum(row, channel.slot)), count);
    case ChannelKind::kMax: return max_of(static_cast<int32_t>(*sums.maximum(row, channel.slot) ^ kSignBit));
    case ChannelKind::kMin: return min_of(static_cast<int32_t>(*sums.maximum(row, channel.slot) ^ kSignBit));
  }
  return 0.0f;
}

// A thread a row.
__global__ void write_sparse(const __grid_constant__ VoxelParams params, const __grid_constant__ VoxelRows rows,
                             const __grid_constant__ Sums sums, int64_t capacity, int32_t* coords, float* features,
                             int32_t* counts, int64_t* reported) {
  const int64_t row = thread_number();
  if (row < *rows.num_voxels) {
    const uint32_t index = rows.index[row];
    rows.bits[index / 32] = 0;
    if (row < capacity) {
      write_coords(params.box, index, coords + 3 * row);
      for (int c = 0; c < params.num_channels; ++c)
        features[row * params.num_channels + c] = channel_of(params, sums, params.channels[c], row);
      counts[row] = static_cast<int32_t>(*sums.count(row));
      sums.clear(row);
    }
  }
  if (blockIdx.x == 0) report(rows, capacity, reported);
}

constexpr int kVoxels = 4;  // of a thread, in one word of bits

// kWhole: whole vectors can be stored. A thread writes kVoxels voxels of every channel.
template <bool kWhole>
__global__ void write_dense(const __grid_constant__ VoxelParams params, const __grid_constant__ VoxelRows rows,
                            const __grid_constant__ Sums sums, int64_t num_voxels, float* tensor, int64_t* reported) {
  const int64_t first = kVoxels * thread_number();
  const int64_t word = first / 32;
  uint32_t bits = 0;
  int64_t row = 0;
  if (first < num_voxels) {
    const uint32_t all = rows.bits[word], shift = static_cast<uint32_t>(first % 32);
    bits = (all >> shift) & ((1u << kVoxels) - 1);
    if (bits != 0) row = rows.block_rank[word / kRankWords] + rows.word_rank[word] + __popc(all & ((1u << shift) - 1));
    for (int c = 0; c < params.num_channels; ++c) {
      const Channel channel = params.channels[c];
      float values[kVoxels] = {};
      if (bits != 0) {
        int64_t at = row;
        for (int k = 0; k < kVoxels; ++k)
          if ((bits >> k & 1) != 0) values[k] = channel_of(params, sums, channel, at++);
      }
      float* const out = tensor + c * num_voxels + first;
      if (kWhole) {
        *reinterpret_cast<float4*>(out) = make_float4(values[0], values[1], values[2], values[3]);
      } else {
        for (int k = 0; k < kVoxels; ++k)
          if (first + k < num_voxels) out[k] = values[k];
      }
    }
    for (int k = __popc(bits); k > 0; --k) sums.clear(row + k - 1);
  }
  __syncwarp();  // eight neighbours have read the word
  if (first < num_voxels && first % 32 == 0) rows.bits[word] = 0;
  if (blockIdx.x == 0) report(rows, num_voxels, reported);
}

// The first half of both: rows, and their sums.
Sums add_cloud(const VoxelParams& params, const GpuCloud& cloud, const VoxelRows& rows, int64_t capacity,
               GpuMemory& memory, bool in_graph, cudaStream_t stream, const char* operation) {
  Sums sums;
  sums.num_sums = params.num_sums;
  sums.row_words = 1 + params.num_sums + (params.num_maxima + 1) / 2;
  const int64_t num_rows = std::min(rows.max_rows, capacity);
  sums.words = memory.reserve<unsigned long long>(num_rows * sums.row_words, in_graph, operation);
  find_rows(params, cloud, rows, stream, operation);
  add_points<<<blocks_for(cloud.size()), kThreads, 0, stream>>>(params, cloud, rows, sums, cloud.size(), capacity);
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
    write_sparse<<<blocks_for(rows.max_rows), kThreads, 0, stream>>>(params, rows, sums, capacity, coords, features,
                                                                     counts, reported);
    check_launch(kOperation);
  });
}

}  // namespace robocache
