// SPDX-License-Identifier: Apache-2.0
// The result itself, all zero before, is where points are added: floats count exactly, in any order, to 2^24. Points
// are read and placed while it is being cleared.
#include <algorithm>
#include <cstdint>

#include "voxel_counts.hpp"
#include "voxel_rows.cuh"

namespace robocache {
namespace {

constexpr const char* kOperation = "voxelize_dense";
constexpr int64_t kMostCounted = 1 << 24;
constexpr int kPoints = 2;   // of a thread: its reads wait together
constexpr int kVectors = 4;  // that a thread clears, of 16 bytes

static_assert(kNumbers == 1 + kNumDrops && kPoints <= PlacedDrops::kMostPoints);

// What was launched before may still read the memory; once it has ended, points may be read.
__global__ void clear(float* values, int64_t size, int64_t* numbers) {
  wait_for_previous();
  let_next_begin();
  const int64_t thread = thread_number(), threads = int64_t{gridDim.x} * kThreads;
  const int64_t before = min(size, static_cast<int64_t>(-reinterpret_cast<uintptr_t>(values) / sizeof(float) % 4));
  float4* const vectors = reinterpret_cast<float4*>(values + before);
  const int64_t num_vectors = (size - before) / 4, after = before + 4 * num_vectors;
  for (int64_t i = thread; i < num_vectors; i += threads) vectors[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  if (thread < before) values[thread] = 0.0f;
  if (thread < size - after) values[after + thread] = 0.0f;
  if (thread < kNumbers) numbers[thread] = 0;
}

// Points are read where they are: no byte but those in use crosses.
template <bool kPlain>
__global__ void __launch_bounds__(kThreads)
    count_points(const __grid_constant__ VoxelParams params, const __grid_constant__ GpuCloud cloud, int64_t num_points,
                 int64_t num_voxels, float* tensor, int64_t* numbers) {
  let_next_begin();
  const int64_t first = int64_t{blockIdx.x} * kPoints * kThreads + threadIdx.x;
  Measured measured[kPoints];
  const uint8_t* bytes[kPoints];
#pragma unroll
  for (int k = 0; k < kPoints; ++k) {
    bytes[k] = bytes_of_point(cloud.cloud, min(first + k * kThreads, num_points - 1));
    measured[k] = measure<kPlain>(params.points, cloud.cloud, bytes[k]);
  }
  PlacedDrops drops;
  uint32_t voxels[kPoints];
#pragma unroll
  for (int k = 0; k < kPoints; ++k) {
    GpuPoint point = in_target_frame(params.points, cloud, bytes[k], measured[k]);
    const uint32_t voxel = place_point(params.box, point);
    const bool is_point = first + k * kThreads < num_points;
    voxels[k] = is_point && point.drop == kKept ? voxel : kNoVoxel;
    if (is_point && point.drop != kKept) drops.add(point.drop);
  }
  const uint32_t dropped = drops.of_block();
  wait_for_previous();
  if (dropped != 0)
    atomicAdd(reinterpret_cast<unsigned long long*>(numbers + 1 + threadIdx.x),
              static_cast<unsigned long long>(dropped));
#pragma unroll
  for (int k = 0; k < kPoints; ++k) {
    for (int c = 0; c < params.num_channels && voxels[k] != kNoVoxel; ++c) {
      float* const value = tensor + c * num_voxels + voxels[k];
      if (params.channels[c].kind == ChannelKind::kOccupancy) {
        atomicOr(reinterpret_cast<uint32_t*>(value), bits_of(1.0f));  // takes memory less than to store it
      } else {
        atomicAdd(value, 1.0f);
      }
    }
  }
}

// The same cloud in one row where its rows follow each other: no point's row has to be found.
Cloud in_one_row(Cloud cloud) {
  if (cloud.row_step != cloud.width * cloud.point_step) return cloud;
  cloud.width *= cloud.height;
  cloud.height = 1;
  cloud.row_step = cloud.width * cloud.point_step;
  return cloud;
}

}  // namespace

bool counts_alone(const VoxelParams& params, int64_t num_points) {
  const auto is_counted = [](const Channel& channel) {
    return channel.kind == ChannelKind::kCount || channel.kind == ChannelKind::kOccupancy;
  };
  return num_points <= kMostCounted && std::all_of(params.channels, params.channels + params.num_channels, is_counted);
}

void count_dense_cuda(const GpuStream& gpu, const VoxelParams& params, const Cloud& given, float* tensor,
                      int64_t* numbers) {
  const CurrentDevice current(gpu.device);
  const GpuCloud cloud(in_one_row(given));
  const int64_t num_voxels = int64_t{params.box.shape[0]} * params.box.shape[1] * params.box.shape[2];
  const int64_t size = params.num_channels * num_voxels;
  launch_early(gpu, clear, blocks_for(size / (4 * kVectors) + 1), kOperation, tensor, size, numbers);
  if (cloud.size() == 0) return;
  with_constant(is_plain(params.points, cloud.cloud), [&](auto plain) {
    launch_early(gpu, count_points<plain.value>, blocks_for(cloud.size(), kPoints * kThreads), kOperation, params,
                 cloud, cloud.size(), num_voxels, tensor, numbers);
  });
}

}  // namespace robocache
