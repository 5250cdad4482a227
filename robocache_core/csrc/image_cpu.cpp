// SPDX-License-Identifier: Apache-2.0
// Images on the CPU: row by row of the output, two source rows into one, then its columns.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "image.hpp"

namespace robocache {
namespace {

// Kept from call to call, so that after the first images nothing is allocated.
struct Scratch {
  std::vector<Tap> columns;  // [region_width]
  std::vector<float> source;  // [width * source_channels], a row interpolated between two rows
  std::vector<float> row;     // [out_width], a finished row of one channel
};

Scratch& scratch() {
  static thread_local Scratch instance;
  return instance;
}

// source [width * source_channels]: rows `a` and `b` of the image at `fraction`.
template <class T, bool kSwap>
void blend_rows(const uint8_t* __restrict a, const uint8_t* __restrict b, float fraction, int64_t size,
                float* __restrict source) {
  if (fraction == 0.0f) {
    for (int64_t i = 0; i < size; ++i) source[i] = load_pixel<T, kSwap>(a + i * sizeof(T));
    return;
  }
  for (int64_t i = 0; i < size; ++i) {
    source[i] = lerp_pixels(load_pixel<T, kSwap>(a + i * sizeof(T)), load_pixel<T, kSwap>(b + i * sizeof(T)), fraction);
  }
}

template <class Out>
void store_row(const float* __restrict values, int64_t size, Out* __restrict out) {
  for (int64_t i = 0; i < size; ++i) out[i] = from_float<Out>(values[i]);
}

template <class T, bool kSwap, int kSourceChannels, class Out>
void prepare(const ImageParams& p, const uint8_t* data, int64_t step, Out* out) {
  Scratch& s = scratch();
  const auto tap = p.nearest ? nearest_tap : bilinear_tap;
  s.columns.resize(p.region_width);
  for (int32_t x = 0; x < p.region_width; ++x) {
    s.columns[x] = tap(x, p.scale_x, p.width);
    s.columns[x].i0 *= kSourceChannels;
    s.columns[x].i1 *= kSourceChannels;
  }
  const int64_t source_size = int64_t{p.width} * kSourceChannels;
  s.source.resize(source_size);
  s.row.resize(p.out_width);

  for (int32_t y = 0; y < p.out_height; ++y) {
    const int32_t region_row = y - p.region_y;
    const bool inside = region_row >= 0 && region_row < p.region_height;
    if (inside) {
      const Tap rows = tap(region_row, p.scale_y, p.height);
      blend_rows<T, kSwap>(data + rows.i0 * step, data + rows.i1 * step, rows.fraction, source_size, s.source.data());
    }
    for (int32_t c = 0; c < p.channels; ++c) {
      Out* out_row = out + (int64_t{c} * p.out_height + y) * p.out_width;
      if (!inside || p.region_width < p.out_width) std::fill(s.row.begin(), s.row.end(), p.pad[c]);
      if (inside) {
        const float* __restrict source = s.source.data() + p.order[c];
        const Tap* __restrict columns = s.columns.data();
        float* __restrict row = s.row.data() + p.region_x;
        const float multiply = p.multiply[c], add = p.add[c];
        for (int32_t x = 0; x < p.region_width; ++x) {
          const float value = lerp_pixels(source[columns[x].i0], source[columns[x].i1], columns[x].fraction);
          row[x] = normalise(value, multiply, add);
        }
      }
      store_row(s.row.data(), p.out_width, out_row);
    }
  }
}

template <class T, bool kSwap, int kSourceChannels>
void prepare_output(const ImageParams& p, const uint8_t* data, int64_t step, void* out) {
  switch (p.out_type) {
    case OutputType::kFloat32: return prepare<T, kSwap, kSourceChannels>(p, data, step, static_cast<float*>(out));
    case OutputType::kFloat16: return prepare<T, kSwap, kSourceChannels>(p, data, step, static_cast<Half*>(out));
    case OutputType::kBFloat16: return prepare<T, kSwap, kSourceChannels>(p, data, step, static_cast<BFloat16*>(out));
  }
}

}  // namespace

// Colour has 8 bits a channel in every encoding that is read, the other types have one channel.
void prepare_image_cpu(const ImageParams& p, const uint8_t* data, int64_t step, void* out) {
  switch (p.type) {
    case PixelType::kUInt8:
      if (p.source_channels == 1) return prepare_output<uint8_t, false, 1>(p, data, step, out);
      if (p.source_channels == 3) return prepare_output<uint8_t, false, 3>(p, data, step, out);
      return prepare_output<uint8_t, false, 4>(p, data, step, out);
    case PixelType::kUInt16:
      if (p.swap) return prepare_output<uint16_t, true, 1>(p, data, step, out);
      return prepare_output<uint16_t, false, 1>(p, data, step, out);
    case PixelType::kFloat32:
      if (p.swap) return prepare_output<float, true, 1>(p, data, step, out);
      return prepare_output<float, false, 1>(p, data, step, out);
  }
}

}  // namespace robocache
