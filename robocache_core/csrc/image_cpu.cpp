// SPDX-License-Identifier: Apache-2.0
// Images on the CPU: row by row of the output. A source row is unpacked to values side by side where its encoding is
// not already that, two rows (or, for the area, all of a box) become one, and a finished row is stored by channel.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "image.hpp"
#include "image_jpeg.hpp"
#include "image_rows.hpp"
#include "image_x86.hpp"
#include "pool.hpp"
#include "simd.hpp"

namespace robocache {
namespace {

// Bytes after an unpacked row that may be read.
constexpr int kSlack = 64;

// Of the unpacked rows that `rectify` reads at once, if it does not need two at the least.
constexpr int64_t kBandBytes = 2 << 20;

// What all rows of a call share; kept from call to call, so that after the first images nothing is allocated.
struct Tables {
  std::vector<Tap> columns;      // [region_width], indices in values of a row
  std::vector<Span> spans;       // [region_width]
  std::vector<int32_t> offsets;  // [region_width], bytes from a row's first to the left pixel
  std::vector<int32_t> weights;  // [region_width], pairs of int16
#if RC_X86
  std::vector<ColumnBlock> blocks;  // [region_width / 16, rounded up]
#endif
};

// Of each thread.
struct Scratch {
  std::vector<uint8_t> unpacked[2];                    // a source row of even, of odd number
  int32_t unpacked_row[2];                             // its number, -1: none
  std::vector<uint8_t> band;                           // rows that `rectify` reads, unpacked
  std::vector<int32_t> band_rows;                      // their numbers, -1: none
  std::vector<float> sums;                             // [width * values], rows of a box added up
  std::vector<float> rows;                             // [channels, out_width], finished
  std::vector<int32_t> offsets_a, offsets_b, weights;  // [out_width], of a row of `rectify`
  std::vector<float> fractions;
};

Tables& tables() {
  static thread_local Tables instance;
  return instance;
}

// One for each thread of a call, kept by the calling thread.
std::vector<Scratch>& scratches() {
  static thread_local std::vector<Scratch> instances;
  return instances;
}

// --- loops, compiled for every level of SIMD

// How an unpacked row holds a pixel: Value[kStride], the colours at `order`.
template <class Pixels>
struct Unpacked {
  static constexpr int kStride = Pixels::kChannels == 1 ? 1 : 4;
};
template <class T, bool kSwap, int kSourceChannels>
struct Unpacked<PackedPixels<T, kSwap, kSourceChannels>> {
  static constexpr int kStride = kSourceChannels;
};

// out [width * kStride]: row y of the image.
template <class T, bool kSwap, int kSourceChannels>
inline void unpack_row(PackedPixels<T, kSwap, kSourceChannels>, const ImageParams& p, const ImageView& image, int32_t y,
                       T* __restrict out) {
  const uint8_t* row = image.data + y * image.step;
  const int64_t size = int64_t{p.width} * kSourceChannels;
  for (int64_t i = 0; i < size; ++i) out[i] = load_value<T, kSwap>(row + i * sizeof(T));
}

template <class T, bool kSwap>
inline void unpack_row(BayerPixels<T, kSwap>, const ImageParams& p, const ImageView& image, int32_t y,
                       T* __restrict out) {
  using Sum = std::conditional_t<sizeof(T) == 1, uint16_t, uint32_t>;  // narrow, so that a register holds many
  y = clamp_int(y, 1, p.height - 2);
  const uint8_t* __restrict here = image.data + y * image.step;
  const uint8_t *above = here - image.step, *below = here + image.step;
  const auto value = [](const uint8_t* row, int64_t x) -> Sum {
    return load_value<T, kSwap>(row + x * int{sizeof(T)});
  };
  // A row holds green and one other colour, its own; the means are those of BayerMeans.
  const bool red_row = (y & 1) == p.order[0] >> 1;
  const int own_column = red_row ? p.order[0] & 1 : ~p.order[0] & 1;
  constexpr int kTile = 256;
  T own[kTile], green[kTile], other[kTile];
  for (int32_t begin = 1; begin < p.width - 1; begin += kTile) {
    const int32_t size = std::min(kTile, p.width - 1 - begin);
    const int32_t parity = (begin ^ own_column) & 1;
    const int64_t offset = begin * int64_t{sizeof(T)};
    const uint8_t *a = above + offset, *h = here + offset, *b = below + offset;
    for (int32_t i = 0; i < size; ++i) {
      const Sum beside = value(h, i - 1) + value(h, i + 1), ends = value(a, i) + value(b, i);
      const Sum corners = value(a, i - 1) + value(a, i + 1) + value(b, i - 1) + value(b, i + 1);
      const Sum centre = value(h, i), cross = static_cast<Sum>(beside + ends + 2) >> 2;
      const Sum diagonal = static_cast<Sum>(corners + 2) >> 2;
      const Sum horizontal = static_cast<Sum>(beside + 1) >> 1, vertical = static_cast<Sum>(ends + 1) >> 1;
      const bool is_own = (i & 1) == parity;
      own[i] = static_cast<T>(is_own ? centre : horizontal);
      green[i] = static_cast<T>(is_own ? cross : centre);
      other[i] = static_cast<T>(is_own ? diagonal : vertical);
    }
    const T *red = red_row ? own : other, *blue = red_row ? other : own;
    T* __restrict to = out + 4 * int64_t{begin};
    for (int32_t i = 0; i < size; ++i) put_rgb(to + 4 * i, red[i], green[i], blue[i]);
  }
  std::copy_n(out + 4, 4, out);
  std::copy_n(out + 4 * int64_t{p.width - 2}, 4, out + 4 * int64_t{p.width - 1});
}

// Byte `i` in memory of a word, whose loads and shifts compilers make vectors of, as they do not of single bytes.
template <class Word>
inline int32_t byte_of(Word word, int32_t i) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  i = int{sizeof(Word)} - 1 - i;
#endif
  return static_cast<int32_t>(word >> 8 * i & 0xff);
}

// Two pixels that share their chroma.
inline void put_yuv_pair(int32_t left, int32_t right, int32_t u, int32_t v, uint8_t* out) {
  uint8_t a[3], b[3];
  rgb_of_yuv(left, u, v, a);
  rgb_of_yuv(right, u, v, b);
  put_rgb(out, a[0], a[1], a[2]);
  put_rgb(out + 4, b[0], b[1], b[2]);
}

inline void unpack_row(Yuv422Pixels, const ImageParams& p, const ImageView& image, int32_t y, uint8_t* __restrict out) {
  const uint8_t* __restrict row = image.data + y * image.step;
  const int32_t luma = p.order[0], u = p.order[1], v = p.order[2], pairs = p.width / 2;
  for (int32_t i = 0; i < pairs; ++i) {
    const uint32_t word = load_bytes<uint32_t>(row + 4 * i);
    put_yuv_pair(byte_of(word, luma), byte_of(word, luma + 2), byte_of(word, u), byte_of(word, v), out + 8 * i);
  }
}

inline void unpack_row(SemiPlanarPixels, const ImageParams& p, const ImageView& image, int32_t y,
                       uint8_t* __restrict out) {
  const uint8_t* __restrict luma = image.data + y * image.step;
  const uint8_t* __restrict chroma = image.data + (int64_t{p.height} + y / 2) * image.step;
  const int32_t u = p.order[1], v = p.order[2], pairs = p.width / 2;
  for (int32_t i = 0; i < pairs; ++i) {
    const uint16_t word = load_bytes<uint16_t>(luma + 2 * i), pair = load_bytes<uint16_t>(chroma + 2 * i);
    put_yuv_pair(byte_of(word, 0), byte_of(word, 1), byte_of(pair, u), byte_of(pair, v), out + 8 * i);
  }
}

template <class Pixels>
struct UnpackLoop {
  static inline void run(const ImageParams& p, const ImageView& image, int32_t y, typename Pixels::Value* out) {
    unpack_row(Pixels{}, p, image, y, out);
  }
};

// out [channels, stride]: finished values of the columns between rows a and b.
struct BlendLoop {
  template <class Value>
  static inline void run(const ImageParams& p, const int32_t* order, const Tap* __restrict columns,
                         const Value* __restrict a, const Value* __restrict b, float fraction, float* __restrict out,
                         int64_t stride) {
    for (int32_t c = 0; c < p.channels; ++c) {
      const Value *from_a = a + order[c], *from_b = b + order[c];
      for (int32_t x = 0; x < p.region_width; ++x) {
        const Tap t = columns[x];
        const float upper = lerp_pixels(from_a[t.i0], from_a[t.i1], t.fraction);
        const float lower = lerp_pixels(from_b[t.i0], from_b[t.i1], t.fraction);
        out[c * stride + x] = normalise(lerp_pixels(upper, lower, fraction), p.multiply[c], p.add[c]);
      }
    }
  }
};

// sums [size]: what is there (nothing, if `first`) and `row` by its weight.
struct AddLoop {
  template <class Value>
  static inline void run(const Value* __restrict row, float weight, bool first, int64_t size, float* __restrict sums) {
    if (first) {
      for (int64_t i = 0; i < size; ++i) sums[i] = weight * static_cast<float>(row[i]);
      return;
    }
    for (int64_t i = 0; i < size; ++i) sums[i] = sums[i] + weight * static_cast<float>(row[i]);
  }
};

// out [channels, stride]: finished values of the columns' boxes over `sums`, kStride values a pixel.
template <int kStride>
struct BoxLoop {
  static inline void run(const ImageParams& p, const int32_t* order, const Span* __restrict spans,
                         const float* __restrict sums, float* __restrict out, int64_t stride) {
    constexpr int kChannels = kStride == 1 ? 1 : 3;
    for (int32_t x = 0; x < p.region_width; ++x) {
      const Span span = spans[x];
      float total[kChannels];
      const float* from = sums + int64_t{span.begin} * kStride;
      for (int c = 0; c < kChannels; ++c) total[c] = span.first * from[order[c]];
      for (int32_t i = span.begin + 1; i < span.end; ++i) {
        from += kStride;
        const float weight = i == span.end - 1 ? span.last : span.inner;
        for (int c = 0; c < kChannels; ++c) total[c] = total[c] + weight * from[order[c]];
      }
      for (int c = 0; c < kChannels; ++c) out[c * stride + x] = normalise(total[c], p.multiply[c], p.add[c]);
    }
  }
};

// Of each column of a row of `rectify`: bytes from the image's first to the left pixel of both rows, weights of left
// and right (pairs of int16), fraction between the rows. A column that eight bytes cannot be read for has offsets 0,
// and as its fraction what is the matter with it.
constexpr float kOutside = -1.0f, kUnreadable = -2.0f;
struct RectifyRow {
  int32_t *offsets_a, *offsets_b, *weights;
  float* fractions;
};

// Rows that `rectify` reads from, kept where their number's lower bits say.
struct RectifySource {
  const uint8_t* data;
  int32_t step;         // bytes from a row to the next
  int32_t row_mask;     // of a row's number
  int32_t last_offset;  // the last that eight bytes can be read from
};

// kPixel: bytes of a pixel. rows [2]: the first and the last row that the columns on the image read.
template <int kPixel>
struct RectifyLoop {
  static inline void run(const ImageParams& params, RectifySource source, const float* __restrict rectify,
                         RectifyRow to, int32_t* __restrict rows) {
    const int32_t width = params.width, height = params.height, size = params.out_width;
    int32_t* __restrict offsets_a = to.offsets_a;
    int32_t* __restrict offsets_b = to.offsets_b;
    int32_t* __restrict weights = to.weights;
    float* __restrict fractions = to.fractions;
    int32_t first = height, last = -1;
    for (int32_t i = 0; i < size; ++i) {
      const float x = rectify[2 * i], y = rectify[2 * i + 1];
      const bool inside = on_image(x, width) & on_image(y, height);
      const Tap column = tap_at<uint8_t>(inside ? x : 0.0f, width), row = tap_at<uint8_t>(inside ? y : 0.0f, height);
      const int32_t offset_a = (row.i0 & source.row_mask) * source.step + column.i0 * kPixel;
      const int32_t offset_b = (row.i1 & source.row_mask) * source.step + column.i0 * kPixel;
      const bool readable = (offset_a <= source.last_offset) & (offset_b <= source.last_offset);
      const int32_t top = inside ? row.i0 : height, bottom = inside ? row.i1 : -1;
      first = top < first ? top : first;
      last = bottom > last ? bottom : last;
      const int32_t right = static_cast<int32_t>(column.fraction * kFractionSteps);
      offsets_a[i] = readable ? offset_a : 0;
      offsets_b[i] = readable ? offset_b : 0;
      weights[i] = (right << 16) | (kFractionSteps - right);
      fractions[i] = !inside ? kOutside : readable ? row.fraction : kUnreadable;
    }
    rows[0] = first;
    rows[1] = last;
  }
};

template <class Out>
struct StoreLoop {
  static inline void run(const float* __restrict values, int64_t size, Out* __restrict out) {
    for (int64_t i = 0; i < size; ++i) out[i] = from_float<Out>(values[i]);
  }
};

template <class Out>
void store_row(Simd level, const float* values, int64_t size, Out* out) {
#if RC_X86
  if constexpr (std::is_same_v<Out, Half>) {
    if (level >= Simd::kAvx2) return store_row_avx2(values, size, out);
  }
#endif
  run_at<StoreLoop<Out>>(level, values, size, out);
}

// --- a call

template <class Pixels, class Out>
class Preparation {
  using Value = typename Pixels::Value;
  static constexpr int kStride = Unpacked<Pixels>::kStride;
  static constexpr int kChannels = Pixels::kChannels;
  // Rows of the image are as unpacked ones.
  static constexpr bool kInPlace = std::is_same_v<Pixels, PackedPixels<uint8_t, false, kStride>>;

