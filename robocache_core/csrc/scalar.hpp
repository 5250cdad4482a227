// SPDX-License-Identifier: Apache-2.0
// Scalars as host and device both compute them: bits of floats, and half formats by integer arithmetic alone.
#pragma once

#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define RC_HD __host__ __device__
#else
#define RC_HD
#endif

// Inlined whatever the size: a loop over such a function can become SIMD.
#ifdef __GNUC__
#define RC_INLINE inline __attribute__((always_inline))
#else
#define RC_INLINE inline
#endif

#if defined(__FAST_MATH__)
#error "RoboCache promises the same bits everywhere: build without -ffast-math"
#endif

namespace robocache {

// The types of values that operations compute with and give.
enum class ScalarType : int32_t { kFloat32, kFloat16, kBFloat16 };

// Bytes at any address as a T.
template <class T>
RC_HD inline T load_bytes(const uint8_t* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

// Bytes at any address, in reverse order, as a T.
template <class T>
RC_HD inline T load_swapped(const uint8_t* bytes) {
  uint8_t reversed[sizeof(T)];
  for (unsigned i = 0; i < sizeof(T); ++i) reversed[i] = bytes[sizeof(T) - 1 - i];
  return load_bytes<T>(reversed);
}

RC_HD inline uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

RC_HD inline float float_of(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

RC_HD inline uint64_t bits_of(double value) {
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

RC_HD inline double double_of(uint64_t bits) {
  double value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Ordered as magnitudes are, NaN above all.
RC_HD inline uint32_t magnitude_bits(float value) { return bits_of(value) & 0x7fffffffu; }

RC_HD inline bool is_finite(float value) { return (bits_of(value) & 0x7f800000u) != 0x7f800000u; }

RC_HD inline bool is_finite(double value) { return (bits_of(value) & 0x7ff0000000000000ull) != 0x7ff0000000000000ull; }

// Nearest integer, ties to even, of |value| < 2^51; larger values stay about as large as they are.
RC_HD inline double round_even(double value) { return (value + 0x1.8p52) - 0x1.8p52; }

// Integers that are ordered as the floats are, -0 below +0; its own inverse up to the cast.
RC_HD inline int32_t ordered_int(float value) {
  const int32_t bits = static_cast<int32_t>(bits_of(value));
  return bits ^ ((bits >> 31) & 0x7fffffff);
}

RC_HD inline float ordered_float(int32_t ordered) {
  return float_of(static_cast<uint32_t>(ordered ^ ((ordered >> 31) & 0x7fffffff)));
}

struct Half {
  uint16_t bits;
};

struct BFloat16 {
  uint16_t bits;
};

RC_HD inline float to_float(float value) { return value; }

RC_HD inline float to_float(BFloat16 value) { return float_of(static_cast<uint32_t>(value.bits) << 16); }

// Without a branch, as is the way back: loops over them can become SIMD.
RC_HD inline float to_float(Half value) {
  const uint32_t magnitude = static_cast<uint32_t>(value.bits & 0x7fffu) << 13;
  const uint32_t exponent = magnitude & (0x7c00u << 13);
  const uint32_t infinite = exponent == (0x7c00u << 13) ? (128u - 16u) << 23 : 0u;  // or NaN
  const uint32_t normal = magnitude + ((127u - 15u) << 23) + infinite;
  const uint32_t subnormal = bits_of(float_of(magnitude + ((128u - 15u) << 23)) - float_of(113u << 23));
  const uint32_t bits = exponent == 0 ? subnormal : normal;
  return float_of(bits | (static_cast<uint32_t>(value.bits & 0x8000u) << 16));
}

// Round to nearest even. Every NaN becomes the one quiet NaN: processors differ in the NaN that they make.
template <class T>
RC_HD inline T from_float(float value);

template <>
RC_HD inline float from_float<float>(float value) {
  return value == value ? value : float_of(0x7fc00000u);
}

template <>
RC_HD inline BFloat16 from_float<BFloat16>(float value) {
  const uint32_t bits = bits_of(value);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return {static_cast<uint16_t>(value == value ? rounded : 0x7fc0u)};
}

template <>
RC_HD inline Half from_float<Half>(float value) {
  const uint32_t bits = bits_of(value);
  const uint32_t magnitude = bits & 0x7fffffffu;
  const uint32_t normal = (magnitude + 0xc8000fffu + ((magnitude >> 13) & 1u)) >> 13;
  // Adding 0.5 lets the float adder round a result below 2^-14 to the subnormals' step.
  const uint32_t subnormal = bits_of(float_of(magnitude) + 0.5f) - 0x3f000000u;
  uint32_t half = magnitude < 0x38800000u ? subnormal : normal;
  half = magnitude >= 0x47800000u ? 0x7c00u : half;
  half |= (bits >> 16) & 0x8000u;
  half = magnitude > 0x7f800000u ? 0x7e00u : half;
  return {static_cast<uint16_t>(half)};
}

// Of 0 to 255, to which others are clamped; NaN is 0. The sum has no bits for a fraction: the adder rounds it away.
template <>
RC_HD inline uint8_t from_float<uint8_t>(float value) {
  const float within = value > 0 ? (value < 255 ? value : 255.0f) : 0.0f;
  return static_cast<uint8_t>(static_cast<int32_t>((within + 0x1.8p23f) - 0x1.8p23f));
}

}  // namespace robocache
