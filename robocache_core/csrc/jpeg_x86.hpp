// SPDX-License-Identifier: Apache-2.0
// The inverse DCT of two blocks at once with AVX2, one in each half of a register, to the bits of `transform`.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

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

// Of 16 bits: each by 2^kBits in 32.
template <bool kUpper, int kBits>
RC_TARGET_AVX2 inline __m256i scaled(__m256i values) {
  return _mm256_srai_epi32(pairs<kUpper>(_mm256_setzero_si256(), values), 16 - kBits);
}

// As `halves`, of rows [8] of 16 bits, in 32: result i is even[i] + odd[i].
template <int kSize>
struct HalvesAvx2 {
  __m256i even[kSize / 2], odd[kSize / 2];
};

template <bool kUpper>
RC_TARGET_AVX2 inline HalvesAvx2<8> halves_avx2(const __m256i* rows, std::integral_constant<int, 8>) {
  const __m256i p26 = pairs<kUpper>(rows[2], rows[6]);
  const __m256i high = times(p26, 4433 + 6270, 4433), low = times(p26, 4433, 4433 - 15137);
  const __m256i sum = scaled<kUpper, 13>(_mm256_add_epi16(rows[0], rows[4]));
  const __m256i difference = scaled<kUpper, 13>(_mm256_sub_epi16(rows[0], rows[4]));
  const __m256i crossed = pairs<kUpper>(_mm256_add_epi16(rows[7], rows[3]), _mm256_add_epi16(rows[5], rows[1]));
  const __m256i third = times(crossed, 9633 - 16069, 9633), fourth = times(crossed, 9633, 9633 - 3196);
  const __m256i p71 = pairs<kUpper>(rows[7], rows[1]), p53 = pairs<kUpper>(rows[5], rows[3]);
  return {{_mm256_add_epi32(sum, high), _mm256_add_epi32(difference, low), _mm256_sub_epi32(difference, low),
           _mm256_sub_epi32(sum, high)},
          {_mm256_add_epi32(times(p71, -7373, 12299 - 7373), fourth),
           _mm256_add_epi32(times(p53, -20995, 25172 - 20995), third),
           _mm256_add_epi32(times(p53, 16819 - 20995, -20995), fourth),
           _mm256_add_epi32(times(p71, 2446 - 7373, -7373), third)}};
}

template <bool kUpper>
RC_TARGET_AVX2 inline HalvesAvx2<4> halves_avx2(const __m256i* rows, std::integral_constant<int, 4>) {
  const __m256i first = scaled<kUpper, 14>(rows[0]), even = times(pairs<kUpper>(rows[2], rows[6]), 15137, -6270);
  const __m256i p13 = pairs<kUpper>(rows[1], rows[3]), p57 = pairs<kUpper>(rows[5], rows[7]);
  return {{_mm256_add_epi32(first, even), _mm256_sub_epi32(first, even)},
          {_mm256_add_epi32(times(p13, 20995, 7373), times(p57, -4926, -4176)),
           _mm256_add_epi32(times(p13, 8697, -17799), times(p57, 11893, -1730))}};
}

template <bool kUpper>
RC_TARGET_AVX2 inline HalvesAvx2<2> halves_avx2(const __m256i* rows, std::integral_constant<int, 2>) {
  const __m256i p13 = pairs<kUpper>(rows[1], rows[3]), p57 = pairs<kUpper>(rows[5], rows[7]);
  return {{scaled<kUpper, 15>(rows[0])}, {_mm256_add_epi32(times(p13, 29692, -10426), times(p57, 6967, -5906))}};
}

