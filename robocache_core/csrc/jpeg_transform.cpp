// SPDX-License-Identifier: Apache-2.0
#include "jpeg_transform.hpp"

#include <algorithm>
#include <cstdlib>
#include <type_traits>

#include "jpeg_codes.hpp"
#include "jpeg_x86.hpp"
#include "simd.hpp"

namespace robocache {
namespace {

// Result i is even[i] + odd[i], and that as far from the end even[i] - odd[i].
template <int kSize>
struct Halves {
  int32_t even[kSize / 2], odd[kSize / 2];
};

template <int kApart>
inline Halves<8> halves(const int32_t* from, std::integral_constant<int, 8>) {
  const auto in = [&](int i) -> int32_t { return from[i * kApart]; };
  const int32_t shared = (in(2) + in(6)) * 4433;
  const int32_t low = shared - in(6) * 15137, high = shared + in(2) * 6270;
  const int32_t sum = (in(0) + in(4)) * (1 << 13), difference = (in(0) - in(4)) * (1 << 13);
  const int32_t ends = (in(7) + in(1)) * -7373, middles = (in(5) + in(3)) * -20995;
  const int32_t crossed = (in(7) + in(3) + in(5) + in(1)) * 9633;
  const int32_t third = (in(7) + in(3)) * -16069 + crossed, fourth = (in(5) + in(1)) * -3196 + crossed;
  return {{sum + high, difference + low, difference - low, sum - high},
          {in(1) * 12299 + ends + fourth, in(3) * 25172 + middles + third, in(5) * 16819 + middles + fourth,
           in(7) * 2446 + ends + third}};
}

template <int kApart>
inline Halves<4> halves(const int32_t* from, std::integral_constant<int, 4>) {
  const auto in = [&](int i) -> int32_t { return from[i * kApart]; };
  const int32_t first = in(0) * (1 << 14), even = in(2) * 15137 - in(6) * 6270;
  return {{first + even, first - even},
          {in(1) * 20995 + in(3) * 7373 - in(5) * 4926 - in(7) * 4176,
           in(1) * 8697 - in(3) * 17799 + in(5) * 11893 - in(7) * 1730}};
}

template <int kApart>
inline Halves<2> halves(const int32_t* from, std::integral_constant<int, 2>) {
  const auto in = [&](int i) -> int32_t { return from[i * kApart]; };
  return {{in(0) * (1 << 15)}, {in(1) * 29692 - in(3) * 10426 + in(5) * 6967 - in(7) * 5906}};
}

// Eight values `kApart` from one to the next to kSize such, which are rounded to 2^-kShift.
template <int kSize, int kApart, int kShift>
inline void transform(const int32_t* from, int32_t* to) {
  const Halves<kSize> found = halves<kApart>(from, std::integral_constant<int, kSize>());
  for (int i = 0; i < kSize / 2; ++i) {
    to[i * kApart] = (found.even[i] + found.odd[i] + (1 << (kShift - 1))) >> kShift;
    to[(kSize - 1 - i) * kApart] = (found.even[i] - found.odd[i] + (1 << (kShift - 1))) >> kShift;
  }
}

// False where a coefficient is beyond its limit.
bool dequantise(const Dequantisation& by, const int16_t* block, int32_t* values) {
  bool is_within = true;
  for (int i = 0; i < 64; ++i) {
    is_within &= std::abs(block[i]) <= by.limits[i];
    values[i] = block[i] * by.steps[i];
  }
  return is_within;
}

// values [64] to kSize x kSize pixels. False where decoders may differ.
template <int kSize>
bool write_pixels(const int32_t* values, int64_t stride, uint8_t* out) {
  int32_t columns[8 * kSize];
  bool is_alike = true;
  for (int i = 0; i < 8; ++i) transform<kSize, 8, kColumnShift<kSize>>(values + i, columns + i);
  for (int i = 0; i < 8 * kSize; ++i) is_alike &= std::abs(columns[i]) <= kMostBetween;
  if (!is_alike) return false;
  for (int y = 0; y < kSize; ++y) {
    int32_t row[kSize];
    transform<kSize, 1, kRowShift<kSize>>(columns + 8 * y, row);
    for (int x = 0; x < kSize; ++x) {
      is_alike &= row[x] >= kLeastPixel && row[x] <= kMostPixel;
      out[y * stride + x] = static_cast<uint8_t>(std::clamp(row[x] + 128, 0, 255));
    }
  }
  return is_alike;
}

template <>
bool write_pixels<1>(const int32_t* values, int64_t, uint8_t* out) {
  out[0] = mean_pixel(values[0]);
  return true;
}

// See `inverse_dct`.
template <int kSize>
bool inverse_dct_of(const Dequantisation& by, const int16_t* blocks, int64_t count, int64_t stride, uint8_t* out) {
  int64_t done = 0;
  bool is_alike = true;
#if RC_X86
  if (simd_level() >= Simd::kAvx2) {
    done = count / 2 * 2;
    is_alike = inverse_dct_avx2<kSize>(by, blocks, done, stride, out);
  }
#endif
  for (; done < count; ++done) {
    int32_t values[64];
    is_alike &= dequantise(by, blocks + 64 * done, values) && write_pixels<kSize>(values, stride, out + kSize * done);
  }
  return is_alike;
}

}  // namespace

Dequantisation::Dequantisation(const int32_t* quanta) {
  for (int k = 0; k < 64; ++k) {
    const int32_t step = quanta[k];
    steps[kZigzag[k]] = static_cast<int16_t>(step);
    limits[kZigzag[k]] = static_cast<int16_t>(step == 0 ? INT16_MAX : (kLargestCoefficient + step) / step);
  }
}

bool inverse_dct(const Dequantisation& by, int32_t size, const int16_t* coefficients, int64_t count, int64_t stride,
                 uint8_t* out) {
  switch (size) {
    case 8:
      return inverse_dct_of<8>(by, coefficients, count, stride, out);
    case 4:
      return inverse_dct_of<4>(by, coefficients, count, stride, out);
    case 2:
      return inverse_dct_of<2>(by, coefficients, count, stride, out);
    default:
      return inverse_dct_of<1>(by, coefficients, count, stride, out);
  }
}

}  // namespace robocache
