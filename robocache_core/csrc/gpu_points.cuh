// SPDX-License-Identifier: Apache-2.0
// A point on the GPU: from the bytes of a cloud to the target frame, tested; a thread a point.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "gpu.cuh"
#include "points.hpp"

namespace robocache {

// A cloud as a kernel takes it; one pose for all points travels with the launch. Its bytes, and the poses of a table,
// are the device's.
struct GpuCloud {
  Cloud cloud;
  float pose[12];

  explicit GpuCloud(const Cloud& given) : cloud(given) {
    if (!cloud.poses.by_time) std::copy_n(cloud.poses.rows, 12, pose);
  }

  RC_HD int64_t size() const { return cloud.width * cloud.height; }
};

// Whether all fields in use are floats that can be read as they are. Then no branch stands between loads, which wait
// for each other else.
inline bool is_plain(const PointParams& params, const Cloud& cloud) {
  const auto is_even = [](int64_t bytes) { return bytes % static_cast<int64_t>(sizeof(float)) == 0; };
  return cloud.rays == nullptr && !params.swap &&
         is_even(static_cast<int64_t>(reinterpret_cast<uintptr_t>(cloud.data))) && is_even(cloud.point_step) &&
         is_even(cloud.row_step) &&
         std::all_of(params.fields, params.fields + params.num_fields,
                     [&](const Field& field) { return field.type == FieldType::kFloat32 && is_even(field.offset); });
}

// Calls launch(std::true_type{}) or launch(std::false_type{}): kernels are made for either value.
template <class Launch>
void with_constant(bool value, Launch launch) {
  if (value) {
    launch(std::true_type{});
  } else {
    launch(std::false_type{});
  }
}

// As `load_as`, in one access where the address allows it.
template <class T, class To>
__device__ inline To load_quickly(const uint8_t* bytes, bool swap) {
  if (swap || reinterpret_cast<uintptr_t>(bytes) % sizeof(T) != 0) return load_as<T, To>(bytes, swap);
  return static_cast<To>(*reinterpret_cast<const T*>(bytes));
}

// The value of a point's field of any type.
template <class To>
__device__ inline To read_any_field(Field field, const uint8_t* point, bool swap) {
  const uint8_t* bytes = point + field.offset;
  switch (field.type) {
    case FieldType::kFloat32:
      return load_quickly<float, To>(bytes, swap);
    case FieldType::kFloat64:
      return load_quickly<double, To>(bytes, swap);
    case FieldType::kUInt8:
      return load_quickly<uint8_t, To>(bytes, false);
    case FieldType::kInt8:
      return load_quickly<int8_t, To>(bytes, false);
    case FieldType::kUInt16:
      return load_quickly<uint16_t, To>(bytes, swap);
    case FieldType::kInt16:
      return load_quickly<int16_t, To>(bytes, swap);
    case FieldType::kUInt32:
      return load_quickly<uint32_t, To>(bytes, swap);
    case FieldType::kInt32:
      return load_quickly<int32_t, To>(bytes, swap);
  }
  return To{};
}

template <bool kPlain>
__device__ inline float read_field(const PointParams& params, int32_t f, const uint8_t* point) {
  if (kPlain) return *reinterpret_cast<const float*>(point + params.fields[f].offset);
  return read_any_field<float>(params.fields[f], point, params.swap);
}

struct GpuPoint {
  const uint8_t* bytes;
  float x, y, z;  // m, in the target frame
  int32_t drop;   // a Drop

  // The value of field `f`; x y z in the target frame.
  template <bool kPlain>
  __device__ float value(const PointParams& params, int32_t f) const {
    return f == 0 ? x : f == 1 ? y : f == 2 ? z : read_field<kPlain>(params, f, bytes);
  }
};

__device__ inline const uint8_t* bytes_of_point(const Cloud& cloud, int64_t i) {
  const int64_t row = cloud.height == 1 ? 0 : i / cloud.width;
  return cloud.data + row * cloud.row_step + (i - row * cloud.width) * cloud.point_step;
}

// What a sensor measured of a point, in its own frame.
struct Measured {
  float x, y, z;
  bool finite, allowed;
};

// Of the pixel of a depth image at `bytes`, which are in the image.
__device__ inline Measured measure_pixel(const PointParams& params, const Cloud& image, const uint8_t* bytes) {
  const int64_t offset = bytes - image.data, row = offset / image.row_step;
  const float* const ray = image.rays + 3 * (row * image.width + (offset - row * image.row_step) / image.point_step);
  const float metres = metres_of(read_any_field<double>(params.fields[0], bytes, params.swap), params.depth);
  return {metres * ray[0], metres * ray[1], metres * ray[2], metres > 0.0f, is_allowed(metres, params.depth)};
}

template <bool kPlain>
__device__ inline Measured measure(const PointParams& params, const Cloud& cloud, const uint8_t* bytes) {
  if (!kPlain && cloud.rays != nullptr) return measure_pixel(params, cloud, bytes);
  Measured point{read_field<kPlain>(params, 0, bytes), read_field<kPlain>(params, 1, bytes),
                 read_field<kPlain>(params, 2, bytes), true, true};
#pragma unroll 4
  for (int32_t f = 3; f < params.num_fields; ++f) point.finite &= is_finite(read_field<kPlain>(params, f, bytes));
  return point;
}

// A point that was measured, in the target frame.
__device__ inline GpuPoint in_target_frame(const PointParams& params, const GpuCloud& gpu, const uint8_t* bytes,
                                           const Measured& measured) {
  const Poses& poses = gpu.cloud.poses;
  GpuPoint point;
  point.bytes = bytes;
  const float x = measured.x, y = measured.y, z = measured.z;
  point.drop = in_range(x, y, z, params.min_range2, params.max_range2) & measured.allowed ? kKept : kRange;
  bool finite = measured.finite & is_finite(x) & is_finite(y) & is_finite(z);
  const auto move = [&](const float* pose) {
    point.x = transformed(pose, x, y, z);
    point.y = transformed(pose + 4, x, y, z);
    point.z = transformed(pose + 8, x, y, z);
  };
  if (poses.by_time) {
    const double time = read_any_field<double>(params.time, bytes, params.swap);
    finite &= is_finite(time);
    move(poses.rows + 12 * pose_at(poses, time));
  } else {
    move(gpu.pose);  // constants of the launch: a pointer to either would make them loads
  }
  if (!finite) point.drop = kNonFinite;
  return point;
}

// The point whose bytes are at `bytes`, in whatever memory; those of a depth image in the image itself.
template <bool kPlain>
__device__ inline GpuPoint read_point(const PointParams& params, const GpuCloud& gpu, const uint8_t* bytes) {
  return in_target_frame(params, gpu, bytes, measure<kPlain>(params, gpu.cloud, bytes));
}

}  // namespace robocache
