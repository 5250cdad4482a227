// SPDX-License-Identifier: Apache-2.0
// The inverse DCT of two blocks at once with AVX2, one in each half of a register, to the bits of `transform`.
#pragma once

#include <cstdint>

#include "jpeg_transform.hpp"
#include "simd.hpp"

#if RC_X86
#include <immintrin.h>

namespace robocache {

// Columns 0 to 3 of both blocks, or 4 to 7.
template <bool kUpper>
RC_TARGET_AVX2 inline __m256i pairs(__m256i a, __m256i b) {
  return kUpper ? _mm256_unpackhi_epi16(a, b) : _mm256_unpacklo_epi16(a, b);
}

// Of each pair (x, y): a * x + b * y.
RC_TARGET_AVX2 inline __m256i times(__m256i values, int16_t a, int16_t b) {
  return _mm256_madd_epi16(
      values, _mm256_set1_epi32(static_cast<int32_t>(static_cast<uint16_t>(b)) << 16 | static_cast<uint16_t>(a)));
}

// rows [8] of 16 bits to out [8] of 32 bits.
template <int kShift, bool kUpper>
RC_TARGET_AVX2 inline void transform_avx2(const __m256i* rows, __m256i* out) {
  const __m256i zero = _mm256_setzero_si256(), half = _mm256_set1_epi32(1 << (kShift - 1));
  const __m256i p26 = pairs<kUpper>(rows[2], rows[6]);
  const __m256i high = times(p26, 4433 + 6270, 4433), low = times(p26, 4433, 4433 - 15137);
  const __m256i sum =
      _mm256_add_epi32(_mm256_srai_epi32(pairs<kUpper>(zero, _mm256_add_epi16(rows[0], rows[4])), 3), half);
  const __m256i difference =
      _mm256_add_epi32(_mm256_srai_epi32(pairs<kUpper>(zero, _mm256_sub_epi16(rows[0], rows[4])), 3), half);
  const __m256i even[4] = {_mm256_add_epi32(sum, high), _mm256_add_epi32(difference, low),
                           _mm256_sub_epi32(difference, low), _mm256_sub_epi32(sum, high)};
  const __m256i crossed = pairs<kUpper>(_mm256_add_epi16(rows[7], rows[3]), _mm256_add_epi16(rows[5], rows[1]));
  const __m256i third = times(crossed, 9633 - 16069, 9633), fourth = times(crossed, 9633, 9633 - 3196);
  const __m256i p71 = pairs<kUpper>(rows[7], rows[1]), p53 = pairs<kUpper>(rows[5], rows[3]);
  const __m256i odd[4] = {_mm256_add_epi32(times(p71, -7373, 12299 - 7373), fourth),
                          _mm256_add_epi32(times(p53, -20995, 25172 - 20995), third),
                          _mm256_add_epi32(times(p53, 16819 - 20995, -20995), fourth),
                          _mm256_add_epi32(times(p71, 2446 - 7373, -7373), third)};
  for (int i = 0; i < 4; ++i) {
    out[i] = _mm256_srai_epi32(_mm256_add_epi32(even[i], odd[i]), kShift);
    out[7 - i] = _mm256_srai_epi32(_mm256_sub_epi32(even[i], odd[i]), kShift);
  }
}

template <int kShift>
RC_TARGET_AVX2 inline void transform_avx2(__m256i* rows) {
  __m256i lower[8], upper[8];
  transform_avx2<kShift, false>(rows, lower);
  transform_avx2<kShift, true>(rows, upper);
  for (int i = 0; i < 8; ++i) rows[i] = _mm256_packs_epi32(lower[i], upper[i]);
}

RC_TARGET_AVX2 inline void transpose_avx2(__m256i* rows) {
  __m256i a[8], b[8];
  for (int i = 0; i < 4; ++i) {
    a[2 * i] = _mm256_unpacklo_epi16(rows[2 * i], rows[2 * i + 1]);
    a[2 * i + 1] = _mm256_unpackhi_epi16(rows[2 * i], rows[2 * i + 1]);
  }
  for (int i = 0; i < 4; ++i) {
    const int from = i / 2 * 4 + i % 2;
    b[2 * i] = _mm256_unpacklo_epi32(a[from], a[from + 2]);
    b[2 * i + 1] = _mm256_unpackhi_epi32(a[from], a[from + 2]);
  }
  for (int i = 0; i < 4; ++i) {
    rows[2 * i] = _mm256_unpacklo_epi64(b[i], b[i + 4]);
    rows[2 * i + 1] = _mm256_unpackhi_epi64(b[i], b[i + 4]);
  }
}

// Rows y of two blocks.
RC_TARGET_AVX2 inline __m256i row_of_two(const int16_t* first, const int16_t* second, int y) {
  const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(first) + y);
  const __m128i high = _mm_loadu_si128(reinterpret_cast<const __m128i*>(second) + y);
  return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}

// Whether a lane of `most` is greater than `limit`, or one of `least` is less than `lower`.
RC_TARGET_AVX2 inline bool is_beyond(__m256i least, int16_t lower, __m256i most, int16_t limit) {
  const __m256i beyond = _mm256_or_si256(_mm256_cmpgt_epi16(_mm256_set1_epi16(lower), least),
                                         _mm256_cmpgt_epi16(most, _mm256_set1_epi16(limit)));
  return _mm256_testz_si256(beyond, beyond) == 0;
}

// See `inverse_dct`; count is even.
RC_TARGET_AVX2 inline bool inverse_dct_avx2(const Dequantisation& by, const int16_t* coefficients, int64_t count,
                                            int64_t stride, uint8_t* out) {
  const __m256i middle = _mm256_set1_epi8(static_cast<char>(128));
  __m256i too_large = _mm256_setzero_si256(), least_between = too_large, most_between = too_large;
  __m256i least = too_large, most = too_large;
  for (int64_t i = 0; i < count; i += 2, coefficients += 128, out += 16) {
    __m256i rows[8];
    for (int y = 0; y < 8; ++y) {
      const __m256i row = row_of_two(coefficients, coefficients + 64, y);
      const __m256i limits = row_of_two(by.limits, by.limits, y), steps = row_of_two(by.steps, by.steps, y);
      too_large = _mm256_or_si256(too_large, _mm256_cmpgt_epi16(_mm256_abs_epi16(row), limits));
      rows[y] = _mm256_mullo_epi16(row, steps);
    }
    transform_avx2<11>(rows);
    for (int y = 0; y < 8; ++y) {
      least_between = _mm256_min_epi16(least_between, rows[y]);
      most_between = _mm256_max_epi16(most_between, rows[y]);
    }
    transpose_avx2(rows);
    transform_avx2<18>(rows);
    transpose_avx2(rows);
    for (int y = 0; y < 8; y += 2) {
      least = _mm256_min_epi16(least, _mm256_min_epi16(rows[y], rows[y + 1]));
      most = _mm256_max_epi16(most, _mm256_max_epi16(rows[y], rows[y + 1]));
      const __m256i pixels = _mm256_add_epi8(_mm256_packs_epi16(rows[y], rows[y + 1]), middle);
      const __m256i sorted = _mm256_permute4x64_epi64(pixels, 0xd8);  // by rows, not by blocks
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + y * stride), _mm256_castsi256_si128(sorted));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + (y + 1) * stride), _mm256_extracti128_si256(sorted, 1));
    }
  }
  return _mm256_testz_si256(too_large, too_large) != 0 &&
         !is_beyond(least_between, -kMostBetween, most_between, kMostBetween) &&
         !is_beyond(least, kLeastPixel, most, kMostPixel);
}

}  // namespace robocache
#endif
