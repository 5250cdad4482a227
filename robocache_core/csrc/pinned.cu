// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <unordered_map>
#include <vector>

#include "gpu.cuh"
#include "pinned.hpp"

namespace robocache {
namespace {

constexpr size_t kLeast = 64 << 10;        // smaller blocks are copied to a pinned one as fast
constexpr size_t kMostBytes = 512u << 20;  // of all pinned blocks: memory that nothing else on the host can have

// Blocks of powers of two. None is given back: that would wait for the GPU, which may have failed.
class Pool {
 public:
  // Null where no more may be pinned.
  void* take(size_t size) {
    if (size > kMostBytes) return nullptr;
    size_t rounded = kLeast;
    while (rounded < size) rounded *= 2;
    const std::lock_guard<std::mutex> lock(mutex_);
    std::vector<void*>& free = free_[rounded];
    if (free.empty()) return add(rounded);
    void* const block = free.back();
    free.pop_back();
    return block;
  }

  // Bytes that a block has room for; 0: it is none of these.
  size_t size_of(void* block) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = sizes_.find(block);
    return found == sizes_.end() ? 0 : found->second;
  }

  bool give_back(void* block) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = sizes_.find(block);
    if (found == sizes_.end()) return false;
    if (!is_of_parent_) free_[found->second].push_back(block);
    return true;
  }

  // Around a fork, so that the child finds whole tables.
  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }

  // In the child, where CUDA does not work: no block is handed out any more, as all are its parent's.
  void leave_to_parent() {
    device = -1;
    is_of_parent_ = true;
    free_.clear();
    unlock();
  }

  std::atomic<int> device{-1};
  std::atomic<size_t> bytes{0};

 private:
  void* add(size_t size) {
    const int on = device;
    if (on < 0 || is_of_parent_ || bytes + size > kMostBytes) return nullptr;
    void* block;
    try {
      const CurrentDevice current(on);
      check_gpu(cudaHostAlloc(&block, size, cudaHostAllocPortable), "pinned memory");
    } catch (const GpuError&) {  // ordinary memory does as well; that a GPU has failed is found by who computes on it
      device = -1;
      return nullptr;
    }
    sizes_[block] = size;
    bytes += size;
    return block;
  }

  std::mutex mutex_;
  bool is_of_parent_ = false;
  std::unordered_map<void*, size_t> sizes_;
  std::unordered_map<size_t, std::vector<void*>> free_;
};

// Never destroyed: blocks may be in use until the process ends.
Pool& pool() {
  static Pool* const made = [] {
    pthread_atfork([] { pool().lock(); }, [] { pool().unlock(); }, [] { pool().leave_to_parent(); });
    return new Pool;
  }();
  return *made;
}

}  // namespace

void pin_blocks(int device) { pool().device = device; }

void* allocate_block(size_t size, void*) {
  void* const block = size >= kLeast ? pool().take(size) : nullptr;
  return block != nullptr ? block : std::malloc(size);
}

void* allocate_zeros(size_t count, size_t size, void*) {
  if (size != 0 && count > SIZE_MAX / size) return nullptr;
  void* const block = allocate_block(count * size);
  if (block != nullptr) std::memset(block, 0, count * size);
  return block;
}

void* resize_block(void* block, size_t size, void*) {
  if (block == nullptr) return allocate_block(size);
  const size_t room = pool().size_of(block);
  if (room == 0) return std::realloc(block, size);
  if (room >= size) return block;
  void* const moved = allocate_block(size);
  if (moved == nullptr) return nullptr;
  std::memcpy(moved, block, std::min(size, room));
  free_block(block);
  return moved;
}

void free_block(void* block, void*) {
  if (block != nullptr && !pool().give_back(block)) std::free(block);
}

int64_t pinned_bytes() { return static_cast<int64_t>(pool().bytes); }

Block::Block(size_t size) : memory_(allocate_block(size)), size_(size) {
  if (memory_ == nullptr && size != 0) throw std::bad_alloc();
}

}  // namespace robocache
