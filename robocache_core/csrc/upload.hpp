// SPDX-License-Identifier: Apache-2.0
// Bytes of the host to a GPU, on a stream beside that of the computation.
#pragma once

#include <cstdint>
#include <memory>

namespace robocache {

// Pageable memory goes through a ring of pinned chunks, piece by piece and by several threads, so that a piece is on
// its way while the next is copied to the ring; pinned memory goes as it is.
class Uploader {
 public:
  explicit Uploader(int device);
  ~Uploader();

  // Copies `size` bytes to the device's memory at `to`; what `stream` (a cudaStream_t) does from now on sees them.
  // The host's bytes may change when this returns; pinned ones when what `stream` does next has begun.
  void upload(const uint8_t* from, int64_t size, uint8_t* to, void* stream);

 private:
  struct Ring;
  std::unique_ptr<Ring> ring_;
};

}  // namespace robocache
