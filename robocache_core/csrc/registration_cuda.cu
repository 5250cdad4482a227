// SPDX-License-Identifier: Apache-2.0
// Registration on the GPU: a thread a pixel of the depth image.
#include <cstdint>

#include "gpu.cuh"
#include "registration.hpp"

namespace robocache {
namespace {

template <class Pixels, Lens kLens>
__global__ void cover(const __grid_constant__ RegistrationParams params, const __grid_constant__ RegistrationPose pose,
                      const __grid_constant__ ImageView image, const __grid_constant__ CornerRays rays,
                      int64_t num_pixels, uint32_t* nearest) {
  const int64_t i = thread_number();
  if (i >= num_pixels) return;
  const int32_t y = static_cast<int32_t>(i / params.image.width),
                x = static_cast<int32_t>(i - int64_t{y} * params.image.width);
  const float metres = Pixels::at(params.image, image, x, y);
  if (metres == 0.0f) return;
  const float* const above = rays.at(x, y);
  const Patch patch = patch_of<kLens>(params, pose, above, above + rays.row, rays.plane, metres);
  if (patch.metres == 0.0f) return;
  const uint32_t bits = bits_of(patch.metres);
  for (int32_t v = patch.top; v <= patch.bottom; ++v)
    for (int32_t u = patch.left; u <= patch.right; ++u)
      atomicMin(nearest + int64_t{v} * params.image.out_width + u, bits);
}

__global__ void finish(int64_t num_pixels, float* depth, bool* valid) {
  const int64_t i = thread_number();
  if (i >= num_pixels) return;
  const bool is_covered = bits_of(depth[i]) != kNoPatch;
  if (!is_covered) depth[i] = 0.0f;
  valid[i] = is_covered;
}

}  // namespace

void register_depth_cuda(const GpuStream& gpu, const RegistrationParams& params, const RegistrationPose& pose,
                         const ImageView& image, const CornerRays& rays, float* depth, bool* valid) {
  const CurrentDevice current(gpu.device);
  const cudaStream_t stream = stream_of(gpu);
  const int64_t num_pixels = int64_t{params.image.width} * params.image.height,
                num_results = int64_t{params.image.out_width} * params.image.out_height;
  uint32_t* const nearest = reinterpret_cast<uint32_t*>(depth);
  check_gpu(cudaMemsetAsync(nearest, kNoPatch & 0xff, static_cast<size_t>(num_results) * sizeof(uint32_t), stream),
            "register_depth");
  with_registration(params, [&](auto pixels, auto lens) {
    cover<decltype(pixels), decltype(lens)::value>
        <<<blocks_for(num_pixels), kThreads, 0, stream>>>(params, pose, image, rays, num_pixels, nearest);
  });
  check_launch("register_depth");
  finish<<<blocks_for(num_results), kThreads, 0, stream>>>(num_results, depth, valid);
  check_launch("register_depth");
}

}  // namespace robocache
