// SPDX-License-Identifier: Apache-2.0
#include "upload.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "gpu.cuh"
#include "pool.hpp"

namespace robocache {
namespace {

constexpr const char* kOperation = "upload";
constexpr int kChunks = 3;
constexpr int64_t kChunkBytes = 8 << 20;
constexpr int64_t kPieceBytes = 512 << 10;  // that are worth another thread, and a copy of their own

bool is_pinned(const void* memory) {
  cudaPointerAttributes attributes;
  check_gpu(cudaPointerGetAttributes(&attributes, memory), kOperation);
  return attributes.type == cudaMemoryTypeHost;
}

}  // namespace

struct Uploader::Ring {
  int device;
  cudaStream_t stream = nullptr;
  cudaEvent_t sent = nullptr;
  uint8_t* chunks = nullptr;
  cudaEvent_t taken[kChunks] = {};  // when a chunk's bytes have left it
  int next = 0;

  explicit Ring(int on) : device(on) {
    const CurrentDevice current(device);
    try {
      check_gpu(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), kOperation);
      check_gpu(cudaEventCreateWithFlags(&sent, cudaEventDisableTiming), kOperation);
      for (cudaEvent_t& event : taken) check_gpu(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), kOperation);
      check_gpu(cudaHostAlloc(reinterpret_cast<void**>(&chunks), kChunks * kChunkBytes, cudaHostAllocDefault), kOperation);
    } catch (...) {
      release();
      throw;
    }
  }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  ~Ring() {
    int before = -1;
    cudaGetDevice(&before);
    cudaSetDevice(device);
    release();
    if (before >= 0) cudaSetDevice(before);
  }

  // On a device that has failed nothing can be given back, and nobody be told.
  void release() {
    if (stream != nullptr) cudaStreamSynchronize(stream);
    cudaFreeHost(chunks);
    for (cudaEvent_t event : taken)
      if (event != nullptr) cudaEventDestroy(event);
    if (sent != nullptr) cudaEventDestroy(sent);
    if (stream != nullptr) cudaStreamDestroy(stream);
  }

  cudaError_t send(const uint8_t* from, int64_t size, uint8_t* to) {
    return cudaMemcpyAsync(to, from, size, cudaMemcpyHostToDevice, stream);
  }

  void send_by_chunks(const uint8_t* from, int64_t size, uint8_t* to) {
    for (int64_t begin = 0; begin < size; begin += kChunkBytes) {
      const int64_t count = std::min(kChunkBytes, size - begin);
      uint8_t* const chunk = chunks + next * kChunkBytes;
      check_gpu(cudaEventSynchronize(taken[next]), kOperation);
      std::atomic<cudaError_t> status{cudaSuccess};  // of the threads, in which nothing may be thrown
      parallel_for((count + kPieceBytes - 1) / kPieceBytes, 1, [&](int64_t first, int64_t last, int) {
        cudaSetDevice(device);
        for (int64_t piece = first; piece < last; ++piece) {
          const int64_t at = piece * kPieceBytes, end = std::min(count, at + kPieceBytes);
          std::memcpy(chunk + at, from + begin + at, end - at);
          const cudaError_t sent_piece = send(chunk + at, end - at, to + begin + at);
          if (sent_piece != cudaSuccess) status = sent_piece;
        }
      });
      check_gpu(status, kOperation);
      check_gpu(cudaEventRecord(taken[next], stream), kOperation);
      next = (next + 1) % kChunks;
    }
  }
};

Uploader::Uploader(int device) : ring_(new Ring(device)) {}
Uploader::~Uploader() = default;

void Uploader::upload(const uint8_t* from, int64_t size, uint8_t* to, void* stream) {
  if (size == 0) return;
  const CurrentDevice current(ring_->device);
  if (is_pinned(from)) {
    check_gpu(ring_->send(from, size, to), kOperation);
  } else {
    ring_->send_by_chunks(from, size, to);
  }
  check_gpu(cudaEventRecord(ring_->sent, ring_->stream), kOperation);
  check_gpu(cudaStreamWaitEvent(static_cast<cudaStream_t>(stream), ring_->sent, 0), kOperation);
}

}  // namespace robocache
