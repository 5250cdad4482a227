// SPDX-License-Identifier: Apache-2.0
// Scratch memory of the host: kept from call to call and never initialised, so that only what is used takes pages.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>

namespace robocache {

template <class T>
class Buffer {
 public:
  // Room for `size` elements. What was in it is lost where it has to grow.
  T* reserve(size_t size) {
    if (size > capacity_) {
      const size_t capacity = std::max(size, capacity_ + capacity_ / 2);
      memory_.reset();
      capacity_ =
          0;  // until there is memory again: `new` may throw, and the next call must not find room that is not there
      memory_.reset(new T[capacity]);
      capacity_ = capacity;
    }
    return memory_.get();
  }

  T* data() const { return memory_.get(); }

 private:
  std::unique_ptr<T[]> memory_;
  size_t capacity_ = 0;
};

}  // namespace robocache