// rows [8] of 16 bits to out [kSize] of 32 bits.
template <int kSize, int kShift, bool kUpper>
RC_TARGET_AVX2 inline void transform_avx2(const __m256i* rows, __m256i* out) {
  const HalvesAvx2<kSize> found = halves_avx2<kUpper>(rows, std::integral_constant<int, kSize>());
  const __m256i half = _mm256_set1_epi32(1 << (kShift - 1));
  for (int i = 0; i < kSize / 2; ++i) {
    const __m256i even = _mm256_add_epi32(found.even[i], half);
    out[i] = _mm256_srai_epi32(_mm256_add_epi32(even, found.odd[i]), kShift);
    out[kSize - 1 - i] = _mm256_srai_epi32(_mm256_sub_epi32(even, found.odd[i]), kShift);
  }
}

// rows [8] to rows [kSize], both of 16 bits.
template <int kSize, int kShift>
RC_TARGET_AVX2 inline void transform_avx2(__m256i* rows) {
  __m256i lower[kSize], upper[kSize];
  transform_avx2<kSize, kShift, false>(rows, lower);
  transform_avx2<kSize, kShift, true>(rows, upper);
  for (int i = 0; i < kSize; ++i) rows[i] = _mm256_packs_epi32(lower[i], upper[i]);
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

// The least and the most of numbers of 16 bits.
struct SpanAvx2 {
  __m256i least, most;
};

RC_TARGET_AVX2 inline void widen(SpanAvx2& span, const __m256i* rows, int count) {
  for (int i = 0; i < count; ++i) {
    span.least = _mm256_min_epi16(span.least, rows[i]);
    span.most = _mm256_max_epi16(span.most, rows[i]);
  }
}

RC_TARGET_AVX2 inline bool is_within(const SpanAvx2& span, int16_t lower, int16_t upper) {
  const __m256i beyond = _mm256_or_si256(_mm256_cmpgt_epi16(_mm256_set1_epi16(lower), span.least),
                                         _mm256_cmpgt_epi16(span.most, _mm256_set1_epi16(upper)));
  return _mm256_testz_si256(beyond, beyond) != 0;
}

// Pixels of 16 bits, those of the first first, to bytes.
RC_TARGET_AVX2 inline __m256i bytes_of(__m256i first, __m256i second) {
  return _mm256_add_epi8(_mm256_packs_epi16(first, second), _mm256_set1_epi8(static_cast<char>(128)));
}

// rows [8] between columns and rows to two blocks of pixels, side by side.
RC_TARGET_AVX2 inline void write_pixels_avx2(__m256i* rows, SpanAvx2& span, int64_t stride, uint8_t* out,
                                             std::integral_constant<int, 8>) {
  transpose_avx2(rows);
  transform_avx2<8, kRowShift<8>>(rows);
  transpose_avx2(rows);
  widen(span, rows, 8);
  for (int y = 0; y < 8; y += 2) {
    const __m256i sorted = _mm256_permute4x64_epi64(bytes_of(rows[y], rows[y + 1]), 0xd8);  // by rows, not by blocks
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + y * stride), _mm256_castsi256_si128(sorted));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + (y + 1) * stride), _mm256_extracti128_si256(sorted, 1));
  }
}

// As `transpose_avx2` of rows [4]; what is behind them is anything.
RC_TARGET_AVX2 inline void transpose_avx2(__m256i* rows, std::integral_constant<int, 4>) {
  const __m256i a = _mm256_unpacklo_epi16(rows[0], rows[1]), b = _mm256_unpacklo_epi16(rows[2], rows[3]);
  const __m256i c = _mm256_unpackhi_epi16(rows[0], rows[1]), d = _mm256_unpackhi_epi16(rows[2], rows[3]);
  rows[0] = _mm256_unpacklo_epi32(a, b);
  rows[2] = _mm256_unpackhi_epi32(a, b);
  rows[4] = _mm256_unpacklo_epi32(c, d);
  rows[6] = _mm256_unpackhi_epi32(c, d);
  for (int i = 0; i < 8; i += 2) rows[i + 1] = _mm256_unpackhi_epi64(rows[i], rows[i]);
}

