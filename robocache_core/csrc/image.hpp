// SPDX-License-Identifier: Apache-2.0
// Images: the colour of a source pixel in every encoding, which pixels an output pixel reads, and what it makes of
// them. `sample` is the whole of it for one output pixel; a backend may go about it in another way to the same bits.
#pragma once

#include <cstdint>

#include "gpu.hpp"
#include "scalar.hpp"

namespace robocache {

enum class PixelType : int32_t { kUInt8, kUInt16, kFloat32 };
enum class Resize : int32_t { kBilinear, kNearest, kArea };
enum class ResultType : int32_t { kFloat32, kFloat16, kBFloat16, kUInt8 };
enum class ImageLayout : int32_t {
  kPacked,      // the values of a pixel beside each other
  kBayer,       // one colour a pixel, in tiles of 2 x 2
  kYuv422,      // four bytes for two pixels of a row: two of luma, one of u, one of v
  kSemiPlanar,  // rows of luma, then rows of u and v, a pair for 2 x 2 pixels
  kJpeg,        // planes of luma, blue and red chroma, each in whole blocks of 8 x 8
};

constexpr int kMaxImageChannels = 3;
// Fractions between 8-bit pixels are multiples of 2^-14, so that a blend of two is exact in float32, and in integers.
constexpr int32_t kFractionSteps = 1 << 14;

// Constants of a preparation. The source fills the output's `region`; around it is padding. With `rectify`, which
// says of every output pixel where it reads, the region is the output.
struct ImageParams {
  int32_t width, height;  // of the source, px
  PixelType type;
  bool swap;  // the bytes of a value are in reverse order
  ImageLayout layout;
  int32_t source_channels;  // values a source pixel (packed), 1, 3 or 4
  int32_t channels;         // of the output, 1 or 3
  // Packed: value of R G B in a pixel. Bayer: of R, a G, B in a tile (0 1 / 2 3). Yuv422: of the first Y, U, V in four
  // bytes. Semi-planar: of -, U, V in a pair. Jpeg: of the output's channels in R G B.
  int32_t order[kMaxImageChannels];
  int32_t halvings_x, halvings_y;  // of jpeg: of luma to chroma, 0 to 2 and 0 or 1
  int32_t out_width, out_height;
  int32_t region_x, region_y, region_width, region_height;
  Resize resize;
  double scale_x, scale_y;      // source pixels an output pixel
  double inverse_x, inverse_y;  // 1 / width, 1 / height
  float multiply[kMaxImageChannels], add[kMaxImageChannels];
  float pad[kMaxImageChannels];  // finished values of the padding
  ResultType out_type;
};

// The bytes of an image, rows `step` bytes apart.
struct ImageView {
  const uint8_t* data;
  int64_t step;
};

// --- the colour of a source pixel: at(x, y, out) writes the output's channels before normalisation

RC_HD inline int32_t clamp_int(int32_t value, int32_t low, int32_t high) {
  return value < low ? low : value > high ? high : value;
}

// T as it is in memory.
template <class T, bool kSwap>
RC_HD inline T load_value(const uint8_t* bytes) {
  return kSwap ? load_swapped<T>(bytes) : load_bytes<T>(bytes);
}

template <class T, bool kSwap, int kSourceChannels>
struct PackedPixels {
  using Value = T;
  static constexpr int kChannels = kSourceChannels == 1 ? 1 : 3;
  RC_HD static inline void at(const ImageParams& p, const ImageView& image, int32_t x, int32_t y, Value* out) {
    const uint8_t* pixel = image.data + y * image.step + int64_t{x} * kSourceChannels * int{sizeof(T)};
    for (int c = 0; c < kChannels; ++c) out[c] = load_value<T, kSwap>(pixel + p.order[c] * int{sizeof(T)});
  }
};

// The colours of a Bayer pixel from its neighbours' sums, all rounded half up.
struct BayerMeans {
  int32_t centre, cross, diagonal, horizontal, vertical;
};

// red_row, red_column: whether the pixel's row and column hold red. Writes R G B.
template <class Value>
RC_HD inline void demosaic(const BayerMeans& m, bool red_row, bool red_column, Value* out) {
  const int32_t red_here = red_column ? m.centre : m.horizontal, red_beside = red_column ? m.vertical : m.diagonal;
  const int32_t blue_here = red_column ? m.horizontal : m.centre, blue_beside = red_column ? m.diagonal : m.vertical;
  out[0] = static_cast<Value>(red_row ? red_here : red_beside);
  out[1] = static_cast<Value>(red_row == red_column ? m.cross : m.centre);
  out[2] = static_cast<Value>(red_row ? blue_beside : blue_here);
}

// Bilinear, as OpenCV's default. A pixel at the edge takes the colour of its neighbour inside; needs 3 x 3 pixels.
template <class T, bool kSwap>
struct BayerPixels {
  using Value = T;
  static constexpr int kChannels = 3;
  RC_HD static inline void at(const ImageParams& p, const ImageView& image, int32_t x, int32_t y, Value* out) {
    x = clamp_int(x, 1, p.width - 2);
    y = clamp_int(y, 1, p.height - 2);
    const uint8_t* here = image.data + y * image.step + int64_t{x} * int{sizeof(T)};
    const auto value = [&](int dx, int dy) -> int32_t {
      return load_value<T, kSwap>(here + dy * image.step + dx * int{sizeof(T)});
    };
    const int32_t beside = value(-1, 0) + value(1, 0), above = value(0, -1) + value(0, 1);
    const int32_t corners = (value(-1, -1) + value(1, -1)) + (value(-1, 1) + value(1, 1));
    demosaic<T>({value(0, 0), (beside + above + 2) >> 2, (corners + 2) >> 2, (beside + 1) >> 1, (above + 1) >> 1},
                (y & 1) == p.order[0] >> 1, (x & 1) == (p.order[0] & 1), out);
  }
};

// BT.601, limited range, with the constants of 20 bits that OpenCV takes.
RC_HD inline void rgb_of_yuv(int32_t y, int32_t u, int32_t v, uint8_t* out) {
  const int32_t luma = (y > 16 ? y - 16 : 0) * 1220542 + (1 << 19);
  u -= 128;
  v -= 128;
  out[0] = static_cast<uint8_t>(clamp_int((luma + 1673527 * v) >> 20, 0, 255));
  out[1] = static_cast<uint8_t>(clamp_int((luma - 852492 * v - 409993 * u) >> 20, 0, 255));
  out[2] = static_cast<uint8_t>(clamp_int((luma + 2116026 * u) >> 20, 0, 255));
}

struct Yuv422Pixels {
  using Value = uint8_t;
  static constexpr int kChannels = 3;
  RC_HD static inline void at(const ImageParams& p, const ImageView& image, int32_t x, int32_t y, Value* out) {
    const uint8_t* pair = image.data + y * image.step + int64_t{x / 2} * 4;
    rgb_of_yuv(pair[p.order[0] + 2 * (x & 1)], pair[p.order[1]], pair[p.order[2]], out);
  }
};

struct SemiPlanarPixels {
  using Value = uint8_t;
  static constexpr int kChannels = 3;
  RC_HD static inline void at(const ImageParams& p, const ImageView& image, int32_t x, int32_t y, Value* out) {
    const uint8_t* pair = image.data + (int64_t{p.height} + y / 2) * image.step + (x & ~1);
    rgb_of_yuv(image.data[y * image.step + x], pair[p.order[1]], pair[p.order[2]], out);
  }
};

// The planes of a JPEG, and how chroma becomes as large as luma: as libjpeg does it, between the two pixels that are
// nearest, three parts of the nearer one, along every axis on which there is one for two; one for four is repeated.
struct JpegChroma {
  const uint8_t *blue, *red;
  int64_t step;
  int32_t width, height;  // px that the image has
  int32_t shift;          // of the sums

