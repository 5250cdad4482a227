// SPDX-License-Identifier: Apache-2.0
// Rows of a JPEG's planes on the CPU, to the bits of `JpegPixels`: chroma as large as luma, tile by tile, then colours.
#pragma once

#include <algorithm>
#include <cstdint>

#include "image.hpp"
#include "image_rows.hpp"

namespace robocache {

constexpr int32_t kJpegTile = 512;  // px, a whole number of columns of chroma

// Narrow, so that a register holds many: sums of chroma are below 2^12.
template <int kShift>
inline int16_t rounded(int32_t sum, int32_t rounding) {
  return static_cast<int16_t>(static_cast<uint16_t>(sum + rounding) >> kShift);
}

// columns [-1, count]: of chroma; out: two pixels for each.
template <int kShift>
inline void double_columns(const JpegChroma& chroma, const int16_t* __restrict columns, int32_t count,
                           int16_t* __restrict out) {
  const int16_t left = static_cast<int16_t>(chroma.rounding(false)),
                right = static_cast<int16_t>(chroma.rounding(true));
  for (int32_t i = 0; i < count; ++i) {
    const int32_t here = 3 * columns[i];
    out[2 * i] = rounded<kShift>(here + columns[i - 1], left);
    out[2 * i + 1] = rounded<kShift>(here + columns[i + 1], right);
  }
}

// out: chroma of the image's columns from `begin` on, of `size` or, where columns of chroma end later, a few more.
inline void upsample(const ImageParams& p, const JpegChroma& chroma, const uint8_t* plane, int32_t y, int32_t begin,
                     int32_t size, int16_t* __restrict out) {
  const bool halved_y = p.halvings_y == 1;
  const uint8_t* near = plane + (y >> p.halvings_y) * chroma.step;
  const uint8_t* beside = halved_y ? plane + chroma.row_beside(y) * chroma.step : near;
  const int32_t first = begin >> p.halvings_x, count = (size + (1 << p.halvings_x) - 1) >> p.halvings_x;
  int16_t padded[kJpegTile + 2];  // a column more on each side
  int16_t* columns = padded + 1;
  if (halved_y) {
    for (int32_t i = 0; i < count; ++i) columns[i] = static_cast<int16_t>(3 * near[first + i] + beside[first + i]);
  } else {
    for (int32_t i = 0; i < count; ++i) columns[i] = near[first + i];
  }
  if (p.halvings_x == 1) {
    for (const int32_t i : {-1, count})
      columns[i] =
          static_cast<int16_t>(chroma_column(near, beside, halved_y, clamp_int(first + i, 0, chroma.width - 1)));
    if (halved_y)
      double_columns<4>(chroma, columns, count, out);
    else
      double_columns<2>(chroma, columns, count, out);
  } else if (p.halvings_x == 2) {
    for (int32_t i = 0; i < count; ++i)
      for (int32_t j = 0; j < 4; ++j) out[4 * i + j] = columns[i];
  } else if (halved_y) {
    const int16_t rounding = static_cast<int16_t>(chroma.rounding(y & 1));
    for (int32_t i = 0; i < count; ++i) out[i] = rounded<2>(columns[i], rounding);
  } else {
    std::copy_n(columns, count, out);
  }
}

// Half of the upper 16 bits of 2 * value * factor, rounded half up: value * factor / 2^16.
inline int16_t times_fraction(int16_t value, int16_t factor) {
  const int16_t upper = static_cast<int16_t>((int32_t{static_cast<int16_t>(2 * value)} * factor) >> 16);
  return static_cast<int16_t>((upper + 1) >> 1);
}

inline uint16_t clamp_byte(int16_t value) { return static_cast<uint16_t>(value < 0 ? 0 : value > 255 ? 255 : value); }

// out [width * 4]: row y of the image; as rgb_of_chroma, in 16 bits where they suffice.
inline void unpack_row(JpegPixels, const ImageParams& p, const ImageView& image, int32_t y, uint8_t* __restrict out) {
  const JpegChroma chroma(p, image);
  const bool is_swapped = p.order[0] == 2;
  int16_t blues[kJpegTile + 4], reds[kJpegTile + 4];
  uint16_t first[kJpegTile], last[kJpegTile], greens[kJpegTile];
  for (int32_t begin = 0; begin < p.width; begin += kJpegTile) {
    const int32_t size = std::min(kJpegTile, p.width - begin);
    upsample(p, chroma, chroma.blue, y, begin, size, blues);
    upsample(p, chroma, chroma.red, y, begin, size, reds);
    const uint8_t* __restrict luma = image.data + y * image.step + begin;
    uint16_t* __restrict red_bytes = is_swapped ? last : first;
    uint16_t* __restrict blue_bytes = is_swapped ? first : last;
    for (int32_t i = 0; i < size; ++i) {
      const int16_t red = static_cast<int16_t>(reds[i] - 128), blue = static_cast<int16_t>(blues[i] - 128);
      red_bytes[i] = clamp_byte(static_cast<int16_t>(luma[i] + red + times_fraction(red, 91881 - 65536)));
      blue_bytes[i] = clamp_byte(static_cast<int16_t>(luma[i] + 2 * blue + times_fraction(blue, 116130 - 131072)));
    }
    for (int32_t i = 0; i < size; ++i) {
      const int16_t red = static_cast<int16_t>(reds[i] - 128), blue = static_cast<int16_t>(blues[i] - 128);
      const int16_t share =
          static_cast<int16_t>((int32_t{blue} * -22554 + int32_t{red} * (65536 - 46802) + (1 << 15)) >> 16);
      greens[i] = clamp_byte(static_cast<int16_t>(luma[i] - red + share));
    }
    for (int32_t i = 0; i < size; ++i) put_rgb(out + 4 * (begin + i), first[i], greens[i], last[i]);
  }
}

}  // namespace robocache
