// SPDX-License-Identifier: Apache-2.0
// Memory of the host from which a GPU copies as it is: blocks that are kept, and handed out again.
#pragma once

#include <cstddef>
#include <cstdint>

namespace robocache {

// From here on blocks are pinned, by the context of a GPU; until then, where no more may be, and in a child process,
// they are ordinary.
void pin_blocks(int device);

// A block of at least `size` bytes, or null where there is no memory; `resize` may move it. The last argument is that
// of an allocator that others are given, and is not looked at.
void* allocate_block(size_t size, void* = nullptr);
void* allocate_zeros(size_t count, size_t size, void* = nullptr);
void* resize_block(void* block, size_t size, void* = nullptr);
void free_block(void* block, void* = nullptr);

// Bytes of all pinned blocks, handed out or kept.
int64_t pinned_bytes();

// A block while it is in use.
class Block {
 public:
  explicit Block(size_t size);
  ~Block() { free_block(memory_); }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  void* memory() const { return memory_; }
  size_t size() const { return size_; }

 private:
  void* memory_;
  size_t size_;
};

}  // namespace robocache