 public:
  Preparation(const ImageParams& params, const ImageView& image, const float* rectify, Out* out)
      : p_(params), image_(image), rectify_(rectify), out_(out), level_(simd_level()), tables_(tables()) {
    for (int c = 0; c < kChannels; ++c) order_[c] = kInPlace || kStride == 1 ? p_.order[c] : c;
    if (p_.resize == Resize::kArea) {
      tables_.spans.resize(p_.region_width);
      for (int32_t x = 0; x < p_.region_width; ++x)
        tables_.spans[x] = area_span(x, p_.region_width, p_.width, p_.inverse_x);
    } else if (rectify_ == nullptr) {
      make_columns();
    }
#if RC_X86
    row_.channels = kChannels;
    is_scalable_ = level_ >= Simd::kAvx2;
    for (int c = 0; c < kChannels; ++c) {
      row_.order[c] = order_[c];
      row_.multiply[c] = p_.multiply[c] * (1.0f / kFractionSteps);
      row_.add[c] = p_.add[c];
      // The factor 2^-14 must not make a subnormal of it.
      is_scalable_ &= p_.multiply[c] == 0 || p_.multiply[c] > 0x1p-100f || p_.multiply[c] < -0x1p-100f;
    }
    if constexpr (sizeof(Value) == 1) {
      if (is_scalable_ && rectify_ == nullptr && p_.resize != Resize::kArea) make_x86_tables();
    }
#endif
  }

