// SPDX-License-Identifier: Apache-2.0
// Bilinear rows of 8-bit images with AVX2 and AVX-512, to the bits of `sample`.
//
// A blend of two 8-bit pixels by a multiple of 2^-14 is exact in float32, so `_mm_madd_epi16` gives it as an integer,
// 2^14 times too large; `multiply` takes the factor back, which is exact again. See `can_scale`.
#pragma once

#include "image.hpp"
#include "simd.hpp"

#if RC_X86
#include <immintrin.h>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 warns of its own intrinsics
#endif

namespace robocache {

// Columns that AVX-512 reads at once, and the bytes of a row that they may span.
constexpr int kBlock = 16;
constexpr int kMaxSpan = 256;

// 16 columns: which bytes they read, and by which weights they blend them.
struct alignas(64) ColumnBlock {
  uint8_t bytes[4 * kBlock];    // from `base`: of each column (left, -, right, -), for the first value of a pixel
  int16_t weights[2 * kBlock];  // of each column (left, right), together 2^14
  int32_t base;                 // of the block, bytes from the row's first
  int32_t span;                 // bytes that it reads from there
};

// A row of the result, per channel. multiply is that of ImageParams times 2^-14.
template <class Out>
struct BilinearRow {
  Out* out[kMaxImageChannels];
  int32_t channels;
  int32_t order[kMaxImageChannels];
  float multiply[kMaxImageChannels], add[kMaxImageChannels];
};

RC_TARGET_AVX512 inline void store(float* out, __mmask16 mask, __m512 values) {
  _mm512_mask_storeu_ps(out, mask, values);
}

RC_TARGET_AVX512 inline void store(Half* out, __mmask16 mask, __m512 values) {
  _mm256_mask_storeu_epi16(out, mask, _mm512_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

RC_TARGET_AVX512 inline void store(BFloat16* out, __mmask16 mask, __m512 values) {
  const __m512i bits = _mm512_castps_si512(values);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
  _mm256_mask_storeu_epi16(out, mask, _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
}

// Of values 0 to 255, as a blend of 8-bit pixels without a factor is.
RC_TARGET_AVX512 inline void store(uint8_t* out, __mmask16 mask, __m512 values) {
  _mm512_mask_cvtusepi32_storeu_epi8(out, mask, _mm512_cvtps_epi32(values));
}

// Every NaN as the one quiet NaN: an infinite factor makes them.
RC_TARGET_AVX512 inline __m512 canonical(__m512 values) {
  const __mmask16 nan = _mm512_cmp_ps_mask(values, values, _CMP_UNORD_Q);
  return _mm512_mask_mov_ps(values, nan, _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000)));
}

// Up to 64 bytes at `bytes`, of which `available` may be read.
RC_TARGET_AVX512 inline __m512i load_some(const uint8_t* bytes, int64_t available) {
  if (available >= 64) return _mm512_loadu_si512(bytes);
  const __mmask64 mask = available <= 0 ? 0 : (uint64_t{1} << available) - 1;
  return _mm512_maskz_loadu_epi8(mask, bytes);
}

// a, b: the two source rows, of `row_bytes`; fraction: between them; width: columns.
template <class Out, bool kWide>
RC_TARGET_AVX512 void bilinear_row_avx512(const BilinearRow<Out>& row, const ColumnBlock* blocks, const uint8_t* a,
                                          const uint8_t* b, int64_t row_bytes, float fraction, int32_t width) {
  const __mmask64 even_bytes = 0x5555555555555555u;
  const __m512 fraction16 = _mm512_set1_ps(fraction);
  for (int32_t x = 0; x < width; x += kBlock, ++blocks) {
    const int64_t available = row_bytes - blocks->base;
    __m512i from_a[kWide ? 4 : 2], from_b[kWide ? 4 : 2];
    for (int i = 0; i < (kWide ? 4 : 2); ++i) {
      from_a[i] = load_some(a + blocks->base + 64 * i, available - 64 * i);
      from_b[i] = load_some(b + blocks->base + 64 * i, available - 64 * i);
    }
    const __m512i first = _mm512_load_si512(blocks->bytes);
    const __m512i weights = _mm512_loadu_si512(blocks->weights);
    const __mmask16 mask = width - x >= kBlock ? 0xffff : (1u << (width - x)) - 1;
    for (int32_t c = 0; c < row.channels; ++c) {
      const __m512i bytes = _mm512_add_epi8(first, _mm512_set1_epi8(static_cast<char>(row.order[c])));
      __m512i pairs_a, pairs_b;
      if constexpr (kWide) {
        const __mmask64 upper = _mm512_movepi8_mask(bytes) & even_bytes, lower = even_bytes & ~upper;
        pairs_a = _mm512_or_si512(_mm512_maskz_permutex2var_epi8(lower, from_a[0], bytes, from_a[1]),
                                  _mm512_maskz_permutex2var_epi8(upper, from_a[2], bytes, from_a[3]));
        pairs_b = _mm512_or_si512(_mm512_maskz_permutex2var_epi8(lower, from_b[0], bytes, from_b[1]),
                                  _mm512_maskz_permutex2var_epi8(upper, from_b[2], bytes, from_b[3]));
      } else {
        pairs_a = _mm512_maskz_permutex2var_epi8(even_bytes, from_a[0], bytes, from_a[1]);
        pairs_b = _mm512_maskz_permutex2var_epi8(even_bytes, from_b[0], bytes, from_b[1]);
      }
      const __m512 blend_a = _mm512_cvtepi32_ps(_mm512_madd_epi16(pairs_a, weights));
      const __m512 blend_b = _mm512_cvtepi32_ps(_mm512_madd_epi16(pairs_b, weights));
      __m512 value = _mm512_add_ps(blend_a, _mm512_mul_ps(_mm512_sub_ps(blend_b, blend_a), fraction16));
      value = _mm512_add_ps(_mm512_mul_ps(value, _mm512_set1_ps(row.multiply[c])), _mm512_set1_ps(row.add[c]));
      store(row.out[c] + x, mask, canonical(value));
    }
  }
}

RC_TARGET_AVX2 inline void store(float* out, __m256 values) { _mm256_storeu_ps(out, values); }

RC_TARGET_AVX2 inline void store(Half* out, __m256 values) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out),
                   _mm256_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

RC_TARGET_AVX2 inline void store(BFloat16* out, __m256 values) {
  const __m256i bits = _mm256_castps_si256(values);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i raised = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
  const __m256i rounded = _mm256_srli_epi32(raised, 16);
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(rounded, rounded), 0x08);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm256_castsi256_si128(packed));
}

