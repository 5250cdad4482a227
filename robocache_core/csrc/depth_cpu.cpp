// SPDX-License-Identifier: Apache-2.0
// Depth images on the CPU: rows of the result by threads. Where an image is resized alone, the columns that are read
// are the same in every row, and found once.
#include <algorithm>
#include <cstdint>

#include "buffer.hpp"
#include "depth.hpp"
#include "pool.hpp"
#include "simd.hpp"

namespace robocache {
namespace {

Buffer<int32_t>& column_scratch() {
  static thread_local Buffer<int32_t> instance;
  return instance;
}

constexpr int32_t kAtOnce = 512;  // values

template <class T>
struct Distances {
  RC_INLINE static void run(const T* values, int32_t size, const DepthScale* given, float* depth) {
    const DepthScale scale = *given;
    for (int32_t i = 0; i < size; ++i) depth[i] = distance_of(values[i], scale);
  }
};

struct Validity {
  RC_INLINE static void run(const float* depth, int32_t size, bool* valid) {
    for (int32_t i = 0; i < size; ++i) valid[i] = depth[i] > 0.0f;
  }
};

// The pixels of a row of the image that are in `columns [size]`: first their values, then all that SIMD can do.
template <class Pixels>
void write_columns(const DepthScale& scale, const uint8_t* row, const int32_t* columns, int32_t size, float* depth) {
  using Value = typename Pixels::Value;
  Value values[kAtOnce];
  for (int32_t first = 0; first < size; first += kAtOnce) {
    const int32_t part = std::min(kAtOnce, size - first);
    for (int32_t i = 0; i < part; ++i) values[i] = Pixels::value(row, columns[first + i]);
    const Value* const read = values;
    const DepthScale* const given = &scale;
    float* const out = depth + first;
    run_at<Distances<Value>>(simd_level(), read, part, given, out);
  }
}

template <class Pixels>
void write_row(const DepthParams& p, const ImageView& image, const float* rectify, const int32_t* columns, int32_t y,
               float* depth) {
  const int32_t j = y - p.region_y;
  if (rectify == nullptr && !p.minimum && j >= 0 && j < p.region_height) {
    const uint8_t* const row = image.data + nearest_tap(j, p.scale_y, p.height).i0 * image.step;
    std::fill_n(depth, p.region_x, 0.0f);
    write_columns<Pixels>(p.scale, row, columns, p.region_width, depth + p.region_x);
    const int32_t end = p.region_x + p.region_width;
    std::fill_n(depth + end, p.out_width - end, 0.0f);
    return;
  }
  for (int32_t x = 0; x < p.out_width; ++x) depth[x] = depth_at<Pixels>(p, image, rectify, x, y);
}

}  // namespace

void prepare_depth_cpu(const DepthParams& p, const ImageView& image, const float* rectify, float* depth, bool* valid) {
  int32_t* const columns = column_scratch().reserve(p.region_width);
  for (int32_t i = 0; i < p.region_width; ++i) columns[i] = nearest_tap(i, p.scale_x, p.width).i0;
  const int64_t grain = std::max<int64_t>(1, 65536 / (int64_t{p.out_width} + p.width));
  with_depth_pixels(p, [&](auto pixels) {
    parallel_for(p.out_height, grain, [&](int64_t begin, int64_t end, int) {
      for (int64_t y = begin; y < end; ++y) {
        float* const row = depth + y * p.out_width;
        write_row<decltype(pixels)>(p, image, rectify, columns, static_cast<int32_t>(y), row);
        const float* const written = row;
        bool* const row_valid = valid + y * p.out_width;
        run_at<Validity>(simd_level(), written, p.out_width, row_valid);
      }
    });
  });
}

}  // namespace robocache