  // Make room for all that `rows` writes to: there memory must not run out, as other threads could not be stopped.
  void reserve(Scratch& s) const {
    s.rows.resize(int64_t{kChannels} * p_.out_width);
    if (!kInPlace)
      for (auto& row : s.unpacked) row.resize(int64_t{p_.width} * kStride * sizeof(Value) + kSlack);
    if (p_.resize == Resize::kArea) s.sums.resize(int64_t{p_.width} * kStride);
#if RC_X86
    if constexpr (sizeof(Value) == 1) {
      if (rectify_ == nullptr) return;
      RectifySource source;
      rectify_source(s, &source);
      for (auto* numbers : {&s.offsets_a, &s.offsets_b, &s.weights}) numbers->resize(p_.out_width);
      s.fractions.resize(p_.out_width);
    }
#endif
  }

  // Rows [begin, end) of the output.
  void rows(int32_t begin, int32_t end, Scratch& s) const {
    s.unpacked_row[0] = s.unpacked_row[1] = -1;
    std::fill(s.band_rows.begin(), s.band_rows.end(), -1);
    for (int32_t y = begin; y < end; ++y) {
      const int32_t row = y - p_.region_y;
      if (rectify_ != nullptr)
        rectified_row(s, y);
      else if (row < 0 || row >= p_.region_height)
        fill(y, 0, p_.out_width);
      else {
        fill(y, 0, p_.region_x);
        fill(y, p_.region_x + p_.region_width, p_.out_width);
        if (p_.resize == Resize::kArea)
          area_row(s, row, y);
        else
          blend_row(s, row, y);
      }
    }
  }

