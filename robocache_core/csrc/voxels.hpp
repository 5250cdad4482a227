// SPDX-License-Identifier: Apache-2.0
// Voxelization to channels: what a point adds to its voxel, and what becomes of the points of a voxel.
//
// A point becomes the linear index of its voxel and one 32-bit term for each sum and each maximum that the channels
// need. Sums and maxima of integers do not depend on the order of the points.
#pragma once

#include <cstdint>
#include <limits>

#include "grid.hpp"

namespace robocache {

enum class ChannelKind : int32_t { kCount, kOccupancy, kDensity, kMeanOffset, kMean, kMax, kMin };

// `source`: the axis (kMeanOffset) or the field (kMean, kMax, kMin; 0 1 2 are x y z in the target frame).
// `slot`: which sum (kMeanOffset, kMean) or which maximum (kMax, kMin) it reads; -1 where it needs the count alone.
struct Channel {
  ChannelKind kind;
  int32_t source;
  int32_t slot;
};

// Constants of a voxelization.
struct VoxelParams {
  PointParams points;
  Box box;
  double size[3];                   // m
  double quantum, inverse_quantum;  // step of the values that are averaged, in the field's unit
  double inverse_volume;            // 1/m^3
  uint32_t most_mean;               // magnitude_bits of the greatest value that can be averaged
  Channel channels[kMaxChannels];
  int32_t num_channels, num_sums, num_maxima;
};

// The term of a mean offset.
RC_HD RC_INLINE int32_t offset_term(float fraction) { return static_cast<int32_t>(fraction * 65536.0f); }

// Whether a value can be averaged.
RC_HD RC_INLINE bool has_term(float value, uint32_t most_mean) { return magnitude_bits(value) <= most_mean; }

// The term of a mean; 0 of a value that has none.
RC_HD RC_INLINE int32_t mean_term(float value, double inverse_quantum, uint32_t most_mean) {
  const float averaged = float_of(bits_of(value) & (0u - static_cast<uint32_t>(has_term(value, most_mean))));
  return static_cast<int32_t>(round_even(static_cast<double>(averaged) * inverse_quantum));
}

// `most_mean` of a quantum: terms are int32.
inline uint32_t most_mean_of(double inverse_quantum) {
  uint32_t most = 0, beyond = magnitude_bits(std::numeric_limits<float>::infinity());
  while (beyond - most > 1) {
    const uint32_t middle = most + (beyond - most) / 2;
    const bool fits = round_even(static_cast<double>(float_of(middle)) * inverse_quantum) < 2147483648.0;
    (fits ? most : beyond) = middle;
  }
  return most;
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

// Of a GPU every address is the device's, but that of a single pose. numbers [kNumbers].

// tensor [num_channels, shape_z, shape_y, shape_x], zero where no point fell.
void voxelize_dense_cpu(const VoxelParams& params, const Cloud& cloud, float* tensor, int64_t* numbers);
void voxelize_dense_cuda(const GpuStream& gpu, const VoxelParams& params, const Cloud& cloud, float* tensor,
                         int64_t* numbers);

// coords [capacity, 3] (z y x), features [capacity, num_channels], counts [capacity].
void voxelize_sparse_cpu(const VoxelParams& params, const Cloud& cloud, int64_t capacity, int32_t* coords,
                         float* features, int32_t* counts, int64_t* numbers);
void voxelize_sparse_cuda(const GpuStream& gpu, const VoxelParams& params, const Cloud& cloud, int64_t capacity,
                          int32_t* coords, float* features, int32_t* counts, int64_t* numbers);

}  // namespace robocache
