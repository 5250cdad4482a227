// SPDX-License-Identifier: Apache-2.0
// Points of a cloud in the target frame, on the GPU: a thread a point.
#include "gpu_points.cuh"

namespace robocache {
namespace {

template <bool kPlain>
__global__ void write_points(const __grid_constant__ PointParams params, const __grid_constant__ GpuCloud cloud,
                             int64_t num_points, float* points, bool* valid) {
  const int64_t i = thread_number();
  if (i >= num_points) return;
  const GpuPoint point = read_point<kPlain>(params, cloud, bytes_of_point(cloud.cloud, i));
  const bool kept = point.drop == kKept;
  valid[i] = kept;
  for (int32_t f = 0; f < params.num_fields; ++f)
    points[i * params.num_fields + f] =
        from_float<float>(kept || f >= 3 ? point.value<kPlain>(params, f) : float_of(0x7fc00000u));
}

}  // namespace

void deskew_points_cuda(const GpuStream& gpu, const PointParams& params, const Cloud& given, float* points,
                        bool* valid) {
  const GpuCloud cloud(given);
  if (cloud.size() == 0) return;
  const CurrentDevice current(gpu.device);
  with_constant(is_plain(params, given), [&](auto plain) {
    write_points<plain.value>
        <<<blocks_for(cloud.size()), kThreads, 0, stream_of(gpu)>>>(params, cloud, cloud.size(), points, valid);
  });
  check_launch("deskew_points");
}

}  // namespace robocache
