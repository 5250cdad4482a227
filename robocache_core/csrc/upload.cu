// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <thread>

#include "gpu.cuh"
#include "pool.hpp"
#include "upload.hpp"

namespace robocache {
namespace {

constexpr const char* kOperation = "upload";
constexpr int kChunks = 2;
constexpr int64_t kChunkBytes = 16 << 20;   // a message, mostly: threads are woken once for it
constexpr int64_t kPieceBytes = 256 << 10;  // that are worth another thread
constexpr int64_t kPieces = kChunkBytes / kPieceBytes;

bool is_pinned(const void* memory) {
  cudaPointerAttributes attributes;
  check_gpu(cudaPointerGetAttributes(&attributes, memory), kOperation);
  return attributes.type == cudaMemoryTypeHost;
}

}  // namespace

struct Uploader::Ring {
  std::mutex mutex;  // one caller at a time
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
      check_gpu(cudaHostAlloc(reinterpret_cast<void**>(&chunks), kChunks * kChunkBytes, cudaHostAllocDefault),
                kOperation);
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

  // On a device that has failed nothing can be given back, and no error raised.
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
      check_gpu(cudaEventSynchronize(taken[next]), kOperation);
      send_chunk(chunks + next * kChunkBytes, from + begin, std::min(kChunkBytes, size - begin), to + begin);
      check_gpu(cudaEventRecord(taken[next], stream), kOperation);
      next = (next + 1) % kChunks;
    }
  }

  // Threads copy pieces to the chunk; those that are there, and all before them, the caller sends between its own.
  void send_chunk(uint8_t* chunk, const uint8_t* from, int64_t size, uint8_t* to) {
    std::atomic<bool> is_there[kPieces] = {};
    const int64_t pieces = (size + kPieceBytes - 1) / kPieceBytes;
    const std::thread::id caller = std::this_thread::get_id();
    cudaError_t status = cudaSuccess;
    int64_t sent_pieces = 0;
    const auto send_what_is_there = [&] {
      int64_t end = sent_pieces;
      while (end < pieces && is_there[end].load(std::memory_order_acquire)) ++end;
      if (end == sent_pieces || status != cudaSuccess) return;
      const int64_t at = sent_pieces * kPieceBytes;
      status = send(chunk + at, std::min(size, end * kPieceBytes) - at, to + at);
      sent_pieces = end;
    };
    parallel_for(pieces, 1, [&](int64_t first, int64_t last, int) {
      for (int64_t piece = first; piece < last; ++piece) {
        const int64_t at = piece * kPieceBytes;
        std::memcpy(chunk + at, from + at, std::min(size - at, kPieceBytes));
        is_there[piece].store(true, std::memory_order_release);
        if (std::this_thread::get_id() == caller) send_what_is_there();
      }
    });
    send_what_is_there();
    check_gpu(status, kOperation);
  }
};

Uploader::Uploader(int device) : ring_(new Ring(device)) {}
Uploader::~Uploader() = default;

void Uploader::upload(const uint8_t* from, int64_t size, uint8_t* to, void* stream) {
  if (size == 0) return;
  const std::lock_guard<std::mutex> lock(ring_->mutex);
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