  RC_HD inline JpegChroma(const ImageParams& p, const ImageView& image)
      : step(image.step >> p.halvings_x),
        width((p.width + (1 << p.halvings_x) - 1) >> p.halvings_x),
        height((p.height + (1 << p.halvings_y) - 1) >> p.halvings_y),
        shift((p.halvings_x == 1 ? 2 : 0) + 2 * p.halvings_y) {
    const int64_t rows = (int64_t{height} + 7) / 8 * 8;
    blue = image.data + ((image.step * rows) << p.halvings_y);
    red = blue + step * rows;
  }

  // What is added to a sum before the shift, by whether the pixel is the second of two.
  RC_HD inline int32_t rounding(bool second) const {
    return shift == 4 ? 8 - int32_t{second} : shift == 2 ? 1 + int32_t{second} : 0;
  }

  // The row of chroma beside that of row y of the image, on the side on which y is.
  RC_HD inline int32_t row_beside(int32_t y) const { return clamp_int(y & 1 ? y / 2 + 1 : y / 2 - 1, 0, height - 1); }
};

// Of a plane at column x: four times between two rows where those are halved.
RC_HD inline int32_t chroma_column(const uint8_t* near, const uint8_t* beside, bool is_halved, int32_t x) {
  return is_halved ? 3 * near[x] + beside[x] : near[x];
}

// As a JFIF file means it, in the fixed point of 16 bits of libjpeg; out: R G B.
RC_HD inline void rgb_of_chroma(int32_t luma, int32_t blue, int32_t red, uint8_t* out) {
  blue -= 128;
  red -= 128;
  out[0] = static_cast<uint8_t>(clamp_int(luma + ((91881 * red + (1 << 15)) >> 16), 0, 255));
  out[1] = static_cast<uint8_t>(clamp_int(luma + ((-22554 * blue - 46802 * red + (1 << 15)) >> 16), 0, 255));
  out[2] = static_cast<uint8_t>(clamp_int(luma + ((116130 * blue + (1 << 15)) >> 16), 0, 255));
}

struct JpegPixels {
  using Value = uint8_t;
  static constexpr int kChannels = 3;
  RC_HD static inline void at(const ImageParams& p, const ImageView& image, int32_t x, int32_t y, Value* out) {
    const JpegChroma chroma(p, image);
    uint8_t rgb[3];
    rgb_of_chroma(image.data[y * image.step + x], value(p, chroma, chroma.blue, x, y),
                  value(p, chroma, chroma.red, x, y), rgb);
    out[0] = p.order[0] == 0 ? rgb[0] : rgb[2];
    out[1] = rgb[1];
    out[2] = p.order[0] == 0 ? rgb[2] : rgb[0];
  }