 private:
  Out* at(int32_t c, int32_t y, int32_t x) const { return out_ + (int64_t{c} * p_.out_height + y) * p_.out_width + x; }

  // Padding in columns [begin, end).
  void fill(int32_t y, int32_t begin, int32_t end) const {
    for (int c = 0; c < kChannels; ++c) std::fill(at(c, y, begin), at(c, y, end), from_float<Out>(p_.pad[c]));
  }

  // Finished rows of the region as the output has them.
  void store(const Scratch& s, int32_t y, int32_t x, int32_t width) const {
    for (int c = 0; c < kChannels; ++c)
      store_row(level_, s.rows.data() + int64_t{c} * p_.out_width, width, at(c, y, x));
  }

  int64_t row_bytes() const { return int64_t{p_.width} * kStride * int{sizeof(Value)}; }

  // Row y of the image, its values side by side.
  const Value* source_row(Scratch& s, int32_t y) const {
    if constexpr (kInPlace) {
      return image_.data + y * image_.step;
    } else {
      Value* row = reinterpret_cast<Value*>(s.unpacked[y & 1].data());
      if (s.unpacked_row[y & 1] != y)
        run_at<UnpackLoop<Pixels>, const ImageParams&, const ImageView&>(level_, p_, image_, y, row);
      s.unpacked_row[y & 1] = y;
      return row;
    }
  }

