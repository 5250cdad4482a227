// SPDX-License-Identifier: Apache-2.0
// What the CUDA loops share: errors with the operation's name, scratch memory kept by stream, sizes of launches.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <tuple>
#include <utility>
#include <vector>

#include "gpu.hpp"

namespace robocache {

constexpr int kThreads = 256;  // of a block, where nothing speaks for another number
constexpr uint32_t kWholeWarp = 0xffffffffu;

// Raises GpuError, which names the operation, where `status` is an error.
void check_gpu(cudaError_t status, const char* operation);

// The last launch's error.
inline void check_launch(const char* operation) { check_gpu(cudaGetLastError(), operation); }

inline cudaStream_t stream_of(const GpuStream& gpu) { return static_cast<cudaStream_t>(gpu.stream); }

// Blocks of `threads` that have a thread for each of `size` elements.
unsigned blocks_for(int64_t size, int threads = kThreads);

__device__ inline int64_t thread_number() { return int64_t{blockIdx.x} * blockDim.x + threadIdx.x; }

// A launch may begin before the one before it in its stream has ended (from compute capability 9.0 on), where that one
// lets it: until it has waited, it must neither write nor read what that one writes or reads.
__device__ inline void let_next_begin() {
#if __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
#endif
}

__device__ inline void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
#endif
}

// Whether launches on a device may begin early.
bool begins_early(int device);

// Launches a kernel of kThreads threads a block that calls wait_for_previous.
template <class... Params, class... Arguments>
void launch_early(const GpuStream& gpu, void (*kernel)(Params...), unsigned blocks, const char* operation,
                  Arguments&&... arguments) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(blocks);
  config.blockDim = dim3(kThreads);
  config.stream = stream_of(gpu);
  config.attrs = &attribute;
  config.numAttrs = begins_early(gpu.device) ? 1 : 0;
  check_gpu(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...), operation);
}

// Makes a device the current one for as long as it lives.
class CurrentDevice {
 public:
  explicit CurrentDevice(int device);
  ~CurrentDevice();
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  int before_ = -1;
};

// Memory of the current device that is kept from call to call, zero when it is new. What a captured graph may have seen
// (in_graph) is never given back, since the graph goes on using its addresses.
class GpuMemory {
 public:
  GpuMemory() = default;
  GpuMemory(const GpuMemory&) = delete;
  GpuMemory& operator=(const GpuMemory&) = delete;
  ~GpuMemory() { release(); }

  // Room for `size` of T; where it has to grow, all of it is zero again.
  template <class T>
  T* reserve(int64_t size, bool in_graph, const char* operation) {
    return static_cast<T*>(reserve_bytes(static_cast<size_t>(size) * sizeof(T), in_graph, operation));
  }

 private:
  void* reserve_bytes(size_t bytes, bool in_graph, const char* operation);
  void release();

  void* memory_ = nullptr;
  size_t capacity_ = 0;
  bool in_graph_ = false;
};

// The Scratch of a stream, or of a capture: graphs may be replayed side by side, so each has its own.
template <class Scratch>
struct ScratchEntry {
  std::mutex mutex;
  Scratch* scratch = nullptr;

  static ScratchEntry& of(const GpuStream& gpu, unsigned long long capture) {
    // Never destroyed: the driver may be gone before static objects are.
    static std::mutex& mutex = *new std::mutex;
    static auto& entries = *new std::map<std::tuple<int, void*, unsigned long long>, ScratchEntry>;
    const std::lock_guard<std::mutex> lock(mutex);
    return entries[{gpu.device, gpu.stream, capture}];
  }
};

// Runs work(scratch, in_graph) with the Scratch of the stream, on the stream's device; one call of a stream at a time,
// as a call's launches must not mix with another's. What a call that failed has left in its scratch is thrown away.
template <class Scratch, class Work>
void with_scratch(const GpuStream& gpu, const char* operation, Work work) {
  const CurrentDevice current(gpu.device);
  cudaStreamCaptureStatus status;
  unsigned long long capture = 0;
  check_gpu(cudaStreamGetCaptureInfo(stream_of(gpu), &status, &capture), operation);
  const bool in_graph = status != cudaStreamCaptureStatusNone;
  ScratchEntry<Scratch>& entry = ScratchEntry<Scratch>::of(gpu, in_graph ? capture : 0);
  const std::lock_guard<std::mutex> lock(entry.mutex);
  if (entry.scratch == nullptr) entry.scratch = new Scratch;
  try {
    work(*entry.scratch, in_graph);
  } catch (...) {
    delete std::exchange(entry.scratch, nullptr);
    throw;
  }
}

}  // namespace robocache
