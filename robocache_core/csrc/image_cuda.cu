// SPDX-License-Identifier: Apache-2.0
// Images on the GPU: a thread an output pixel.
#include <cstdint>

#include "gpu.cuh"
#include "image.hpp"

namespace robocache {
namespace {

__device__ inline void store(void* out, ResultType type, int64_t at, float value) {
  switch (type) {
    case ResultType::kFloat32:
      static_cast<float*>(out)[at] = from_float<float>(value);
      return;
    case ResultType::kFloat16:
      static_cast<Half*>(out)[at] = from_float<Half>(value);
      return;
    case ResultType::kBFloat16:
      static_cast<BFloat16*>(out)[at] = from_float<BFloat16>(value);
      return;
    case ResultType::kUInt8:
      static_cast<uint8_t*>(out)[at] = from_float<uint8_t>(value);
      return;
  }
}

template <class Pixels>
__global__ void write_pixels(const __grid_constant__ ImageParams params, const __grid_constant__ ImageView image,
                             const float* rectify, int64_t num_pixels, void* out) {
  const int64_t i = thread_number();
  if (i >= num_pixels) return;
  const int32_t y = static_cast<int32_t>(i / params.out_width),
                x = static_cast<int32_t>(i - int64_t{y} * params.out_width);
  float values[Pixels::kChannels];
  sample<Pixels>(params, image, rectify, x, y, values);
  for (int c = 0; c < Pixels::kChannels; ++c) store(out, params.out_type, c * num_pixels + i, values[c]);
}

}  // namespace

void prepare_image_cuda(const GpuStream& gpu, const ImageParams& params, const ImageView& image, const float* rectify,
                        void* out) {
  const CurrentDevice current(gpu.device);
  const int64_t num_pixels = int64_t{params.out_width} * params.out_height;
  with_pixels(params, [&](auto pixels) {
    write_pixels<decltype(pixels)>
        <<<blocks_for(num_pixels), kThreads, 0, stream_of(gpu)>>>(params, image, rectify, num_pixels, out);
  });
  check_launch("prepare_image");
}

}  // namespace robocache