 private:
  RC_HD static inline int32_t value(const ImageParams& p, const JpegChroma& chroma, const uint8_t* plane, int32_t x,
                                    int32_t y) {
    const bool halved_x = p.halvings_x == 1, halved_y = p.halvings_y == 1;
    const uint8_t* near = plane + (y >> p.halvings_y) * chroma.step;
    const uint8_t* beside = halved_y ? plane + chroma.row_beside(y) * chroma.step : near;
    const int32_t column = x >> p.halvings_x;
    int32_t sum = chroma_column(near, beside, halved_y, column);
    if (halved_x) {
      const int32_t other = clamp_int(x & 1 ? column + 1 : column - 1, 0, chroma.width - 1);
      sum = 3 * sum + chroma_column(near, beside, halved_y, other);
    }
    return (sum + chroma.rounding((halved_x ? x : y) & 1)) >> chroma.shift;
  }
};

// --- bilinear and nearest

// Where along an axis an output pixel reads: between pixels i0 and i1 at `fraction`.
struct Tap {
  int32_t i0, i1;
  float fraction;
};

// A fraction as pixels of type T are blended by.
template <class T>
RC_HD inline float blend_fraction(float fraction) {
  if (sizeof(T) != 1) return fraction;
  return static_cast<float>(static_cast<int32_t>(fraction * kFractionSteps + 0.5f)) * (1.0f / kFractionSteps);
}

// Of a position along an axis, pixel i's centre lying at i; edges are clamped. Without branches, for the compiler.
template <class T, class Real>
RC_HD inline Tap tap_at(Real position, int32_t size) {
  const Real at = position > 0 ? position : 0;
  const int32_t i = static_cast<int32_t>(at), last = size - 1;
  const float fraction = blend_fraction<T>(static_cast<float>(at - i));
  return {i < last ? i : last, i < last ? i + 1 : last, i < last ? fraction : 0.0f};
}

// `i`: pixel of the region. Centres are at half pixels.
template <class T>
RC_HD inline Tap bilinear_tap(int32_t i, double scale, int32_t size) {
  return tap_at<T>((i + 0.5) * scale - 0.5, size);
}

RC_HD inline Tap nearest_tap(int32_t i, double scale, int32_t size) {
  const int32_t i0 = static_cast<int32_t>((i + 0.5) * scale);
  const int32_t clamped = i0 < size - 1 ? i0 : size - 1;
  return {clamped, clamped, 0.0f};
}

// Of a coordinate of `rectify`: the pixel whose centre is nearest, the right one of two.
RC_HD inline Tap nearest_tap_at(float position, int32_t size) {
  const int32_t i0 = clamp_int(static_cast<int32_t>(position + 0.5f), 0, size - 1);
  return {i0, i0, 0.0f};
}

// Whether a coordinate of `rectify` is on the image, its pixels being squares about their centres; NaN does not.
RC_HD inline bool on_image(float position, int32_t size) {
  return (position >= -0.5f) & (position < static_cast<float>(size) - 0.5f);
}

// A fraction of 0 reads `a` alone, so that an infinite neighbour does not make it NaN. Columns go first, then rows.
RC_HD inline float lerp_pixels(float a, float b, float fraction) {
  return fraction == 0.0f ? a : a + (b - a) * fraction;
}

RC_HD inline float normalise(float value, float multiply, float add) { return value * multiply + add; }

// out [kChannels]: the image between four pixels.
template <class Pixels>
RC_HD inline void sample_between(const ImageParams& p, const ImageView& image, Tap column, Tap row, float* out) {
  typename Pixels::Value a[Pixels::kChannels], b[Pixels::kChannels];
  float upper[Pixels::kChannels];
  Pixels::at(p, image, column.i0, row.i0, a);
  Pixels::at(p, image, column.i1, row.i0, b);
  for (int c = 0; c < Pixels::kChannels; ++c) upper[c] = lerp_pixels(a[c], b[c], column.fraction);
  Pixels::at(p, image, column.i0, row.i1, a);
  Pixels::at(p, image, column.i1, row.i1, b);
  for (int c = 0; c < Pixels::kChannels; ++c)
    out[c] = lerp_pixels(upper[c], lerp_pixels(a[c], b[c], column.fraction), row.fraction);
}

// --- area: the mean over the output pixel's box, a partly covered pixel counting by its part

// Pixels [begin, end) along an axis; the first and the last weigh less where the box cuts them.
struct Span {
  int32_t begin, end;
  float first, inner, last;

