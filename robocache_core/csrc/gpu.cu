// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <atomic>
#include <climits>
#include <string>

#include "gpu.cuh"

namespace robocache {
namespace {

// Lets this thread allocate while one of its streams is captured: what it does is no part of the graph.
class OutsideOfGraphs {
 public:
  OutsideOfGraphs() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  ~OutsideOfGraphs() { cudaThreadExchangeStreamCaptureMode(&mode_); }

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

std::atomic<int64_t> memory_bytes{0};

// Zeroes memory on a stream of its own and waits for it, so that it holds whatever stream reads it.
cudaError_t clear(void* memory, size_t bytes) {
  cudaStream_t stream;
  cudaError_t status = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  if (status != cudaSuccess) return status;
  status = cudaMemsetAsync(memory, 0, bytes, stream);
  if (status == cudaSuccess) status = cudaStreamSynchronize(stream);
  cudaStreamDestroy(stream);
  return status;
}

}  // namespace

void check_gpu(cudaError_t status, const char* operation) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // so that the next call does not find it again, if it can be overcome
  throw GpuError(std::string(operation) + ": " + cudaGetErrorString(status) + " (" + cudaGetErrorName(status) + ")");
}

unsigned blocks_for(int64_t size, int threads) {
  const int64_t blocks = (size + threads - 1) / threads;
  if (blocks > INT_MAX) throw GpuError("too many elements for a launch: " + std::to_string(size));
  return static_cast<unsigned>(blocks);
}

bool begins_early(int device) {
  int major;
  check_gpu(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "cudaDeviceGetAttribute");
  return major >= 9;
}

int64_t gpu_memory_bytes() { return memory_bytes; }

CurrentDevice::CurrentDevice(int device) {
  int before;
  check_gpu(cudaGetDevice(&before), "cudaGetDevice");
  if (before == device) return;
  check_gpu(cudaSetDevice(device), "cudaSetDevice");
  before_ = before;
}

CurrentDevice::~CurrentDevice() {
  if (before_ >= 0) cudaSetDevice(before_);
}

void* GpuMemory::reserve_bytes(size_t bytes, bool in_graph, const char* operation) {
  if (bytes > capacity_) {
    const OutsideOfGraphs outside;
    const size_t capacity = std::max(bytes, capacity_ + capacity_ / 2);
    release();
    void* memory;
    check_gpu(cudaMalloc(&memory, capacity), operation);
    memory_ = memory;
    capacity_ = capacity;
    memory_bytes += static_cast<int64_t>(capacity);
    check_gpu(clear(memory_, capacity), operation);
  }
  in_graph_ |= in_graph;
  return memory_;
}

// cudaFree waits for the device, so nothing that was launched before loses its memory.
void GpuMemory::release() {
  if (memory_ != nullptr && !in_graph_) {
    const OutsideOfGraphs outside;
    if (cudaFree(memory_) != cudaSuccess) cudaGetLastError();  // of a device that has failed: no launch's error
    memory_bytes -= static_cast<int64_t>(capacity_);
  }
  memory_ = nullptr;
  capacity_ = 0;
  in_graph_ = false;
}

}  // namespace robocache