  void area_row(Scratch& s, int32_t row, int32_t y) const {
    const Span span = area_span(row, p_.region_height, p_.height, p_.inverse_y);
    const int64_t size = int64_t{p_.width} * kStride;
    for (int32_t i = span.begin; i < span.end; ++i)
      run_at<AddLoop>(level_, source_row(s, i), span.weight(i), i == span.begin, size, s.sums.data());
    run_at<BoxLoop<kStride>, const ImageParams&>(level_, p_, order_, tables_.spans.data(), s.sums.data(), s.rows.data(),
                                                 int64_t{p_.out_width});
    store(s, y, p_.region_x, p_.region_width);
  }

  void make_columns() {
    tables_.columns.resize(p_.region_width);
    for (int32_t x = 0; x < p_.region_width; ++x) {
      Tap& tap = tables_.columns[x];
      tap = p_.resize == Resize::kNearest ? nearest_tap(x, p_.scale_x, p_.width)
                                          : bilinear_tap<Value>(x, p_.scale_x, p_.width);
      tap.i0 *= kStride;
      tap.i1 *= kStride;
    }
  }

  void blend_row(Scratch& s, int32_t row, int32_t y) const {
    const Tap tap = p_.resize == Resize::kNearest ? nearest_tap(row, p_.scale_y, p_.height)
                                                  : bilinear_tap<Value>(row, p_.scale_y, p_.height);
    const Value *a = source_row(s, tap.i0), *b = source_row(s, tap.i1);
#if RC_X86
    if constexpr (sizeof(Value) == 1) {
      if (blend_row_x86(a, b, tap, y)) return;
    }
#endif
    run_at<BlendLoop, const ImageParams&>(level_, p_, order_, tables_.columns.data(), a, b, tap.fraction, s.rows.data(),
                                          int64_t{p_.out_width});
    store(s, y, p_.region_x, p_.region_width);
  }

  // Row y of an output that reads where `rectify` says.
  void rectified_row(Scratch& s, int32_t y) const {
#if RC_X86
    if constexpr (sizeof(Value) == 1 && kStride > 1) {
      if (rectified_row_x86(s, y)) return;
    }
#endif
    for (int32_t x = 0; x < p_.out_width; ++x) {
      float pixel[kChannels];
      sample<Pixels>(p_, image_, rectify_, x, y, pixel);
      for (int c = 0; c < kChannels; ++c) s.rows[int64_t{c} * p_.out_width + x] = pixel[c];
    }
    store(s, y, 0, p_.out_width);
  }

#if RC_X86
  static int32_t weights_of(float fraction) {
    const int32_t right = static_cast<int32_t>(fraction * kFractionSteps);
    return right << 16 | (kFractionSteps - right);
  }

