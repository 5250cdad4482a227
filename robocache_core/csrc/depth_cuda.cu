// SPDX-License-Identifier: Apache-2.0
// Depth images on the GPU: a thread an output pixel.
#include <cstdint>

#include "depth.hpp"
#include "gpu.cuh"

namespace robocache {
namespace {

template <class Pixels>
__global__ void write_depth(const __grid_constant__ DepthParams params, const __grid_constant__ ImageView image,
                            const float* rectify, int64_t num_pixels, float* depth, bool* valid) {
  const int64_t i = thread_number();
  if (i >= num_pixels) return;
  const int32_t y = static_cast<int32_t>(i / params.out_width),
                x = static_cast<int32_t>(i - int64_t{y} * params.out_width);
  const float metres = depth_at<Pixels>(params, image, rectify, x, y);
  depth[i] = metres;
  valid[i] = metres > 0.0f;
}

}  // namespace

void prepare_depth_cuda(const GpuStream& gpu, const DepthParams& params, const ImageView& image, const float* rectify,
                        float* depth, bool* valid) {
  const CurrentDevice current(gpu.device);
  const int64_t num_pixels = int64_t{params.out_width} * params.out_height;
  with_depth_pixels(params, [&](auto pixels) {
    write_depth<decltype(pixels)>
        <<<blocks_for(num_pixels), kThreads, 0, stream_of(gpu)>>>(params, image, rectify, num_pixels, depth, valid);
  });
  check_launch("prepare_depth");
}

}  // namespace robocache