RC_TARGET_AVX2 inline void store(uint8_t* out, __m256 values) {
  const __m256i whole = _mm256_cvtps_epi32(values);
  const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(out), _mm_packus_epi16(words, words));
}

RC_TARGET_AVX2 inline __m256 canonical(__m256 values) {
  const __m256 nan = _mm256_cmp_ps(values, values, _CMP_UNORD_Q);
  return _mm256_blendv_ps(values, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000)), nan);
}

// Eight columns that read 8 bytes of each row: where, and by which weights.
struct EightColumns {
  const uint8_t *a, *b;                  // rows
  const int32_t *offsets_a, *offsets_b;  // [8] bytes from a and b
  const int32_t* weights;                // [8] pairs of int16 (left, right), together 2^14
  const float* fractions;                // [8] between a and b
  int64_t ahead;                         // bytes to what the next row of the result reads, about
};

RC_TARGET_AVX2 inline __m256i load_halves(const uint8_t* low, const uint8_t* high) {
  const __m128i low8 = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(low));
  const __m128i high8 = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(high));
  return _mm256_inserti128_si256(_mm256_castsi128_si256(low8), high8, 1);
}

// The address may be beyond the image, where no pointer may point.
inline void prefetch(const uint8_t* from, int64_t offset) {
  _mm_prefetch(reinterpret_cast<const char*>(reinterpret_cast<uintptr_t>(from) + static_cast<uintptr_t>(offset)),
               _MM_HINT_T0);
}

// Columns 2 * i and 2 * i + 1 as float32 (R G B -) each, 2^14 times too large, normalised. kPixel: bytes of a pixel.
RC_TARGET_AVX2 inline __m256 two_columns(const EightColumns& at, int i, __m256i pairs, __m256 multiply, __m256 add) {
  const int l = 2 * i, h = 2 * i + 1;
  const __m256i weights =
      _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_set1_epi32(at.weights[l])), _mm_set1_epi32(at.weights[h]), 1);
  const __m256 fraction =
      _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_set1_ps(at.fractions[l])), _mm_set1_ps(at.fractions[h]), 1);
  const __m256i from_a = load_halves(at.a + at.offsets_a[l], at.a + at.offsets_a[h]);
  const __m256i from_b = load_halves(at.b + at.offsets_b[l], at.b + at.offsets_b[h]);
  const __m256 blend_a = _mm256_cvtepi32_ps(_mm256_madd_epi16(_mm256_shuffle_epi8(from_a, pairs), weights));
  const __m256 blend_b = _mm256_cvtepi32_ps(_mm256_madd_epi16(_mm256_shuffle_epi8(from_b, pairs), weights));
  const __m256 value = _mm256_add_ps(blend_a, _mm256_mul_ps(_mm256_sub_ps(blend_b, blend_a), fraction));
  return _mm256_add_ps(_mm256_mul_ps(value, multiply), add);
}

