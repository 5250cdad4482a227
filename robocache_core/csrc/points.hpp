// SPDX-License-Identifier: Apache-2.0
// Points of a cloud: how one is read, tested and brought to the target frame.
//
// The tests of a point are comparisons of integers without a branch, so that a loop over points becomes SIMD.
#pragma once

#include <cstdint>

#include "distance.hpp"
#include "gpu.hpp"
#include "scalar.hpp"

namespace robocache {

constexpr int kMaxChannels = 32;              // of a voxel, or fields of a row of points
constexpr int kMaxFields = 3 + kMaxChannels;  // x, y, z and one for each channel

enum class FieldType : int32_t { kInt8, kUInt8, kInt16, kUInt16, kInt32, kUInt32, kFloat32, kFloat64 };

struct Field {
  int32_t offset;  // bytes from the start of the point
  FieldType type;
};

// Why a point is in no voxel, in order of test.
enum Drop : int32_t { kNonFinite, kRange, kOutside, kOverflow, kTableFull, kVoxelFull, kNumDrops, kKept };

// What is read of a cloud, and how far from the sensor a point may be.
struct PointParams {
  Field fields[kMaxFields];  // x, y, z first
  int32_t num_fields;
  Field time;                    // read where poses are looked up by it
  bool swap;                     // the bytes of a field are in reverse order
  float min_range2, max_range2;  // m^2, half-open
  DepthScale depth;              // of the pixels, where the cloud is a depth image
};

// The sensor's poses in the target frame: `rows [num, 3, 4]`. A point's pose is looked up by its time; one pose is
// every point's.
struct Poses {
  const float* rows;
  int64_t num;
  double first, inverse_step;  // raw value of the time field at pose 0; poses a raw unit
  bool by_time;
};

// A cloud: `height` rows of `width` points. With rays it is a depth image: x, y, z of a point are the pixel's distance
// times `rays [height, width, 3]`, the first field is that of the pixel, and there are no others.
struct Cloud {
  const uint8_t* data;
  int64_t width, height, point_step, row_step;
  Poses poses;
  const float* rays;
};

// A field's value at `bytes`.
template <class T, class To>
RC_HD RC_INLINE To load_as(const uint8_t* bytes, bool swap) {
  return static_cast<To>(swap ? load_swapped<T>(bytes) : load_bytes<T>(bytes));
}

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

// Writes points [width * height, num_fields] and valid [width * height]. Of a GPU every address is the device's, but
// that of a single pose.
void deskew_points_cpu(const PointParams& params, const Cloud& cloud, float* points, bool* valid);
void deskew_points_cuda(const GpuStream& gpu, const PointParams& params, const Cloud& cloud, float* points,
                        bool* valid);

}  // namespace robocache
