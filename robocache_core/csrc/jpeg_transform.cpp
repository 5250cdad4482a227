// SPDX-License-Identifier: Apache-2.0
#include "jpeg_transform.hpp"

#include <algorithm>
#include <cstdlib>

#include "jpeg_codes.hpp"
#include "jpeg_x86.hpp"
#include "simd.hpp"

namespace robocache {
namespace {

// Eight values `kFrom` apart to eight `kTo` apart, which are rounded to 2^-kShift.
template <int kFrom, int kTo, int kShift>
inline void transform(const int32_t* from, int32_t* to) {
  const auto in = [&](int i) -> int32_t { return from[i * kFrom]; };
  const int32_t shared = (in(2) + in(6)) * 4433;
  const int32_t low = shared - in(6) * 15137, high = shared + in(2) * 6270;
  const int32_t sum = (in(0) + in(4)) * (1 << 13), difference = (in(0) - in(4)) * (1 << 13);
  const int32_t even[4] = {sum + high, difference + low, difference - low, sum - high};
  const int32_t ends = (in(7) + in(1)) * -7373, middles = (in(5) + in(3)) * -20995;
  const int32_t crossed = (in(7) + in(3) + in(5) + in(1)) * 9633;
  const int32_t third = (in(7) + in(3)) * -16069 + crossed, fourth = (in(5) + in(1)) * -3196 + crossed;
  const int32_t odd[4] = {in(1) * 12299 + ends + fourth, in(3) * 25172 + middles + third,
                          in(5) * 16819 + middles + fourth, in(7) * 2446 + ends + third};
  for (int i = 0; i < 4; ++i) {
    to[i * kTo] = (even[i] + odd[i] + (1 << (kShift - 1))) >> kShift;
    to[(7 - i) * kTo] = (even[i] - odd[i] + (1 << (kShift - 1))) >> kShift;
  }
}

bool inverse_dct_of(const Dequantisation& by, const int16_t* block, int64_t stride, uint8_t* out) {
  int32_t values[64], columns[64];
  bool is_alike = true;
  for (int i = 0; i < 64; ++i) {
    is_alike &= std::abs(block[i]) <= by.limits[i];
    values[i] = block[i] * by.steps[i];
  }
  if (!is_alike) return false;
  for (int i = 0; i < 8; ++i) transform<8, 8, 11>(values + i, columns + i);
  for (int i = 0; i < 64; ++i) is_alike &= std::abs(columns[i]) <= kMostBetween;
  for (int y = 0; y < 8; ++y) {
    int32_t row[8];
    transform<1, 1, 18>(columns + 8 * y, row);
    for (int x = 0; x < 8; ++x) {
      is_alike &= row[x] >= kLeastPixel && row[x] <= kMostPixel;
      out[y * stride + x] = static_cast<uint8_t>(std::clamp(row[x] + 128, 0, 255));
    }
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

bool inverse_dct(const Dequantisation& by, const int16_t* coefficients, int64_t count, int64_t stride, uint8_t* out) {
  int64_t done = 0;
  bool is_alike = true;
#if RC_X86
  if (simd_level() >= Simd::kAvx2) {
    done = count / 2 * 2;
    is_alike = inverse_dct_avx2(by, coefficients, done, stride, out);
  }
#endif
  for (; done < count; ++done) is_alike &= inverse_dct_of(by, coefficients + 64 * done, stride, out + 8 * done);
  return is_alike;
}

}  // namespace robocache