  RC_HD inline float weight(int32_t i) const { return i == begin ? first : i == end - 1 ? last : inner; }
};

// Of pixel `i` of the region, `count` long there. In whole parts of 1 / count pixel, so nothing is rounded but weights.
RC_HD inline Span area_span(int32_t i, int32_t count, int32_t size, double inverse_size) {
  const int64_t left = int64_t{i} * size, right = left + size;
  const int32_t begin = static_cast<int32_t>(left / count), end = static_cast<int32_t>((right + count - 1) / count);
  const int64_t first_end = int64_t{begin + 1} * count, last_begin = int64_t{end - 1} * count;
  const int64_t first = (first_end < right ? first_end : right) - left;
  const int64_t last = right - (last_begin > left ? last_begin : left);
  return {begin, end, static_cast<float>(first * inverse_size), static_cast<float>(count * inverse_size),
          static_cast<float>(last * inverse_size)};
}

// out [kChannels]. Rows go first, then columns, each from the lowest index.
template <class Pixels>
RC_HD inline void sample_area(const ImageParams& p, const ImageView& image, Span columns, Span rows, float* out) {
  for (int32_t x = columns.begin; x < columns.end; ++x) {
    float sums[Pixels::kChannels] = {};
    for (int32_t y = rows.begin; y < rows.end; ++y) {
      typename Pixels::Value pixel[Pixels::kChannels];
      Pixels::at(p, image, x, y, pixel);
      for (int c = 0; c < Pixels::kChannels; ++c) {
        const float term = rows.weight(y) * static_cast<float>(pixel[c]);
        sums[c] = y == rows.begin ? term : sums[c] + term;
      }
    }
    for (int c = 0; c < Pixels::kChannels; ++c) {
      const float term = columns.weight(x) * sums[c];
      out[c] = x == columns.begin ? term : out[c] + term;
    }
  }
}

// --- a whole output pixel

// out [kChannels]: finished values of output pixel (x, y). rectify: [out_height, out_width, 2] of source x, y in px,
// pixel centres at whole numbers; null: there is none.
template <class Pixels>
RC_HD inline void sample(const ImageParams& p, const ImageView& image, const float* rectify, int32_t x, int32_t y,
                         float* out) {
  using Value = typename Pixels::Value;
  const int32_t i = x - p.region_x, j = y - p.region_y;
  bool inside = i >= 0 && i < p.region_width && j >= 0 && j < p.region_height;
  if (rectify != nullptr) {
    const float* at = rectify + (int64_t{y} * p.out_width + x) * 2;
    inside = on_image(at[0], p.width) && on_image(at[1], p.height);
    if (inside && p.resize == Resize::kNearest)
      sample_between<Pixels>(p, image, nearest_tap_at(at[0], p.width), nearest_tap_at(at[1], p.height), out);
    else if (inside)
      sample_between<Pixels>(p, image, tap_at<Value>(at[0], p.width), tap_at<Value>(at[1], p.height), out);
  } else if (inside && p.resize == Resize::kNearest) {
    sample_between<Pixels>(p, image, nearest_tap(i, p.scale_x, p.width), nearest_tap(j, p.scale_y, p.height), out);
  } else if (inside && p.resize == Resize::kBilinear) {
    sample_between<Pixels>(p, image, bilinear_tap<Value>(i, p.scale_x, p.width),
                           bilinear_tap<Value>(j, p.scale_y, p.height), out);
  } else if (inside) {
    sample_area<Pixels>(p, image, area_span(i, p.region_width, p.width, p.inverse_x),
                        area_span(j, p.region_height, p.height, p.inverse_y), out);
  }
  for (int c = 0; c < Pixels::kChannels; ++c) out[c] = inside ? normalise(out[c], p.multiply[c], p.add[c]) : p.pad[c];
}

// Calls visit(Pixels{}) with the class that reads the params' encoding. Colour has 8 bits a value in every packed one.
template <class Visit>
inline void with_pixels(const ImageParams& p, Visit&& visit) {
  const bool is_8_bit = p.type == PixelType::kUInt8;
  switch (p.layout) {
    case ImageLayout::kYuv422:
      return visit(Yuv422Pixels{});
    case ImageLayout::kSemiPlanar:
      return visit(SemiPlanarPixels{});
    case ImageLayout::kJpeg:
      return visit(JpegPixels{});
    case ImageLayout::kBayer:
      if (is_8_bit) return visit(BayerPixels<uint8_t, false>{});
      if (p.swap) return visit(BayerPixels<uint16_t, true>{});
      return visit(BayerPixels<uint16_t, false>{});
    case ImageLayout::kPacked:
      break;
  }
  if (is_8_bit) {
    if (p.source_channels == 1) return visit(PackedPixels<uint8_t, false, 1>{});
    if (p.source_channels == 3) return visit(PackedPixels<uint8_t, false, 3>{});
    return visit(PackedPixels<uint8_t, false, 4>{});
  }
  if (p.type == PixelType::kUInt16) {
    if (p.swap) return visit(PackedPixels<uint16_t, true, 1>{});
    return visit(PackedPixels<uint16_t, false, 1>{});
  }
  if (p.swap) return visit(PackedPixels<float, true, 1>{});
  return visit(PackedPixels<float, false, 1>{});
}

// The loops of the CPU (image_cpu.cpp) and of a GPU (image_cuda.cu), to which every address is the device's. rectify as
// `sample` takes it; out [channels, out_height, out_width] of out_type.
void prepare_image_cpu(const ImageParams& params, const ImageView& image, const float* rectify, void* out);
void prepare_image_cuda(const GpuStream& gpu, const ImageParams& params, const ImageView& image, const float* rectify,
                        void* out);

}  // namespace robocache