// As `transpose_avx2` of rows [2], without the columns 2, 4 and 6; what is behind them is the same again.
RC_TARGET_AVX2 inline void transpose_avx2(__m256i* rows, std::integral_constant<int, 2>) {
  const __m256i lower = _mm256_unpacklo_epi16(rows[0], rows[1]), upper = _mm256_unpackhi_epi16(rows[0], rows[1]);
  rows[0] = _mm256_shuffle_epi32(lower, 0x00);
  rows[1] = _mm256_shuffle_epi32(lower, 0x55);
  rows[3] = _mm256_shuffle_epi32(lower, 0xff);
  rows[5] = _mm256_shuffle_epi32(upper, 0x55);
  rows[7] = _mm256_shuffle_epi32(upper, 0xff);
}

template <int kSize>
RC_TARGET_AVX2 inline void write_pixels_avx2(__m256i* rows, SpanAvx2& span, int64_t stride, uint8_t* out,
                                             std::integral_constant<int, kSize> size) {
  __m256i columns[kSize], ends[2];
  transpose_avx2(rows, size);
  transform_avx2<kSize, kRowShift<kSize>, false>(rows, columns);
  ends[0] = _mm256_packs_epi32(columns[0], columns[1]);
  ends[1] = _mm256_packs_epi32(columns[kSize - 2], columns[kSize - 1]);
  widen(span, ends, 2);
  const __m128i by_rows = kSize == 4 ? _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)
                                     : _mm_setr_epi8(0, 4, 1, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  uint8_t blocks[2][16];
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(blocks),
                      _mm256_shuffle_epi8(bytes_of(ends[0], ends[1]), _mm256_broadcastsi128_si256(by_rows)));
  for (int y = 0; y < kSize; ++y)
    for (int i = 0; i < 2; ++i) std::memcpy(out + y * stride + kSize * i, blocks[i] + kSize * y, kSize);
}

// Whether two blocks have their first values alone: half of those of chroma.
RC_TARGET_AVX2 inline bool are_flat(const __m256i* rows) {
  __m256i found = _mm256_andnot_si256(_mm256_setr_epi64x(0xffff, 0, 0xffff, 0), rows[0]);
  for (int y = 1; y < 8; ++y) found = _mm256_or_si256(found, rows[y]);
  return _mm256_testz_si256(found, found) != 0;
}

// See `inverse_dct`; count is even.
template <int kSize>
RC_TARGET_AVX2 inline bool inverse_dct_avx2(const Dequantisation& by, const int16_t* coefficients, int64_t count,
                                            int64_t stride, uint8_t* out) {
  const __m256i zero = _mm256_setzero_si256();
  __m256i too_large = zero;
  SpanAvx2 between{zero, zero}, pixels{zero, zero};
  for (int64_t i = 0; i < count; i += 2, coefficients += 128, out += 2 * kSize) {
    __m256i rows[8];
    for (int y = 0; y < 8; ++y) {
      const __m256i row = row_of_two(coefficients, coefficients + 64, y);
      const __m256i limits = row_of_two(by.limits, by.limits, y), steps = row_of_two(by.steps, by.steps, y);
      too_large = _mm256_or_si256(too_large, _mm256_cmpgt_epi16(_mm256_abs_epi16(row), limits));
      rows[y] = _mm256_mullo_epi16(row, steps);
    }
    if (kSize == 1 || are_flat(rows)) {
      for (int j = 0; j < 2; ++j) {
        const uint8_t pixel = mean_pixel(coefficients[64 * j] * by.steps[0]);
        for (int y = 0; y < kSize; ++y) std::memset(out + y * stride + kSize * j, pixel, kSize);
      }
    } else if constexpr (kSize > 1) {
      transform_avx2<kSize, kColumnShift<kSize>>(rows);
      widen(between, rows, kSize);
      write_pixels_avx2(rows, pixels, stride, out, std::integral_constant<int, kSize>());
    }
  }
  return _mm256_testz_si256(too_large, too_large) != 0 && is_within(between, -kMostBetween, kMostBetween) &&
         is_within(pixels, kLeastPixel, kMostPixel);
}

}  // namespace robocache
#endif
