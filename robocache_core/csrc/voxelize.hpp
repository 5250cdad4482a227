// SPDX-License-Identifier: Apache-2.0
// Voxelization: what happens to a point, and what becomes of the points of a voxel.
//
// A point becomes the linear index of its voxel and one 32-bit term for each sum and each maximum that the channels
// need. Sums and maxima of integers do not depend on the order of the points.
//
// The tests of a point are comparisons of integers without a branch, so that a loop over points becomes SIMD.
#pragma once

#include <cstdint>

#include "gpu.hpp"
#include "scalar.hpp"

namespace robocache {

constexpr int kMaxFields = 36;    // x, y, z and one for each channel
constexpr int kMaxChannels = 32;  // also bounds the terms

enum class FieldType : int32_t { kInt8, kUInt8, kInt16, kUInt16, kInt32, kUInt32, kFloat32, kFloat64 };

struct Field {
  int32_t offset;  // bytes from the start of the point
  FieldType type;
};

enum class ChannelKind : int32_t { kCount, kOccupancy, kDensity, kMeanOffset, kMean, kMax, kMin };

// `source`: the axis (kMeanOffset) or the field (kMean, kMax, kMin; 0 1 2 are x y z in the target frame).
// `slot`: which sum (kMeanOffset, kMean) or which maximum (kMax, kMin) it reads; -1 where it needs the count alone.
struct Channel {
  ChannelKind kind;
  int32_t source;
  int32_t slot;
};

// Why a point is in no voxel, in order of test.
enum Drop : int32_t { kNonFinite, kRange, kOutside, kOverflow, kTableFull, kVoxelFull, kNumDrops, kKept };

// What is read of a cloud, and how far from the sensor a point may lie.
struct PointParams {
  Field fields[kMaxFields];  // x, y, z first
  int32_t num_fields;
  Field time;                    // read where poses are looked up by it
  bool swap;                     // the bytes of a field are in reverse order
  float min_range2, max_range2;  // m^2, half-open
};

// A box of voxels; every reciprocal is the caller's.
struct Box {
  float lower[3], inverse_size[3];  // m, 1/m
  float extent[3];                  // voxels along x y z, as floats
  uint32_t shape[3];                // the same, as integers
};

// Constants of a voxelization.
struct VoxelParams {
  PointParams points;
  Box box;
  double size[3];                   // m
  double quantum, inverse_quantum;  // step of the values that are averaged, in the field's unit
  double inverse_volume;            // 1/m^3
  Channel channels[kMaxChannels];
  int32_t num_channels, num_sums, num_maxima;
};

// The sensor's poses in the target frame: `rows [num, 3, 4]`. A point's pose is looked up by its time; one pose is
// every point's.
struct Poses {
  const float* rows;
  int64_t num;
  double first, inverse_step;  // raw value of the time field at pose 0; poses a raw unit
  bool by_time;
};

// A cloud: `height` rows of `width` points.
struct Cloud {
  const uint8_t* data;
  int64_t width, height, point_step, row_step;
  Poses poses;
};

// A field's value at `bytes`.
template <class T, class To>
RC_HD RC_INLINE To load_as(const uint8_t* bytes, bool swap) {
  return static_cast<To>(swap ? load_swapped<T>(bytes) : load_bytes<T>(bytes));
}

// Whether 0 <= value < bound, where bound is above 0. Bits of floats from 0 up are ordered as integers; those of
// negative values and NaN are larger as unsigned ones. The addition takes -0 to 0.
RC_HD RC_INLINE bool is_within(float value, float bound) { return bits_of(value + 0.0f) < bits_of(bound); }

// Whether min2 <= x^2 + y^2 + z^2 < max2, all three finite.
RC_HD RC_INLINE bool in_range(float x, float y, float z, float min2, float max2) {
  const uint32_t range2 = bits_of((x * x + y * y) + z * z);
  return (range2 >= bits_of(min2)) & (range2 < bits_of(max2));
}

// A coordinate in the target frame; `row [4]` of the pose.
RC_HD RC_INLINE float transformed(const float* row, float x, float y, float z) {
  return ((row[0] * x + row[1] * y) + row[2] * z) + row[3];
}

// Which pose holds at the time `raw`, finite.
RC_HD RC_INLINE int64_t pose_at(const Poses& poses, double raw) {
  const double position = (raw - poses.first) * poses.inverse_step + 0.5;
  const double last = static_cast<double>(poses.num - 1);
  const double above = position >= 0.0 ? position : 0.0;  // what is not a number too
  return static_cast<int64_t>(above <= last ? above : last);
}

// Where a point lies in a box: index linear, ((z * shape_y) + y) * shape_x + x; fraction of the voxel's edge.
struct Place {
  bool inside;
  uint32_t index;  // 0 outside
  float fraction[3];
};

RC_HD RC_INLINE Place place_in(const Box& box, float x, float y, float z) {
  const float u[3] = {(x - box.lower[0]) * box.inverse_size[0], (y - box.lower[1]) * box.inverse_size[1],
                      (z - box.lower[2]) * box.inverse_size[2]};
  Place place;
  place.inside = is_within(u[0], box.extent[0]) & is_within(u[1], box.extent[1]) & is_within(u[2], box.extent[2]);
  const uint32_t mask = 0u - static_cast<uint32_t>(place.inside);
  int32_t cell[3];
  for (int i = 0; i < 3; ++i) {
    const float inside = float_of(bits_of(u[i]) & mask);       // a conversion outside would be undefined
    cell[i] = static_cast<int32_t>(inside);                    // the floor, as it is not negative
    place.fraction[i] = inside - static_cast<float>(cell[i]);  // exact, so below 1
  }
  place.index = (static_cast<uint32_t>(cell[2]) * box.shape[1] + static_cast<uint32_t>(cell[1])) * box.shape[0] +
                static_cast<uint32_t>(cell[0]);
  return place;
}

// The term of a mean offset.
RC_HD RC_INLINE int32_t offset_term(float fraction) { return static_cast<int32_t>(fraction * 65536.0f); }

// The term of a mean; whether it fits, else the term is 0.
RC_HD RC_INLINE int32_t mean_term(float value, double inverse_quantum, bool* fits) {
  const double q = round_even(static_cast<double>(value) * inverse_quantum);
  const uint64_t bits = bits_of(q);
  *fits = (bits & 0x7fffffffffffffffull) < bits_of(2147483648.0);
  return static_cast<int32_t>(double_of(bits & (0ull - static_cast<uint64_t>(*fits))));
}

// Channels of a voxel from the number of its points (at least one), its sum or its maximum.

RC_HD RC_INLINE float density_of(double inverse_volume, int32_t count) {
  return static_cast<float>(static_cast<double>(count) * inverse_volume);
}

RC_HD RC_INLINE float mean_offset_of(double size, int64_t sum, int32_t count) {
  const double n = static_cast<double>(count);
  const double total = static_cast<double>(sum) + 0.5 * n;  // truncation lost half a step on average
  return static_cast<float>((total / (65536.0 * n) - 0.5) * size);
}

RC_HD RC_INLINE float mean_of(double quantum, int64_t sum, int32_t count) {
  return static_cast<float>((static_cast<double>(sum) * quantum) / static_cast<double>(count));
}

RC_HD RC_INLINE float max_of(int32_t maximum) { return ordered_float(maximum); }

RC_HD RC_INLINE float min_of(int32_t maximum) { return ordered_float(~maximum); }

// The squared distance of a point to the centre of its voxel, m^2, from its place in it.
RC_HD RC_INLINE float distance2_to_centre(const float* fraction, const float* size) {
  const float x = (fraction[0] - 0.5f) * size[0], y = (fraction[1] - 0.5f) * size[1],
              z = (fraction[2] - 0.5f) * size[2];
  return (x * x + y * y) + z * z;
}

// Constants of a voxelization to points.
struct HardParams {
  PointParams points;
  Box box;
  float size[3];                  // m
  int32_t columns[kMaxChannels];  // the fields of a row
  int32_t num_columns;
  int32_t max_points;
};

// The loops of the CPU, and those of a GPU, to which every address but that of a single pose is the device's. What is
// dropped is written: by the CPU to `dropped [kNumDrops]`, by the GPU to `reported [1 + kNumDrops]` behind the number
// of voxels, which the CPU returns.

// tensor [num_channels, shape_z, shape_y, shape_x], zero where no point fell.
void voxelize_dense_cpu(const VoxelParams& params, const Cloud& cloud, float* tensor, int64_t* dropped);
void voxelize_dense_cuda(const GpuStream& gpu, const VoxelParams& params, const Cloud& cloud, float* tensor,
                         int64_t* reported);

// coords [capacity, 3] (z y x), features [capacity, num_channels], counts [capacity].
int64_t voxelize_sparse_cpu(const VoxelParams& params, const Cloud& cloud, int64_t capacity, int32_t* coords,
                            float* features, int32_t* counts, int64_t* dropped);
void voxelize_sparse_cuda(const GpuStream& gpu, const VoxelParams& params, const Cloud& cloud, int64_t capacity,
                          int32_t* coords, float* features, int32_t* counts, int64_t* reported);

// voxels [capacity, max_points, num_columns], coords [capacity, 3] (z y x), num_points [capacity].
int64_t voxelize_hard_cpu(const HardParams& params, const Cloud& cloud, int64_t capacity, float* voxels,
                          int32_t* coords, int32_t* num_points, int64_t* dropped);
void voxelize_hard_cuda(const GpuStream& gpu, const HardParams& params, const Cloud& cloud, int64_t capacity,
                        float* voxels, int32_t* coords, int32_t* num_points, int64_t* reported);

// points [width * height, num_fields], valid [width * height].
void deskew_points_cpu(const PointParams& params, const Cloud& cloud, float* points, bool* valid);
void deskew_points_cuda(const GpuStream& gpu, const PointParams& params, const Cloud& cloud, float* points,
                        bool* valid);

}  // namespace robocache
