// SPDX-License-Identifier: Apache-2.0
// What host code without a CUDA header has to know of a GPU.
#pragma once

#include <cstdint>
#include <stdexcept>

namespace robocache {

// Where an operation runs: its caller's stream.
struct GpuStream {
  int device;
  void* stream;  // a cudaStream_t
};

// A launch, a copy or an allocation failed on a GPU.
class GpuError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Bytes of scratch memory that the operations keep in this process, on all GPUs.
int64_t gpu_memory_bytes();

}  // namespace robocache
