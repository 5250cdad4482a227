// SPDX-License-Identifier: Apache-2.0
// Resampling: which samples a target reads, and what it makes of them.
#pragma once

#include <cmath>
#include <cstdint>

#include "scalar.hpp"

namespace robocache {

enum class Method : int32_t { kLinear, kSlerp, kNearest, kPrevious };
enum class ScalarType : int32_t { kFloat32, kFloat16, kBFloat16 };

// One stream: values [batch, samples, width], stamps [batch, samples] int64 ns, ascending; strides in elements.
struct Stream {
  const void* values;
  ScalarType type;
  int64_t samples, width;
  int64_t value_strides[3];
  const int64_t* stamps;
  int64_t stamp_strides[2];
  Method method;
  uint64_t tolerance_ns;
};

// What a target reads: sample `lower` as it is where `lower == upper`, else between the two at `alpha`.
// `nearest` is what is held instead where that cannot be done.
struct Pick {
  int64_t lower, upper, nearest;
  float alpha;
  bool valid;
};

// Distance of two stamps, later >= earlier; unsigned, as it need not fit int64.
RC_HD inline uint64_t stamp_distance(int64_t later, int64_t earlier) {
  return static_cast<uint64_t>(later) - static_cast<uint64_t>(earlier);
}

// Of at least one sample. Of equal stamps the last counts.
RC_HD inline Pick pick_samples(const Stream& s, const int64_t* stamps, int64_t target) {
  int64_t begin = 0, end = s.samples;  // ends at the number of samples at or before the target
  while (begin < end) {
    const int64_t middle = begin + (end - begin) / 2;
    if (stamps[middle * s.stamp_strides[1]] <= target) {
      begin = middle + 1;
    } else {
      end = middle;
    }
  }
  const int64_t lower = begin - 1, upper = begin;
  const bool has_lower = lower >= 0, has_upper = upper < s.samples;
  const uint64_t before = has_lower ? stamp_distance(target, stamps[lower * s.stamp_strides[1]]) : UINT64_MAX;
  const uint64_t after = has_upper ? stamp_distance(stamps[upper * s.stamp_strides[1]], target) : UINT64_MAX;
  const bool lower_is_nearest = !has_upper || (has_lower && before <= after);
  const int64_t nearest = lower_is_nearest ? lower : upper;
  const bool lower_valid = has_lower && before <= s.tolerance_ns;

  if (has_lower && before == 0) return {lower, lower, lower, 0.0f, true};
  if (s.method == Method::kPrevious) {
    return lower_valid ? Pick{lower, lower, lower, 0.0f, true} : Pick{nearest, nearest, nearest, 0.0f, false};
  }
  if (s.method == Method::kNearest) {
    return {nearest, nearest, nearest, 0.0f, (lower_is_nearest ? before : after) <= s.tolerance_ns};
  }
  if (lower_valid && has_upper && after <= s.tolerance_ns) {
    const double alpha = static_cast<double>(before) / static_cast<double>(before + after);
    return {lower, upper, nearest, static_cast<float>(alpha), true};
  }
  return {nearest, nearest, nearest, 0.0f, false};
}

RC_HD inline float lerp_values(float a, float b, float alpha) { return a + (b - a) * alpha; }

// atan(t)/t of u = t^2 <= 0.04, error below 1e-17.
RC_HD inline double atan_ratio(double u) {
  double sum = 1.0 / 23.0;
  for (int k = 10; k >= 0; --k) sum = 1.0 / (2 * k + 1) - u * sum;
  return sum;
}

// sin(t)/t of u = t^2 <= (pi/2)^2, error below 1e-18.
RC_HD inline double sin_ratio(double u) {
  const double inverse_factorial[11] = {1.0,
                                        1.0 / 6.0,
                                        1.0 / 120.0,
                                        1.0 / 5040.0,
                                        1.0 / 362880.0,
                                        1.0 / 39916800.0,
                                        1.0 / 6227020800.0,
                                        1.0 / 1307674368000.0,
                                        1.0 / 355687428096000.0,
                                        1.0 / 121645100408832000.0,
                                        1.0 / 51090942171709440000.0};
  double sum = inverse_factorial[10];
  for (int k = 9; k >= 0; --k) sum = inverse_factorial[k] - u * sum;
  return sum;
}

RC_HD inline double dot4(const double* a, const double* b) {
  return ((a[0] * b[0] + a[1] * b[1]) + a[2] * b[2]) + a[3] * b[3];
}

// The unit quaternion at `alpha` of the shortest way from a to b (x y z w, of any length but zero), into a.
// False, with a undefined, where one has no direction.
// No function of the maths library but sqrt: the others differ in their last bits.
RC_HD inline bool slerp(double* a, double* b, double alpha) {
  const double norm2_a = dot4(a, a), norm2_b = dot4(b, b);
  if (!(norm2_a > 0.0 && norm2_a < HUGE_VAL && norm2_b > 0.0 && norm2_b < HUGE_VAL)) return false;
  const double norm_a = std::sqrt(norm2_a), norm_b = std::sqrt(norm2_b);
  double difference[4], sum[4];
  for (int i = 0; i < 4; ++i) {
    a[i] = a[i] / norm_a;
    b[i] = b[i] / norm_b;
  }
  if (dot4(a, b) < 0.0) {
    for (int i = 0; i < 4; ++i) b[i] = -b[i];
  }
  for (int i = 0; i < 4; ++i) {
    difference[i] = b[i] - a[i];
    sum[i] = b[i] + a[i];
  }
  // The chords give u = tan^2(angle / 2) <= 1; two halvings of the angle make u <= tan^2(pi / 16).
  double u = dot4(difference, difference) / dot4(sum, sum);
  for (int i = 0; i < 2; ++i) {
    const double divisor = 1.0 + std::sqrt(1.0 + u);
    u = u / (divisor * divisor);
  }
  const double ratio = atan_ratio(u);
  const double angle2 = 64.0 * u * (ratio * ratio);
  const double beta = 1.0 - alpha, sine = sin_ratio(angle2);
  const double weight_a = beta * sin_ratio(beta * beta * angle2) / sine;
  const double weight_b = alpha * sin_ratio(alpha * alpha * angle2) / sine;
  for (int i = 0; i < 4; ++i) a[i] = weight_a * a[i] + weight_b * b[i];
  const double norm = std::sqrt(dot4(a, a));
  for (int i = 0; i < 4; ++i) a[i] = a[i] / norm;
  return true;
}

// The CPU's loops (resample_cpu.cpp): all streams at the targets [batch, num_targets] (strides in elements).
// out [batch, num_targets, sum of the widths] of the streams' type, valid [batch, num_targets, num_streams].
void fuse_cpu(const Stream* streams, int64_t num_streams, int64_t batch, const int64_t* targets, int64_t num_targets,
              const int64_t* target_strides, void* out, bool* valid);

}  // namespace robocache
