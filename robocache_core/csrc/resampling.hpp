// SPDX-License-Identifier: Apache-2.0
// Resampling: which samples a target reads, and what it makes of them.
#pragma once

#include <cmath>
#include <cstdint>

#include "gpu.hpp"
#include "scalar.hpp"

namespace robocache {

enum class Method : int32_t { kLinear, kSlerp, kNearest, kPrevious };
// What a target gets that cannot be read: the nearest sample, zeros, or (linear) the line through the end's two
// samples.
enum class Outside : int32_t { kHold, kZero, kExtrapolate };

// How a stream is read.
struct Reading {
  Method method;
  Outside outside;
  uint64_t tolerance_ns;
};

// One stream: values [batch, samples, width], stamps [batch, samples] int64 ns; strides in elements.
struct Stream {
  const void* values;
  ScalarType type;
  int64_t samples, width;
  int64_t value_strides[3];
  const int64_t* stamps;
  int64_t stamp_strides[2];
};

// The stamps of a stream in one batch, ascending: stamps[i * stride] is of sample order[i * stride], or of sample i
// where order is null.
struct Timeline {
  const int64_t* stamps;
  const int64_t* order;
  int64_t stride, size;

  RC_HD int64_t operator[](int64_t i) const { return stamps[i * stride]; }
  RC_HD int64_t sample(int64_t i) const { return order == nullptr ? i : order[i * stride]; }
};

// What a target reads: between the samples `from` (alpha 0) and `to` (alpha 1), or beyond `from` (alpha < 0).
// from == to: that sample as it is; kNoSample: zeros.
struct Pick {
  int64_t from, to;
  float alpha;
  bool valid;
  bool nearest_is_to;
};

constexpr int64_t kNoSample = -1;

// Distance of two stamps, later >= earlier; unsigned, as it need not fit int64.
RC_HD inline uint64_t stamp_distance(int64_t later, int64_t earlier) {
  return static_cast<uint64_t>(later) - static_cast<uint64_t>(earlier);
}

// How many stamps are at or before the target, known to be `begin` to `end`.
RC_HD inline int64_t bisect(const Timeline& line, int64_t target, int64_t begin, int64_t end) {
  while (begin < end) {
    const int64_t middle = begin + (end - begin) / 2;
    if (line[middle] <= target) {
      begin = middle + 1;
    } else {
      end = middle;
    }
  }
  return begin;
}

// The same from a guess, in steps that double: fast where the guess is near.
RC_HD inline int64_t gallop(const Timeline& line, int64_t target, int64_t guess) {
  int64_t begin = guess, end = guess, step = 1;
  if (guess > 0 && line[guess - 1] > target) {
    do {
      end = begin - 1;
      begin = end > step ? end - step : 0;
      step *= 2;
    } while (begin > 0 && line[begin - 1] > target);
  } else {
    while (end < line.size && line[end] <= target) {
      begin = end + 1;
      end = line.size - begin > step ? begin + step : line.size;
      step *= 2;
    }
  }
  return bisect(line, target, begin, end);
}

// Where stamps at a steady rate would have the target: how many of them are at or before it, about.
RC_HD inline int64_t guess_position(const Timeline& line, int64_t target) {
  if (line.size == 0 || target < line[0]) return 0;
  if (target >= line[line.size - 1]) return line.size;
  const double share = static_cast<double>(stamp_distance(target, line[0])) /
                       static_cast<double>(stamp_distance(line[line.size - 1], line[0]));
  return 1 + static_cast<int64_t>(share * static_cast<double>(line.size - 1));
}

// The last position of those that have the stamp of position i.
RC_HD inline int64_t last_of_equal(const Timeline& line, int64_t i) {
  if (i + 1 >= line.size || line[i + 1] != line[i]) return i;
  return gallop(line, line[i], i + 1) - 1;
}

// `upper`: how many stamps are at or before the target. Of equal stamps the last counts, the others are not read.
RC_HD inline Pick pick_samples(const Reading& reading, const Timeline& line, int64_t target, int64_t upper) {
  const Pick zeros{kNoSample, kNoSample, 0.0f, false, false};
  if (line.size == 0) return zeros;
  const auto whole = [&](int64_t position, bool valid) {
    const int64_t sample = line.sample(position);
    return Pick{sample, sample, 0.0f, valid, false};
  };
  const bool has_lower = upper > 0, has_upper = upper < line.size;
  const int64_t lower = upper - 1;
  const uint64_t before = has_lower ? stamp_distance(target, line[lower]) : UINT64_MAX;
  if (has_lower && before == 0) return whole(lower, true);
  if (has_upper) upper = last_of_equal(line, upper);
  const uint64_t after = has_upper ? stamp_distance(line[upper], target) : UINT64_MAX;
  const bool lower_is_nearest = !has_upper || (has_lower && before <= after);
  const int64_t nearest = lower_is_nearest ? lower : upper;

  if (reading.method == Method::kPrevious) {
    if (before <= reading.tolerance_ns) return whole(lower, true);
  } else if (reading.method == Method::kNearest) {
    if ((lower_is_nearest ? before : after) <= reading.tolerance_ns) return whole(nearest, true);
  } else if (before <= reading.tolerance_ns && after <= reading.tolerance_ns) {
    const double alpha = static_cast<double>(before) / static_cast<double>(before + after);
    return {line.sample(lower), line.sample(upper), static_cast<float>(alpha), true, !lower_is_nearest};
  } else if (reading.outside == Outside::kExtrapolate && has_lower != has_upper) {
    // `nearest` is the end; the line goes through it and the next sample that has another stamp.
    if (line[0] != line[line.size - 1]) {
      const int64_t other = has_lower ? bisect(line, line[lower] - 1, 0, lower) - 1 : last_of_equal(line, upper + 1);
      const uint64_t beyond = has_lower ? before : after;
      const uint64_t span =
          has_lower ? stamp_distance(line[lower], line[other]) : stamp_distance(line[other], line[upper]);
      if (beyond <= reading.tolerance_ns && span <= reading.tolerance_ns - beyond) {
        const double alpha = -(static_cast<double>(beyond) / static_cast<double>(span));
        return {line.sample(nearest), line.sample(other), static_cast<float>(alpha), true, false};
      }
    }
  }
  return reading.outside == Outside::kZero ? zeros : whole(nearest, false);
}

// What is held where a pick turns out not to be readable.
RC_HD inline Pick give_up(const Reading& reading, const Pick& pick) {
  const int64_t sample = reading.outside == Outside::kZero ? kNoSample : pick.nearest_is_to ? pick.to : pick.from;
  return {sample, sample, 0.0f, false, false};
}

RC_HD inline float lerp_values(float a, float b, float alpha) { return a + (b - a) * alpha; }

// atan(t)/t of u = t^2 <= 0.04, error below 1e-17.
RC_HD RC_INLINE double atan_ratio(double u) {
  double sum = 1.0 / 23.0;
  for (int k = 10; k >= 0; --k) sum = 1.0 / (2 * k + 1) - u * sum;
  return sum;
}

// sin(t)/t of u = t^2 <= (pi/2)^2, error below 1e-18.
RC_HD RC_INLINE double sin_ratio(double u) {
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

RC_HD RC_INLINE double dot4(const double* a, const double* b) {
  return ((a[0] * b[0] + a[1] * b[1]) + a[2] * b[2]) + a[3] * b[3];
}

// The unit quaternion at `alpha` of the shortest way from a to b (x y z w, of any length but zero), into a.
// False, with a undefined, where one has no direction. Without a branch, so that compilers do several at once.
// No function of the maths library but sqrt: the others differ in their last bits.
RC_HD RC_INLINE bool slerp(double* a, double* b, double alpha) {
  const double norm2_a = dot4(a, a), norm2_b = dot4(b, b);
  const double norm_a = std::sqrt(norm2_a), norm_b = std::sqrt(norm2_b);
  double difference[4], sum[4];
  for (int i = 0; i < 4; ++i) {
    a[i] = a[i] / norm_a;
    b[i] = b[i] / norm_b;
  }
  const double sign = dot4(a, b) < 0.0 ? -1.0 : 1.0;
  for (int i = 0; i < 4; ++i) {
    b[i] = b[i] * sign;
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
  return (norm2_a > 0.0) & (norm2_a < HUGE_VAL) & (norm2_b > 0.0) & (norm2_b < HUGE_VAL);
}

// The first stamp that is smaller than the one before it: of stream `stream`, stamps[batch, sample].
struct Descent {
  int64_t stream, batch, sample;
};
constexpr Descent kNoDescent{-1, 0, 0};

// The CPU's loops (resampling_cpu.cpp): all streams at the targets [batch, num_targets] (strides in elements), each
// read by its own of `readings`. out [batch, num_targets, sum of the widths] of type out_type, valid [batch,
// num_targets, num_streams]. sort: stamps may be in any order; else they are checked, and where one descends nothing is
// written.
Descent fuse_cpu(const Stream* streams, const Reading* readings, int64_t num_streams, int64_t batch,
                 const int64_t* targets, int64_t num_targets, const int64_t* target_strides, bool sort, void* out,
                 ScalarType out_type, bool* valid);

// The same on a GPU (resampling_cuda.cu), to which every address is the device's but those of the arrays of streams,
// orders and readings. orders [num_streams]: for each sample of ascending stamps, which of the values it has; with the
// strides of the stamps; null: their own.
void fuse_cuda(const GpuStream& gpu, const Stream* streams, const int64_t* const* orders, const Reading* readings,
               int64_t num_streams, int64_t batch, const int64_t* targets, int64_t num_targets,
               const int64_t* target_strides, void* out, ScalarType out_type, bool* valid);

// The first stamp that descends; waits for the device.
Descent find_descent_cuda(const GpuStream& gpu, const Stream* streams, int64_t num_streams, int64_t batch);

}  // namespace robocache
