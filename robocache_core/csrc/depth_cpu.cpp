// SPDX-License-Identifier: Apache-2.0
// Depth images on the CPU: rows of the result by threads. Where an image is resized alone, the columns that are read
// are the same in every row, and found once.
#include <algorithm>
#include <cstdint>

#include "buffer.hpp"
#include "depth.hpp"
#include "pool.hpp"

namespace robocache {
namespace {

Buffer<int32_t>& column_scratch() {
  static thread_local Buffer<int32_t> instance;
  return instance;
}

template <class Pixels>
void write_row(const DepthParams& p, const ImageView& image, const float* rectify, const int32_t* columns, int32_t y,
               float* depth) {
  const int32_t j = y - p.region_y;
  if (rectify == nullptr && !p.minimum && j >= 0 && j < p.region_height) {
    const int32_t row = nearest_tap(j, p.scale_y, p.height).i0;
    std::fill_n(depth, p.out_width, 0.0f);
    float* const region = depth + p.region_x;
    for (int32_t i = 0; i < p.region_width; ++i) region[i] = Pixels::at(p, image, columns[i], row);
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
        for (int32_t x = 0; x < p.out_width; ++x) valid[y * p.out_width + x] = row[x] > 0.0f;
      }
    });
  });
}

}  // namespace robocache