  int64_t image_bytes() const { return image_.step * (p_.height - 1) + row_bytes(); }

  void make_x86_tables() {
    const int32_t width = p_.region_width, num_blocks = (width + kBlock - 1) / kBlock;
    widest_ = kMaxSpan + 1;
    if (level_ >= Simd::kAvx512) {
      tables_.blocks.resize(num_blocks);
      widest_ = 0;
      for (int32_t i = 0; i < num_blocks; ++i) widest_ = std::max(widest_, make_block(i, tables_.blocks[i]));
    }
    if (widest_ <= kMaxSpan) return;
    tables_.offsets.resize(width);
    tables_.weights.resize(width);
    for (int32_t x = 0; x < width; ++x) {
      tables_.offsets[x] = tables_.columns[x].i0;
      tables_.weights[x] = weights_of(tables_.columns[x].fraction);
    }
  }

  // Returns the bytes that it spans.
  int32_t make_block(int32_t i, ColumnBlock& block) const {
    const Tap* taps = tables_.columns.data() + i * kBlock;
    const int32_t size = std::min(kBlock, p_.region_width - i * kBlock);
    block = {};
    block.base = taps[0].i0;
    for (int32_t k = 0; k < size; ++k) {
      block.bytes[4 * k] = static_cast<uint8_t>(taps[k].i0 - block.base);
      block.bytes[4 * k + 2] = static_cast<uint8_t>(taps[k].i1 - block.base);
      const int32_t weights = weights_of(taps[k].fraction);
      std::memcpy(block.weights + 2 * k, &weights, sizeof weights);
    }
    return taps[size - 1].i1 - block.base + kStride;
  }

  bool blend_row_x86(const uint8_t* a, const uint8_t* b, Tap tap, int32_t y) const {
    if (!is_scalable_) return false;
    BilinearRow<Out> row = row_;
    for (int c = 0; c < kChannels; ++c) row.out[c] = at(c, y, p_.region_x);
    if (widest_ <= kMaxSpan) {
      const auto blend = widest_ <= kMaxSpan / 2 ? bilinear_row_avx512<Out, false> : bilinear_row_avx512<Out, true>;
      blend(row, tables_.blocks.data(), a, b, row_bytes(), tap.fraction, p_.region_width);
      return true;
    }
    if (kStride == 1 || p_.region_width < 8) return false;
    // Eight bytes from the last column on must be in the image, or in the slack of an unpacked row.
    if (kInPlace && tap.i1 * image_.step + tables_.offsets.back() + 8 > image_bytes()) return false;
    const EightColumns from{a, b, tables_.offsets.data(), nullptr, tables_.weights.data(), &tap.fraction, 0};
    bilinear_row_avx2<Out, false>(row, kStride, from, p_.region_width);
    return true;
  }

  // Where `rectify` reads: the image as it is, or the band of its rows that are unpacked.
  bool rectify_source(Scratch& s, RectifySource* source) const {
    if constexpr (kInPlace) {
      const int64_t last_offset = image_bytes() - 8;
      if (last_offset < 0 || last_offset > INT32_MAX || image_.step > INT32_MAX) return false;
      *source = {image_.data, static_cast<int32_t>(image_.step), -1, static_cast<int32_t>(last_offset)};
    } else {
      int64_t rows = 2;
      while (rows < p_.height && 2 * rows * row_bytes() <= kBandBytes) rows *= 2;
      if (rows * row_bytes() > INT32_MAX) return false;
      s.band.resize(rows * row_bytes() + kSlack);
      if (static_cast<int64_t>(s.band_rows.size()) != rows) s.band_rows.assign(rows, -1);
      *source = {s.band.data(), static_cast<int32_t>(row_bytes()), static_cast<int32_t>(rows) - 1,
                 static_cast<int32_t>(rows * row_bytes())};
    }
    return true;
  }

