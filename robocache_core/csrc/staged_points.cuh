// SPDX-License-Identifier: Apache-2.0
// The points of a warp in shared memory, each as it is in the cloud. Threads side by side copy what is side by
// side, so every byte crosses once, however far points are from each other.
#pragma once

#include <cuda_pipeline_primitives.h>

#include <cstddef>
#include <cstdint>

#include "gpu_points.cuh"

namespace robocache {

constexpr int kVectorBytes = 16;     // that a thread copies at once
constexpr int kMostStagedStep = 80;  // bytes

// Whether points are copied: they follow each other at one step, and begin where vectors do. Pixels are found by their
// place in the image.
RC_HD inline bool is_staged(const Cloud& cloud) {
  return cloud.rays == nullptr && (cloud.height == 1 || cloud.row_step == cloud.width * cloud.point_step) &&
         cloud.point_step <= kMostStagedStep && reinterpret_cast<uintptr_t>(cloud.data) % kVectorBytes == 0;
}

// Whether StagedPoints may be kPlain.
inline bool is_staged_plain(const PointParams& params, const Cloud& cloud) {
  return is_plain(params, cloud) && is_staged(cloud);
}

// Whether a block may have the points of its threads, so many of each, and `others` bytes of shared memory beside them.
RC_HD constexpr bool fits_staged(int points, size_t others) {
  return static_cast<size_t>(points) * kThreads * kMostStagedStep + others <= 48 << 10;
}

// Bytes of shared memory that a launch with so many points of each thread asks for.
inline size_t staged_bytes(const Cloud& cloud, int points) {
  return is_staged(cloud) ? static_cast<size_t>(cloud.point_step) * points * kThreads : 0;
}

// kPoints points of each thread of a warp, from `first` on; where the cloud is not staged, where they are.
template <bool kPlain, int kPoints>
class StagedPoints {
 public:
  // Begins to copy them.
  __device__ StagedPoints(const GpuCloud& gpu, uint32_t first) : gpu_(gpu), first_(first) {
    extern __shared__ uint4 memory[];
    const int32_t room = 32 * kPoints * step();  // of a warp
    copy_ = reinterpret_cast<uint8_t*>(memory) + threadIdx.x / 32 * room;
    if (!is_copied()) return;
    const int64_t begin = first * gpu.cloud.point_step;
    const int32_t size = static_cast<int32_t>(min(gpu.size() * gpu.cloud.point_step - begin, int64_t{room}));
    const uint8_t* const from = gpu.cloud.data + begin;
    int32_t i = kVectorBytes * (threadIdx.x % 32);
#pragma unroll 1
    for (; i + kVectorBytes <= size; i += 32 * kVectorBytes) __pipeline_memcpy_async(copy_ + i, from + i, kVectorBytes);
#pragma unroll 1
    for (; i < size; ++i) copy_[i] = from[i];  // of one thread: the end of the cloud, where it is no whole vector
    __pipeline_commit();
  }

  // They can be read from now on. Every thread of the warp takes part.
  __device__ void wait() const {
    __pipeline_wait_prior(0);
    __syncwarp();
  }

  // Of point first + i.
  __device__ const uint8_t* bytes(int32_t i) const {
    return is_copied() ? copy_ + i * step() : bytes_of_point(gpu_.cloud, int64_t{first_} + i);
  }

  // Bytes from a point to the next.
  __device__ int32_t step() const { return static_cast<int32_t>(gpu_.cloud.point_step); }

 private:
  __device__ bool is_copied() const { return kPlain || is_staged(gpu_.cloud); }

  const GpuCloud& gpu_;
  uint32_t first_;
  uint8_t* copy_;
};

}  // namespace robocache