// Bytes (left, 0, right, 0) of R, G and B out of two pixels side by side.
RC_TARGET_AVX2 inline __m256i pairs_of(const int32_t* order, int pixel) {
  alignas(32) int8_t bytes[32];
  for (int i = 0; i < 32; ++i) {
    const int c = i % 16 / 4;
    bytes[i] = static_cast<int8_t>(i % 2 != 0 || c == 3 ? -1 : order[c] + (i % 4 == 2 ? pixel : 0));
  }
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(bytes));
}

// Columns [0, width) in eights, the last of which may overlap the one before; width >= 8. Three channels. kMapped:
// offsets_a, offsets_b and fractions are of each column; else both rows have offsets_a, and fractions one element.
template <class Out, bool kMapped>
RC_TARGET_AVX2 void bilinear_row_avx2(const BilinearRow<Out>& row, int pixel, EightColumns from, int32_t width) {
  const __m256i pairs = pairs_of(row.order, pixel);
  const __m128 multiply4 = _mm_setr_ps(row.multiply[0], row.multiply[1], row.multiply[2], 0);
  const __m128 add4 = _mm_setr_ps(row.add[0], row.add[1], row.add[2], 0);
  const __m256 multiply = _mm256_insertf128_ps(_mm256_castps128_ps256(multiply4), multiply4, 1);
  const __m256 add = _mm256_insertf128_ps(_mm256_castps128_ps256(add4), add4, 1);
  float same[8];
  for (float& fraction : same) fraction = from.fractions[0];
  for (int32_t next = 0; next < width; next += 8) {
    const int32_t x = next + 8 <= width ? next : width - 8;
    const EightColumns at{from.a,
                          from.b,
                          from.offsets_a + x,
                          (kMapped ? from.offsets_b : from.offsets_a) + x,
                          from.weights + x,
                          kMapped ? from.fractions + x : same,
                          from.ahead};
    if constexpr (kMapped) {  // a curve over the rows is nothing that the CPU foresees
      prefetch(at.a, at.offsets_a[0] + at.ahead);
      prefetch(at.b, at.offsets_b[0] + at.ahead);
    }
    // Columns 0 | 1, 2 | 3, ... by halves; put 0 beside 4 and so on, then transpose both halves.
    const __m256 c01 = two_columns(at, 0, pairs, multiply, add), c23 = two_columns(at, 1, pairs, multiply, add);
    const __m256 c45 = two_columns(at, 2, pairs, multiply, add), c67 = two_columns(at, 3, pairs, multiply, add);
    const __m256 c04 = _mm256_permute2f128_ps(c01, c45, 0x20), c15 = _mm256_permute2f128_ps(c01, c45, 0x31);
    const __m256 c26 = _mm256_permute2f128_ps(c23, c67, 0x20), c37 = _mm256_permute2f128_ps(c23, c67, 0x31);
    const __m256 rg01 = _mm256_unpacklo_ps(c04, c15), rg23 = _mm256_unpacklo_ps(c26, c37);
    const __m256 b01 = _mm256_unpackhi_ps(c04, c15), b23 = _mm256_unpackhi_ps(c26, c37);
    store(row.out[0] + x, canonical(_mm256_shuffle_ps(rg01, rg23, 0x44)));
    store(row.out[1] + x, canonical(_mm256_shuffle_ps(rg01, rg23, 0xee)));
    store(row.out[2] + x, canonical(_mm256_shuffle_ps(b01, b23, 0x44)));
  }
}

RC_TARGET_AVX2 inline void store_row_avx2(const float* values, int64_t size, Half* out) {
  int64_t i = 0;
  for (; i + 8 <= size; i += 8) store(out + i, canonical(_mm256_loadu_ps(values + i)));
  for (; i < size; ++i) out[i] = from_float<Half>(values[i]);
}

}  // namespace robocache

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
#endif
