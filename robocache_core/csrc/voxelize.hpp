// SPDX-License-Identifier: Apache-2.0
// Voxelization: what happens to a point, and what becomes of the points of a voxel.
//
// A point becomes the linear index of its voxel and one 32-bit term for each sum and each maximum that the channels
// need. Sums and maxima of integers do not depend on the order of the points.
#pragma once

#include <cstdint>

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
enum Drop : int32_t { kNonFinite, kRange, kOutside, kOverflow, kTableFull, kNumDrops, kKept };

// Constants of a voxelization; every reciprocal is the caller's.
struct VoxelParams {
  Field fields[kMaxFields];  // x, y, z first
  int32_t num_fields;
  bool swap;  // the bytes of a field are in reverse order
  float min_range2, max_range2;  // m^2, half-open
  float lower[3], inverse_size[3];  // m, 1/m
  float extent[3];  // voxels along x y z, as floats
  uint32_t shape[3];  // the same, as integers
  double size[3];  // m
  double quantum, inverse_quantum;  // step of the values that are averaged, in the field's unit
  double inverse_volume;  // 1/m^3
  Channel channels[kMaxChannels];
  int32_t num_channels, num_sums, num_maxima;
};

// A cloud: `height` rows of `width` points; `pose [3, 4]` (rows of the sensor's pose in the target frame).
struct Cloud {
  const uint8_t* data;
  int64_t width, height, point_step, row_step;
  float pose[12];
};

template <class T>
RC_HD inline float load_as_float(const uint8_t* bytes, bool swap) {
  return static_cast<float>(swap ? load_swapped<T>(bytes) : load_bytes<T>(bytes));
}

// A field's value, rounded to float32.
RC_HD inline float load_field(const uint8_t* point, Field field, bool swap) {
  const uint8_t* bytes = point + field.offset;
  switch (field.type) {
    case FieldType::kInt8: return static_cast<float>(static_cast<int8_t>(*bytes));
    case FieldType::kUInt8: return static_cast<float>(*bytes);
    case FieldType::kInt16: return load_as_float<int16_t>(bytes, swap);
    case FieldType::kUInt16: return load_as_float<uint16_t>(bytes, swap);
    case FieldType::kInt32: return load_as_float<int32_t>(bytes, swap);
    case FieldType::kUInt32: return load_as_float<uint32_t>(bytes, swap);
    case FieldType::kFloat32: return load_as_float<float>(bytes, swap);
    case FieldType::kFloat64: return load_as_float<double>(bytes, swap);
  }
  return 0.0f;
}

// Find a point's voxel and its terms.
//
// kPlainXyz: x, y, z are float32 in this machine's byte order, which saves the look at their types.
// index: linear, ((z * shape_y) + y) * shape_x + x. terms [num_sums + num_maxima].
template <bool kPlainXyz>
RC_HD inline Drop voxelize_point(const VoxelParams& p, const float* pose, const uint8_t* point, uint32_t* index,
                                 int32_t* terms) {
  float value[kMaxFields];
  bool finite = true;
  for (int i = 0; i < 3; ++i) {
    value[i] = kPlainXyz ? load_bytes<float>(point + p.fields[i].offset) : load_field(point, p.fields[i], p.swap);
    finite = finite && is_finite(value[i]);
  }
  for (int i = 3; i < p.num_fields; ++i) {
    value[i] = load_field(point, p.fields[i], p.swap);
    finite = finite && is_finite(value[i]);
  }
  if (!finite) return kNonFinite;

  const float x = value[0], y = value[1], z = value[2];
  const float range2 = (x * x + y * y) + z * z;
  if (!(range2 >= p.min_range2 && range2 < p.max_range2)) return kRange;

  uint32_t cell[3];
  float fraction[3];
  for (int i = 0; i < 3; ++i) {
    const float* row = pose + 4 * i;
    value[i] = ((row[0] * x + row[1] * y) + row[2] * z) + row[3];
    const float u = (value[i] - p.lower[i]) * p.inverse_size[i];
    if (!(u >= 0.0f && u < p.extent[i])) return kOutside;  // NaN too; before the conversion, which would wrap
    cell[i] = static_cast<uint32_t>(u);                    // the floor, as u is not negative
    fraction[i] = u - static_cast<float>(cell[i]);         // exact, so below 1
  }
  *index = (cell[2] * p.shape[1] + cell[1]) * p.shape[0] + cell[0];

  for (int c = 0; c < p.num_channels; ++c) {
    const Channel channel = p.channels[c];
    switch (channel.kind) {
      case ChannelKind::kMeanOffset:
        terms[channel.slot] = static_cast<int32_t>(fraction[channel.source] * 65536.0f);
        break;
      case ChannelKind::kMean: {
        const double q = round_even(static_cast<double>(value[channel.source]) * p.inverse_quantum);
        if (!(q > -2147483648.0 && q < 2147483648.0)) return kOverflow;
        terms[channel.slot] = static_cast<int32_t>(q);
        break;
      }
      case ChannelKind::kMax: terms[p.num_sums + channel.slot] = ordered_int(value[channel.source]); break;
      case ChannelKind::kMin: terms[p.num_sums + channel.slot] = ~ordered_int(value[channel.source]); break;
      default: break;
    }
  }
  return kKept;
}

// A channel of a voxel from the number of its points (at least one), its sums and its maxima.
RC_HD inline float voxel_channel(const VoxelParams& p, Channel channel, int32_t count, const int64_t* sums,
                                 const int32_t* maxima) {
  const double n = static_cast<double>(count);
  switch (channel.kind) {
    case ChannelKind::kCount: return static_cast<float>(count);
    case ChannelKind::kOccupancy: return 1.0f;
    case ChannelKind::kDensity: return static_cast<float>(n * p.inverse_volume);
    case ChannelKind::kMeanOffset: {
      const double sum = static_cast<double>(sums[channel.slot]) + 0.5 * n;  // truncation lost half a step on average
      return static_cast<float>((sum / (65536.0 * n) - 0.5) * p.size[channel.source]);
    }
    case ChannelKind::kMean: return static_cast<float>((static_cast<double>(sums[channel.slot]) * p.quantum) / n);
    case ChannelKind::kMax: return ordered_float(maxima[channel.slot]);
    case ChannelKind::kMin: return ordered_float(~maxima[channel.slot]);
  }
  return 0.0f;
}

// The CPU's loops (voxelize_cpu.cpp). `dropped [kNumDrops]` is written.

// tensor [num_channels, shape_z, shape_y, shape_x], zero where no point fell.
void voxelize_dense_cpu(const VoxelParams& params, const Cloud& cloud, float* tensor, int64_t* dropped);

// coords [capacity, 3] (z y x), features [capacity, num_channels], counts [capacity]; returns the voxels written.
int64_t voxelize_sparse_cpu(const VoxelParams& params, const Cloud& cloud, int64_t capacity, int32_t* coords,
                            float* features, int32_t* counts, int64_t* dropped);

}  // namespace robocache
