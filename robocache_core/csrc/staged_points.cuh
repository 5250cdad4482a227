// SPDX-License-Identifier: Apache-2.0
// The points of a warp in shared memory, each as it lies in the cloud. Threads side by side copy what lies side by side,
// so every byte crosses once, however far points are from each other.
#pragma once

#include <cuda_pipeline_primitives.h>

#include <cstdint>

#include "points.cuh"

namespace robocache {

// What a block may have without more ado, for two points of each thread and 8 KiB that a kernel has beside them.
static_assert((2 * kMostStagedStep * kThreads) + (8 << 10) <= 48 << 10);

// Bytes of shared memory that a launch with so many points of each thread asks for.
inline size_t staged_bytes(const GpuCloud& gpu, int points) {
  return gpu.is_staged ? static_cast<size_t>(gpu.cloud.point_step) * points * kThreads : 0;
}

// kPoints points of each thread of a warp, from `first` on; where the cloud is not staged, where they lie.
template <bool kPlain, int kPoints>
class StagedPoints {
 public:
  // Begins to copy them.
  __device__ StagedPoints(const GpuCloud& gpu, uint32_t first) : gpu_(gpu), first_(first) {
    extern __shared__ uint4 memory[];
    const int32_t room = 32 * kPoints * step();  // of a warp
    copy_ = reinterpret_cast<uint8_t*>(memory) + threadIdx.x / 32 * room;
    if (!is_staged()) return;
    const int64_t begin = first * gpu.cloud.point_step;
    const int32_t size = static_cast<int32_t>(min(gpu.size() * gpu.cloud.point_step - begin, int64_t{room}));
    const uint8_t* const from = gpu.cloud.data + begin;
    int32_t i = kStagedVector * (threadIdx.x % 32);
#pragma unroll 1
    for (; i + kStagedVector <= size; i += 32 * kStagedVector)
      __pipeline_memcpy_async(copy_ + i, from + i, kStagedVector);
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
    return is_staged() ? copy_ + i * step() : bytes_of_point(gpu_.cloud, int64_t{first_} + i);
  }

  // Bytes from a point to the next.
  __device__ int32_t step() const { return static_cast<int32_t>(gpu_.cloud.point_step); }

 private:
  __device__ bool is_staged() const { return kPlain || gpu_.is_staged; }

  const GpuCloud& gpu_;
  uint32_t first_;
  uint8_t* copy_;
};

}  // namespace robocache
