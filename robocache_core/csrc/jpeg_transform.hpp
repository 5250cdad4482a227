// SPDX-License-Identifier: Apache-2.0
// The inverse DCT of a JPEG in integers, as the standard's accurate method and all decoders of libjpeg's kind have it:
// constants of 13 bits, two more kept between columns and rows, each rounded half up. To fewer pixels it is theirs too:
// the means of those of 8 x 8, by the coefficients that do not cancel out in them.
#pragma once

#include <algorithm>
#include <cstdint>

namespace robocache {

// Places of coefficients, by rows, in the order in which they are coded.
constexpr uint8_t kZigzag[64] = {0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48,
                                 41, 34, 27, 20, 13, 6,  7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23,
                                 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63};

// Decoders agree in numbers between columns and rows up to this, as sums of two then have 16 bits, and in pixels, 128
// below those of 8 bits, that they do not wrap around.
constexpr int16_t kMostBetween = 16383, kLeastPixel = -512, kMostPixel = 511;

// What sums of columns are shifted by, and then of rows, to kSize pixels along an axis.
template <int kSize>
constexpr int kColumnShift = kSize == 8   ? 11
                             : kSize == 4 ? 12
                                          : 13;
template <int kSize>
constexpr int kRowShift = kColumnShift<kSize> + 7;

// The one pixel of a block by its first value, an eighth of which is the mean.
inline uint8_t mean_pixel(int32_t value) { return static_cast<uint8_t>(std::clamp(((value + 4) >> 3) + 128, 0, 255)); }

// Of a component, by rows: what its coefficients are multiplied by, and the largest that are no damage.
struct Dequantisation {
  int16_t steps[64], limits[64];

  // quanta [64] in zigzag order, up to 255.
  explicit Dequantisation(const int32_t* quanta);
};

// out: `size` rows, `stride` bytes apart, of size * count pixels; size is 8, 4, 2 or 1. coefficients [count, 64]:
// blocks side by side, by rows. False where one is beyond its limit, or decoders may differ.
bool inverse_dct(const Dequantisation& by, int32_t size, const int16_t* coefficients, int64_t count, int64_t stride,
                 uint8_t* out);

}  // namespace robocache
