// SPDX-License-Identifier: Apache-2.0
// How a source row is unpacked on the CPU.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace robocache {

// One store a pixel: compilers make vectors of it.
template <class T>
inline void put_rgb(T* out, uint32_t red, uint32_t green, uint32_t blue) {
  using Pixel = std::conditional_t<sizeof(T) == 1, uint32_t, uint64_t>;
  constexpr int kBits = 8 * sizeof(T);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  const Pixel pixel = (Pixel{red} << 3 * kBits) | (Pixel{green} << 2 * kBits) | (Pixel{blue} << kBits);
#else
  const Pixel pixel = Pixel{red} | (Pixel{green} << kBits) | (Pixel{blue} << 2 * kBits);
#endif
  std::memcpy(out, &pixel, sizeof pixel);
}

}  // namespace robocache
