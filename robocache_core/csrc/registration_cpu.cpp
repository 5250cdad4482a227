// SPDX-License-Identifier: Apache-2.0
// Registration on the CPU: rows of the depth image by threads. The patches of a row first, which SIMD can do, then
// their pixels, where threads meet: the least distance is the least of its bits, whichever comes first.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "pool.hpp"
#include "registration.hpp"
#include "simd.hpp"

namespace robocache {
namespace {

constexpr int32_t kAtOnce = 256;  // pixels

struct Patches {
  int32_t left[kAtOnce], right[kAtOnce], top[kAtOnce], bottom[kAtOnce];
  float metres[kAtOnce];
};

// Of the `size` pixels from (x, y) on, whose bytes are in `row`.
template <class Pixels, Lens kLens>
struct RowPatches {
  RC_INLINE static void run(const RegistrationParams* params, const RegistrationPose* given, const uint8_t* row,
                            const CornerRays* corners, int32_t x, int32_t y, int32_t size, Patches* out) {
    const RegistrationParams p = *params;
    const RegistrationPose pose = *given;
    float metres[kAtOnce];
    for (int32_t i = 0; i < size; ++i) metres[i] = distance_of(Pixels::value(row, x + i), p.image.scale);
    const float *const above = corners->at(x, y), *const below = above + corners->row;
    const int64_t plane = corners->plane;
    for (int32_t i = 0; i < size; ++i) {
      const Patch patch = patch_of<kLens>(p, pose, above + i, below + i, plane, metres[i]);
      out->left[i] = patch.left;
      out->right[i] = patch.right;
      out->top[i] = patch.top;
      out->bottom[i] = patch.bottom;
      out->metres[i] = patch.metres;
    }
  }
};

inline void put_least(uint32_t* at, uint32_t bits) {
  uint32_t found = __atomic_load_n(at, __ATOMIC_RELAXED);
  while (bits < found && !__atomic_compare_exchange_n(at, &found, bits, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
}

// nearest [out_height, out_width]: bits of distances.
void cover(const Patches& patches, int32_t size, int32_t out_width, uint32_t* nearest) {
  for (int32_t i = 0; i < size; ++i) {
    if (patches.metres[i] == 0.0f) continue;
    const uint32_t bits = bits_of(patches.metres[i]);
    for (int32_t y = patches.top[i]; y <= patches.bottom[i]; ++y)
      for (int32_t x = patches.left[i]; x <= patches.right[i]; ++x)
        put_least(nearest + int64_t{y} * out_width + x, bits);
  }
}

template <class Pixels, Lens kLens>
void cover_row(const RegistrationParams& p, const RegistrationPose& pose, const ImageView& image,
               const CornerRays& rays, int32_t y, uint32_t* nearest) {
  const uint8_t* const row = image.data + y * image.step;
  Patches patches;
  for (int32_t x = 0; x < p.image.width; x += kAtOnce) {
    const int32_t size = std::min(kAtOnce, p.image.width - x);
    run_at<RowPatches<Pixels, kLens>>(simd_level(), &p, &pose, row, &rays, x, y, size, &patches);
    cover(patches, size, p.image.out_width, nearest);
  }
}

struct Finished {
  RC_INLINE static void run(float* depth, int64_t size, bool* valid) {
    for (int64_t i = 0; i < size; ++i) {
      const float nearest = depth[i];
      const bool is_covered = bits_of(nearest) != kNoPatch;
      depth[i] = is_covered ? nearest : 0.0f;
      valid[i] = is_covered;
    }
  }
};

}  // namespace

void register_depth_cpu(const RegistrationParams& p, const RegistrationPose& pose, const ImageView& image,
                        const CornerRays& rays, float* depth, bool* valid) {
  const int64_t num_pixels = int64_t{p.image.out_width} * p.image.out_height;
  uint32_t* const nearest = reinterpret_cast<uint32_t*>(depth);
  std::memset(nearest, kNoPatch & 0xff, static_cast<size_t>(num_pixels) * sizeof(uint32_t));
  with_registration(p, [&](auto pixels, auto lens) {
    parallel_for(p.image.height, std::max(1, 4096 / p.image.width), [&](int64_t begin, int64_t end, int) {
      for (int64_t y = begin; y < end; ++y)
        cover_row<decltype(pixels), lens.value>(p, pose, image, rays, static_cast<int32_t>(y), nearest);
    });
  });
  parallel_for(num_pixels, 65536, [&](int64_t begin, int64_t end, int) {
    run_at<Finished>(simd_level(), depth + begin, end - begin, valid + begin);
  });
}

}  // namespace robocache
