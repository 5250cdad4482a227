// SPDX-License-Identifier: Apache-2.0
// Depth images: the distance of a source pixel, and which pixel an output pixel takes it from. A distance is that of
// one pixel, never a blend: between two surfaces there is none. A pixel without one is 0.
#pragma once

#include <cstdint>

#include "distance.hpp"
#include "gpu.hpp"
#include "image.hpp"
#include "scalar.hpp"

namespace robocache {

// Constants of a preparation; members as of ImageParams.
struct DepthParams {
  int32_t width, height;
  PixelType type;  // kUInt16 or kFloat32
  bool swap;
  int32_t out_width, out_height;
  int32_t region_x, region_y, region_width, region_height;
  bool minimum;             // the nearest of the distances that an output pixel covers; else that of the nearest pixel
  double scale_x, scale_y;  // source pixels an output pixel
  DepthScale scale;
};

// m; 0 where there is no distance that is allowed. No comparison with NaN holds.
template <class T>
RC_HD RC_INLINE float distance_of(T value, const DepthScale& scale) {
  const float metres = metres_of(static_cast<double>(value), scale);
  return (metres > 0.0f) & is_allowed(metres, scale) ? metres : 0.0f;
}

template <class T, bool kSwap>
struct DepthPixels {
  using Value = T;
  RC_HD static inline Value value(const uint8_t* row, int32_t x) {
    return load_value<T, kSwap>(row + int64_t{x} * int{sizeof(T)});
  }
  RC_HD static inline float at(const DepthParams& p, const ImageView& image, int32_t x, int32_t y) {
    return distance_of(value(image.data + y * image.step, x), p.scale);
  }
};

// Pixels [begin, end) along an axis.
struct Cover {
  int32_t begin, end;
};

// What pixel `i` of the region, `count` long there, covers of `size` pixels, if only in part.
RC_HD inline Cover covered(int32_t i, int32_t count, int32_t size) {
  const int64_t left = int64_t{i} * size;
  return {static_cast<int32_t>(left / count), static_cast<int32_t>((left + size + count - 1) / count)};
}

// The least distance of the pixels; 0 where none has one.
template <class Pixels>
RC_HD inline float nearest_of(const DepthParams& p, const ImageView& image, Cover columns, Cover rows) {
  float least = 0.0f;
  for (int32_t y = rows.begin; y < rows.end; ++y)
    for (int32_t x = columns.begin; x < columns.end; ++x) {
      const float metres = Pixels::at(p, image, x, y);
      least = (metres > 0.0f) & ((least == 0.0f) | (metres < least)) ? metres : least;
    }
  return least;
}

// Of output pixel (x, y). rectify as `sample` of images takes it; it is never with `minimum`.
template <class Pixels>
RC_HD inline float depth_at(const DepthParams& p, const ImageView& image, const float* rectify, int32_t x, int32_t y) {
  if (rectify != nullptr) {
    const float* const at = rectify + (int64_t{y} * p.out_width + x) * 2;
    if (!(on_image(at[0], p.width) & on_image(at[1], p.height))) return 0.0f;
    return Pixels::at(p, image, nearest_tap_at(at[0], p.width).i0, nearest_tap_at(at[1], p.height).i0);
  }
  const int32_t i = x - p.region_x, j = y - p.region_y;
  if ((i < 0) | (i >= p.region_width) | (j < 0) | (j >= p.region_height)) return 0.0f;
  if (p.minimum)
    return nearest_of<Pixels>(p, image, covered(i, p.region_width, p.width), covered(j, p.region_height, p.height));
  return Pixels::at(p, image, nearest_tap(i, p.scale_x, p.width).i0, nearest_tap(j, p.scale_y, p.height).i0);
}

// Calls visit(Pixels{}) with the class that reads the params' encoding.
template <class Visit>
inline void with_depth_pixels(const DepthParams& p, Visit&& visit) {
  if (p.type == PixelType::kUInt16) {
    if (p.swap) return visit(DepthPixels<uint16_t, true>{});
    return visit(DepthPixels<uint16_t, false>{});
  }
  if (p.swap) return visit(DepthPixels<float, true>{});
  return visit(DepthPixels<float, false>{});
}

// Writes depth [out_height, out_width], m, 0 where valid [out_height, out_width] is false. Of a GPU every address is
// the device's.
void prepare_depth_cpu(const DepthParams& params, const ImageView& image, const float* rectify, float* depth,
                       bool* valid);
void prepare_depth_cuda(const GpuStream& gpu, const DepthParams& params, const ImageView& image, const float* rectify,
                        float* depth, bool* valid);

}  // namespace robocache