  // Whether rows [first, last] of the image are there to be read.
  bool unpack_band(Scratch& s, const RectifySource& source, int32_t first, int32_t last) const {
    if constexpr (!kInPlace) {
      if (last - first > source.row_mask) return false;
      for (int32_t y = first; y <= last; ++y) {
        const int32_t place = y & source.row_mask;
        if (s.band_rows[place] == y) continue;
        run_at<UnpackLoop<Pixels>, const ImageParams&, const ImageView&>(level_, p_, image_, y,
                                                                         s.band.data() + place * row_bytes());
        s.band_rows[place] = y;
      }
    }
    return true;
  }

  bool rectified_row_x86(Scratch& s, int32_t y) const {
    RectifySource source;
    if (!is_scalable_ || p_.resize != Resize::kBilinear || p_.out_width < 8 || !rectify_source(s, &source))
      return false;
    int32_t rows[2];
    run_at<RectifyLoop<kStride>, const ImageParams&>(
        level_, p_, source, rectify_ + int64_t{y} * p_.out_width * 2,
        RectifyRow{s.offsets_a.data(), s.offsets_b.data(), s.weights.data(), s.fractions.data()}, rows);
    if (!unpack_band(s, source, rows[0], rows[1])) return false;
    BilinearRow<Out> row = row_;
    for (int c = 0; c < kChannels; ++c) row.out[c] = at(c, y, 0);
    const EightColumns from{source.data,
                            source.data,
                            s.offsets_a.data(),
                            s.offsets_b.data(),
                            s.weights.data(),
                            s.fractions.data(),
                            int64_t{p_.height / p_.out_height + 1} * source.step};
    bilinear_row_avx2<Out, true>(row, kStride, from, p_.out_width);
    for (int32_t x = 0; x < p_.out_width; ++x) {
      if (s.fractions[x] >= 0) continue;
      if (s.fractions[x] == kOutside) {
        const int32_t begin = x;
        while (x + 1 < p_.out_width && s.fractions[x + 1] == kOutside) ++x;
        fill(y, begin, x + 1);
        continue;
      }
      float pixel[kChannels];
      sample<Pixels>(p_, image_, rectify_, x, y, pixel);
      for (int c = 0; c < kChannels; ++c) *at(c, y, x) = from_float<Out>(pixel[c]);
    }
    return true;
  }

  BilinearRow<Out> row_;
  bool is_scalable_;
  int32_t widest_ = 0;  // bytes that a block of columns spans; beyond kMaxSpan there are no blocks
#endif

  const ImageParams& p_;
  const ImageView& image_;
  const float* rectify_;
  Out* out_;
  Simd level_;
  Tables& tables_;
  int32_t order_[kMaxImageChannels];
};

}  // namespace

void prepare_image_cpu(const ImageParams& p, const ImageView& image, const float* rectify, void* out) {
  // Rows a chunk has at least: below this, waking a thread costs more than it saves.
  const int64_t grain = std::max<int64_t>(1, 65536 / (int64_t{p.out_width} + p.width));
  with_pixels(p, [&](auto pixels) {
    const auto prepare = [&](auto* typed_out) {
      const Preparation<decltype(pixels), std::remove_pointer_t<decltype(typed_out)>> call(p, image, rectify,
                                                                                           typed_out);
      const int threads = pool_threads();
      if (static_cast<int>(scratches().size()) < threads) scratches().resize(threads);
      Scratch* const scratch = scratches().data();  // this thread's: on another the name would mean its own
      for (int t = 0; t < threads; ++t) call.reserve(scratch[t]);
      parallel_for(
          p.out_height, grain,
          [&](int64_t begin, int64_t end, int thread) {
            call.rows(static_cast<int32_t>(begin), static_cast<int32_t>(end), scratch[thread]);
          },
          threads);
    };
    switch (p.out_type) {
      case ResultType::kFloat32:
        return prepare(static_cast<float*>(out));
      case ResultType::kFloat16:
        return prepare(static_cast<Half*>(out));
      case ResultType::kBFloat16:
        return prepare(static_cast<BFloat16*>(out));
      case ResultType::kUInt8:
        return prepare(static_cast<uint8_t*>(out));
    }
  });
}

}  // namespace robocache
