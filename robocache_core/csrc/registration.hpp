// SPDX-License-Identifier: Apache-2.0
// Depth images in the image of another camera. A pixel is a patch: a square at its distance, spanned by the rays of its
// corners. The patch is projected, and of all patches that cover a pixel of the result the least distance counts.
#pragma once

#include <cstdint>
#include <type_traits>

#include "depth.hpp"
#include "gpu.hpp"
#include "lens.hpp"
#include "scalar.hpp"

namespace robocache {

struct RegistrationParams {
  DepthParams image;  // `region`: the part of the result that the camera's image fills
  Lens lens;
  float focal_x, skew, centre_x, focal_y, centre_y;  // px of the result
  float coefficients[kLensCoefficients];
  float most_r2;                   // rays with a greater (x^2 + y^2) / z^2 are beyond what the lens shows
  float most_half_x, most_half_y;  // half the greatest patch, px of the result
};

// The pose of the depth camera's optical frame in that of the camera, by rows.
struct RegistrationPose {
  float rows[12];
};

// Rays of the corners of a depth image's pixels, at 1 m: planes of x, y and z [height + 1, width + 1].
struct CornerRays {
  const float* x;
  int64_t row, plane;  // floats from a row, and a plane, to the next

  // Of the upper left corner of a pixel; the right ones are a float further, the lower ones a row.
  RC_HD inline const float* at(int32_t column, int32_t line) const { return x + line * row + column; }
};

// A pixel of the result that no patch covers yet, as every byte of it is the same; no distance is as great.
constexpr uint32_t kNoPatch = 0x7f7f7f7fu;

// Pixels that a patch covers, the last ones among them, and its distance, m; 0: none.
struct Patch {
  int32_t left, right, top, bottom;
  float metres;
};

// A corner in the result: u, v, px, and its distance, m; 0: it is not seen.
struct Corner {
  float u, v, z;
};

// Of a point at `metres` on a ray, whose x, y and z are `plane` floats apart.
template <Lens kLens>
RC_HD RC_INLINE Corner project(const RegistrationParams& p, const RegistrationPose& pose, const float* ray,
                               int64_t plane, float metres) {
  const float* const m = pose.rows;
  const float a = ray[0], b = ray[plane], c = ray[2 * plane];
  const float z = metres * ((m[8] * a + m[9] * b) + m[10] * c) + m[11];
  const float inverse = 1.0f / z;
  float x = (metres * ((m[0] * a + m[1] * b) + m[2] * c) + m[3]) * inverse;
  float y = (metres * ((m[4] * a + m[5] * b) + m[6] * c) + m[7]) * inverse;
  const float seen = x * x + y * y <= p.most_r2 ? z : 0.0f;  // no comparison with NaN holds
  bend<kLens>(p.coefficients, &x, &y);
  return {(p.focal_x * x + p.skew * y) + p.centre_x, p.focal_y * y + p.centre_y, seen};
}

RC_HD RC_INLINE float least(float a, float b) { return a < b ? a : b; }
RC_HD RC_INLINE float greatest(float a, float b) { return a > b ? a : b; }

// The pixels of [begin, end) that a patch covers along an axis, whose corners are at a, b, c, d: those that it reaches
// into by more than a quarter of a pixel, or where it is smaller than half a pixel, the one that its middle is in.
struct Reach {
  int32_t first, last;
  float inside;  // 1, or 0 where it covers none: a bool would keep loops from becoming SIMD
};

RC_HD RC_INLINE Reach reach_of(float a, float b, float c, float d, int32_t begin, int32_t end, float most_half) {
  const float low = least(least(a, b), least(c, d)), high = greatest(greatest(a, b), greatest(c, d));
  const float middle = (low + high) * 0.5f + 0.5f;  // here pixel i is from i to i + 1
  const float half = least(greatest((high - low) * 0.5f - 0.25f, 0.0f), most_half);
  const float from = middle - half, to = middle + half;
  const float first = static_cast<float>(begin), behind = static_cast<float>(end), last = behind - 0.5f;
  return {static_cast<int32_t>(least(greatest(from, first), last)),
          static_cast<int32_t>(least(greatest(to, first), last)), (to >= first) & (from < behind) ? 1.0f : 0.0f};
}

// Of a pixel at `metres`, 0: it has no distance; `above`: the ray of its upper left corner, `below`: of the lower one.
template <Lens kLens>
RC_HD RC_INLINE Patch patch_of(const RegistrationParams& p, const RegistrationPose& pose, const float* above,
                               const float* below, int64_t plane, float metres) {
  const DepthParams& image = p.image;
  const Corner a = project<kLens>(p, pose, above, plane, metres), b = project<kLens>(p, pose, above + 1, plane, metres);
  const Corner c = project<kLens>(p, pose, below, plane, metres), d = project<kLens>(p, pose, below + 1, plane, metres);
  const Reach columns =
      reach_of(a.u, b.u, c.u, d.u, image.region_x, image.region_x + image.region_width, p.most_half_x);
  const Reach rows = reach_of(a.v, b.v, c.v, d.v, image.region_y, image.region_y + image.region_height, p.most_half_y);
  const float z = ((a.z + b.z) + (c.z + d.z)) * 0.25f;
  const float inside = least(metres, least(columns.inside, rows.inside));
  const bool is_there = least(least(least(a.z, b.z), least(c.z, d.z)), inside) > 0.0f;
  return {columns.first, columns.last, rows.first, rows.last, is_there & (z < float_of(kNoPatch)) ? z : 0.0f};
}

// Calls visit(Pixels{}, constant of the Lens) with what the params are for.
template <class Visit>
inline void with_registration(const RegistrationParams& p, Visit&& visit) {
  with_depth_pixels(p.image, [&](auto pixels) {
    switch (p.lens) {
      case Lens::kStraight:
        return visit(pixels, std::integral_constant<Lens, Lens::kStraight>{});
      case Lens::kPolynomial:
        return visit(pixels, std::integral_constant<Lens, Lens::kPolynomial>{});
      case Lens::kEquidistant:
        return visit(pixels, std::integral_constant<Lens, Lens::kEquidistant>{});
    }
  });
}

// Writes depth [out_height, out_width], m, 0 where valid [out_height, out_width] is false. Of a GPU every address is
// the device's.
void register_depth_cpu(const RegistrationParams& params, const RegistrationPose& pose, const ImageView& image,
                        const CornerRays& rays, float* depth, bool* valid);
void register_depth_cuda(const GpuStream& gpu, const RegistrationParams& params, const RegistrationPose& pose,
                         const ImageView& image, const CornerRays& rays, float* depth, bool* valid);

}  // namespace robocache
