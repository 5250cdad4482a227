// SPDX-License-Identifier: Apache-2.0
// Images: which source pixels an output pixel reads, and what it makes of them.
#pragma once

#include <cstdint>

#include "scalar.hpp"

namespace robocache {

enum class PixelType : int32_t { kUInt8, kUInt16, kFloat32 };
enum class OutputType : int32_t { kFloat32, kFloat16, kBFloat16 };

constexpr int kMaxImageChannels = 3;

// Constants of a preparation. The source fills the output's `region`; around it lies padding.
struct ImageParams {
  int32_t width, height;  // of the source, px
  PixelType type;
  bool swap;                         // the bytes of a value are in reverse order
  int32_t source_channels;           // values a source pixel, 1, 3 or 4
  int32_t channels;                  // of the output, 1 or 3
  int32_t order[kMaxImageChannels];  // source channel of each output channel
  int32_t out_width, out_height;
  int32_t region_x, region_y, region_width, region_height;
  bool nearest;
  double scale_x, scale_y;  // source pixels an output pixel
  float multiply[kMaxImageChannels], add[kMaxImageChannels];
  float pad[kMaxImageChannels];  // finished values of the padding
  OutputType out_type;
};

// Where along an axis an output pixel reads: between pixels i0 and i1 at `fraction`.
struct Tap {
  int32_t i0, i1;
  float fraction;
};

// `i`: pixel of the region. Centres lie at half pixels, edges are clamped.
RC_HD inline Tap bilinear_tap(int32_t i, double scale, int32_t size) {
  const double position = (i + 0.5) * scale - 0.5;
  if (!(position > 0.0)) return {0, 0, 0.0f};
  const int32_t i0 = static_cast<int32_t>(position);
  if (i0 >= size - 1) return {size - 1, size - 1, 0.0f};
  return {i0, i0 + 1, static_cast<float>(position - i0)};
}

RC_HD inline Tap nearest_tap(int32_t i, double scale, int32_t size) {
  const int32_t i0 = static_cast<int32_t>((i + 0.5) * scale);
  const int32_t clamped = i0 < size - 1 ? i0 : size - 1;
  return {clamped, clamped, 0.0f};
}

// A fraction of 0 reads `a` alone, so that an infinite neighbour does not make it NaN. Rows go first, then columns.
RC_HD inline float lerp_pixels(float a, float b, float fraction) {
  return fraction == 0.0f ? a : a + (b - a) * fraction;
}

RC_HD inline float normalise(float value, float multiply, float add) { return value * multiply + add; }

// The value at `bytes` of a pixel of type T.
template <class T, bool kSwap>
RC_HD inline float load_pixel(const uint8_t* bytes) {
  return static_cast<float>(kSwap ? load_swapped<T>(bytes) : load_bytes<T>(bytes));
}

// The CPU's loops (image_cpu.cpp). data: rows `step` bytes apart; out [channels, out_height, out_width] of out_type.
void prepare_image_cpu(const ImageParams& params, const uint8_t* data, int64_t step, void* out);

}  // namespace robocache
