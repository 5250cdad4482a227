// SPDX-License-Identifier: Apache-2.0
// Resampling on the CPU: stream by stream, target by target.
#include <algorithm>
#include <cstdint>

#include "resample.hpp"

namespace robocache {
namespace {

// out [width] is row (b, t) of the stream's columns; returns whether it is valid.
template <class T>
bool resample_row(const Stream& s, int64_t b, int64_t target, T* out) {
  if (s.samples == 0) {
    std::fill(out, out + s.width, T{});
    return false;
  }
  const T* values = static_cast<const T*>(s.values) + b * s.value_strides[0];
  const int64_t stride = s.value_strides[2];
  const auto hold = [&](int64_t i) {
    const T* row = values + i * s.value_strides[1];
    for (int64_t d = 0; d < s.width; ++d) out[d] = row[d * stride];
  };
  const Pick pick = pick_samples(s, s.stamps + b * s.stamp_strides[0], target);
  if (pick.lower == pick.upper) {
    hold(pick.lower);
    return pick.valid;
  }
  const T* lower = values + pick.lower * s.value_strides[1];
  const T* upper = values + pick.upper * s.value_strides[1];
  if (s.method == Method::kSlerp) {
    double a[4], b4[4];
    for (int d = 0; d < 4; ++d) {
      a[d] = static_cast<double>(to_float(lower[d * stride]));
      b4[d] = static_cast<double>(to_float(upper[d * stride]));
    }
    if (!slerp(a, b4, static_cast<double>(pick.alpha))) {
      hold(pick.nearest);
      return false;
    }
    for (int d = 0; d < 4; ++d) out[d] = from_float<T>(static_cast<float>(a[d]));
    return true;
  }
  for (int64_t d = 0; d < s.width; ++d) {
    out[d] = from_float<T>(lerp_values(to_float(lower[d * stride]), to_float(upper[d * stride]), pick.alpha));
  }
  return pick.valid;
}

template <class T>
void fuse_type(const Stream* streams, int64_t num_streams, int64_t batch, const int64_t* targets, int64_t num_targets,
               const int64_t* target_strides, T* out, bool* valid) {
  int64_t row_width = 0;
  for (int64_t n = 0; n < num_streams; ++n) row_width += streams[n].width;
  int64_t column = 0;
  for (int64_t n = 0; n < num_streams; ++n) {
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t t = 0; t < num_targets; ++t) {
        const int64_t row = b * num_targets + t;
        const int64_t target = targets[b * target_strides[0] + t * target_strides[1]];
        valid[row * num_streams + n] = resample_row(streams[n], b, target, out + row * row_width + column);
      }
    }
    column += streams[n].width;
  }
}

}  // namespace

void fuse_cpu(const Stream* streams, int64_t num_streams, int64_t batch, const int64_t* targets, int64_t num_targets,
              const int64_t* target_strides, void* out, bool* valid) {
  const auto run = [&](auto* typed_out) {
    fuse_type(streams, num_streams, batch, targets, num_targets, target_strides, typed_out, valid);
  };
  switch (streams[0].type) {
    case ScalarType::kFloat32: return run(static_cast<float*>(out));
    case ScalarType::kFloat16: return run(static_cast<Half*>(out));
    case ScalarType::kBFloat16: return run(static_cast<BFloat16*>(out));
  }
}

}  // namespace robocache
