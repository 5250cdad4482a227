// SPDX-License-Identifier: Apache-2.0
// A point on the GPU: from the bytes of a cloud to the target frame, tested; a thread a point.
#pragma once

#include <algorithm>
#include <cstdint>

#include "gpu.cuh"
#include "voxelize.hpp"

namespace robocache {

// A cloud as a kernel takes it; one pose for all points travels with the launch. Its bytes, and the poses of a table,
// are the device's.
struct GpuCloud {
  Cloud cloud;
  float pose[12];

  explicit GpuCloud(const Cloud& given) : cloud(given) {
    if (!cloud.poses.by_time) std::copy_n(cloud.poses.rows, 12, pose);
  }

  int64_t size() const { return cloud.width * cloud.height; }
};

// As `load_as`, in one access where the address allows it.
template <class T, class To>
__device__ inline To load_quickly(const uint8_t* bytes, bool swap) {
  if (swap || reinterpret_cast<uintptr_t>(bytes) % sizeof(T) != 0) return load_as<T, To>(bytes, swap);
  return static_cast<To>(*reinterpret_cast<const T*>(bytes));
}

// The value of a point's field.
template <class To>
__device__ inline To read_field(Field field, const uint8_t* point, bool swap) {
  const uint8_t* bytes = point + field.offset;
  switch (field.type) {
    case FieldType::kFloat32: return load_quickly<float, To>(bytes, swap);
    case FieldType::kFloat64: return load_quickly<double, To>(bytes, swap);
    case FieldType::kUInt8: return load_quickly<uint8_t, To>(bytes, false);
    case FieldType::kInt8: return load_quickly<int8_t, To>(bytes, false);
    case FieldType::kUInt16: return load_quickly<uint16_t, To>(bytes, swap);
    case FieldType::kInt16: return load_quickly<int16_t, To>(bytes, swap);
    case FieldType::kUInt32: return load_quickly<uint32_t, To>(bytes, swap);
    case FieldType::kInt32: return load_quickly<int32_t, To>(bytes, swap);
  }
  return To{};
}

struct GpuPoint {
  const uint8_t* bytes;
  float x, y, z;  // m, in the target frame
  int32_t drop;   // a Drop

  // The value of field `f`; x y z in the target frame.
  __device__ float value(const PointParams& params, int32_t f) const {
    if (f < 3) return f == 0 ? x : f == 1 ? y : z;
    return read_field<float>(params.fields[f], bytes, params.swap);
  }
};

__device__ inline GpuPoint read_point(const PointParams& params, const GpuCloud& gpu, int64_t i) {
  const Cloud& cloud = gpu.cloud;
  const int64_t row = cloud.height == 1 ? 0 : i / cloud.width;
  GpuPoint point;
  point.bytes = cloud.data + row * cloud.row_step + (i - row * cloud.width) * cloud.point_step;
  const float x = read_field<float>(params.fields[0], point.bytes, params.swap),
              y = read_field<float>(params.fields[1], point.bytes, params.swap),
              z = read_field<float>(params.fields[2], point.bytes, params.swap);
  point.drop = in_range(x, y, z, params.min_range2, params.max_range2) ? kKept : kRange;
  bool finite = is_finite(x) & is_finite(y) & is_finite(z);
  for (int32_t f = 3; f < params.num_fields; ++f)
    finite &= is_finite(read_field<float>(params.fields[f], point.bytes, params.swap));
  const float* pose = gpu.pose;
  if (cloud.poses.by_time) {
    const double time = read_field<double>(params.time, point.bytes, params.swap);
    finite &= is_finite(time);
    pose = cloud.poses.rows + 12 * pose_at(cloud.poses, time);
  }
  if (!finite) point.drop = kNonFinite;
  point.x = transformed(pose, x, y, z);
  point.y = transformed(pose + 4, x, y, z);
  point.z = transformed(pose + 8, x, y, z);
  return point;
}

}  // namespace robocache
