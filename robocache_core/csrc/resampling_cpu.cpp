// SPDX-License-Identifier: Apache-2.0
// Resampling on the CPU: blocks of targets, stream by stream, spread over the pool.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "pool.hpp"
#include "resampling.hpp"
#include "simd.hpp"

namespace robocache {
namespace {

constexpr int64_t kBlock = 64;              // targets that are read together
constexpr int64_t kGrain = 1 << 17;         // elements that are worth waking another thread
constexpr int64_t kPickCost = 32;           // elements that take as long as finding a target's samples
constexpr int64_t kStampsAtOnce = 1 << 10;  // checked between two looks at the result

// --- time

struct SortedStamp {
  int64_t stamp, sample;
};

// Kept by each calling thread, so that only the first call allocates.
struct Scratch {
  std::vector<int64_t> begins;  // [stream, batch] of the sorted stamps in `sorted`; -1: they ascend as they are
  std::vector<SortedStamp> sorted;
};

// found: whether a stamp is smaller than the one before it.
struct FindDescent {
  static inline void run(const int64_t* stamps, int64_t stride, int64_t size, bool* found) {
    *found = false;
    if (stride != 1) {
      for (int64_t i = 1; stride != 0 && i < size && !*found; ++i)
        *found = stamps[i * stride] < stamps[(i - 1) * stride];
      return;
    }
    for (int64_t begin = 1; begin < size && !*found; begin += kStampsAtOnce) {
      const int64_t end = std::min(size, begin + kStampsAtOnce);
      int64_t any = 0;
      for (int64_t i = begin; i < end; ++i) any |= stamps[i] < stamps[i - 1];
      *found = any != 0;
    }
  }
};

bool descends(const int64_t* stamps, int64_t stride, int64_t size) {
  bool found;
  run_at<FindDescent>(simd_level(), stamps, stride, size, &found);
  return found;
}

class Timelines {
 public:
  Timelines(const Stream* streams, int64_t num_streams, int64_t batch, Scratch& scratch)
      : streams_(streams), num_streams_(num_streams), batch_(batch), scratch_(scratch) {
    scratch_.begins.assign(num_streams * batch, -1);
    for (int64_t n = 0; n < num_streams; ++n) {
      const Stream& s = streams[n];
      const int64_t rows = s.stamp_strides[0] == 0 ? std::min<int64_t>(batch, 1) : batch;
      parallel_for(rows, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, s.samples)),
                   [&](int64_t begin, int64_t end, int) {
                     for (int64_t b = begin; b < end; ++b) {
                       if (descends(row(n, b), s.stamp_strides[1], s.samples)) scratch_.begins[index(n, b)] = 0;
                     }
                   });
    }
  }

  Descent first_descent() const {
    const auto found = std::find(scratch_.begins.begin(), scratch_.begins.end(), 0);
    if (found == scratch_.begins.end()) return kNoDescent;
    const int64_t n = (found - scratch_.begins.begin()) / batch_, b = (found - scratch_.begins.begin()) % batch_;
    const int64_t* stamps = row(n, b);
    const int64_t stride = streams_[n].stamp_strides[1];
    int64_t i = 1;
    while (stamps[i * stride] >= stamps[(i - 1) * stride]) ++i;
    return {n, b, i};
  }

  void sort() {
    int64_t size = 0;
    for (int64_t i = 0; i < num_streams_ * batch_; ++i) {
      if (scratch_.begins[i] < 0) continue;
      scratch_.begins[i] = size;
      size += streams_[i / batch_].samples;
    }
    if (size == 0) return;
    scratch_.sorted.resize(std::max<size_t>(scratch_.sorted.size(), size));
    parallel_for(num_streams_ * batch_, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        if (scratch_.begins[i] >= 0) sort_row(i / batch_, i % batch_, &scratch_.sorted[scratch_.begins[i]]);
      }
    });
  }

  Timeline operator()(int64_t n, int64_t b) const {
    const Stream& s = streams_[n];
    const int64_t begin = scratch_.begins[index(n, b)];
    if (begin < 0) return {row(n, b), nullptr, s.stamp_strides[1], s.samples};
    const SortedStamp* sorted = &scratch_.sorted[begin];
    return {&sorted->stamp, &sorted->sample, 2, s.samples};
  }

 private:
  int64_t index(int64_t n, int64_t b) const { return n * batch_ + (streams_[n].stamp_strides[0] == 0 ? 0 : b); }

  const int64_t* row(int64_t n, int64_t b) const {
    return streams_[n].samples == 0 ? nullptr : streams_[n].stamps + b * streams_[n].stamp_strides[0];
  }

  void sort_row(int64_t n, int64_t b, SortedStamp* sorted) const {
    const Stream& s = streams_[n];
    for (int64_t i = 0; i < s.samples; ++i) sorted[i] = {row(n, b)[i * s.stamp_strides[1]], i};
    std::sort(sorted, sorted + s.samples, [](const SortedStamp& first, const SortedStamp& second) {
      return first.stamp != second.stamp ? first.stamp < second.stamp : first.sample < second.sample;
    });
  }

  const Stream* streams_;
  int64_t num_streams_, batch_;
  Scratch& scratch_;
};

// Targets mostly ascend, so the search goes on from where the last one ended.
void pick_block(const Reading& reading, const Timeline& line, const int64_t* targets, int64_t stride, int64_t count,
                Pick* picks) {
  int64_t position = guess_position(line, targets[0]);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t target = targets[i * stride];
    position = gallop(line, target, position);
    picks[i] = pick_samples(reading, line, target, position);
  }
}

// --- values

// Rows [count, width] of one stream in one batch at `picks`, `stride` elements apart, and whether each is valid.
struct Rows {
  const Stream& stream;
  const Reading& reading;
  const void* values;
  const Pick* picks;
  int64_t count;
  void* out;
  int64_t stride;
  bool* valid;
  int64_t valid_stride;
};

// Held samples keep their bits where the type does not change.
template <class From, class To>
RC_INLINE void copy_row(const Stream& s, const From* values, int64_t sample, To* out) {
  if (sample == kNoSample) {
    std::fill(out, out + s.width, To{});
    return;
  }
  const From* row = values + sample * s.value_strides[1];
  const int64_t stride = s.value_strides[2];
  if constexpr (std::is_same_v<From, To>) {
    if (stride == 1) {
      std::memcpy(out, row, s.width * sizeof(To));
      return;
    }
    for (int64_t d = 0; d < s.width; ++d) out[d] = row[d * stride];
  } else {
    for (int64_t d = 0; d < s.width; ++d) out[d] = from_float<To>(to_float(row[d * stride]));
  }
}

template <class From, class To>
struct LerpRows {
  static inline void run(const Rows& rows) {
    const Stream& s = rows.stream;
    const From* values = static_cast<const From*>(rows.values);
    const int64_t stride = s.value_strides[2];
    for (int64_t i = 0; i < rows.count; ++i) {
      const Pick& pick = rows.picks[i];
      To* out = static_cast<To*>(rows.out) + i * rows.stride;
      rows.valid[i * rows.valid_stride] = pick.valid;
      if (pick.from == pick.to) {
        copy_row(s, values, pick.from, out);
        continue;
      }
      const From* a = values + pick.from * s.value_strides[1];
      const From* b = values + pick.to * s.value_strides[1];
      const float alpha = pick.alpha;
      if (stride == 1) {
        for (int64_t d = 0; d < s.width; ++d)
          out[d] = from_float<To>(lerp_values(to_float(a[d]), to_float(b[d]), alpha));
      } else {
        for (int64_t d = 0; d < s.width; ++d)
          out[d] = from_float<To>(lerp_values(to_float(a[d * stride]), to_float(b[d * stride]), alpha));
      }
    }
  }
};

template <class From, class To>
void write_rows(const Rows& rows) {
  run_at<LerpRows<From, To>, const Rows&>(simd_level(), rows);
}

// Pairs of quaternions, and what is between them (in place of the first of each).
struct Quaternions {
  double a[4][kBlock], b[4][kBlock], alpha[kBlock];
  uint8_t has_direction[kBlock];
  int64_t row[kBlock], size = 0;
};

struct SlerpPairs {
  static inline void run(Quaternions* all) {
    for (int64_t i = 0; i < all->size; ++i) {
      double a[4] = {all->a[0][i], all->a[1][i], all->a[2][i], all->a[3][i]};
      double b[4] = {all->b[0][i], all->b[1][i], all->b[2][i], all->b[3][i]};
      all->has_direction[i] = slerp(a, b, all->alpha[i]);
      for (int d = 0; d < 4; ++d) all->a[d][i] = a[d];
    }
  }
};

template <class From, class To>
void write_slerp_rows(const Rows& rows) {
  const Stream& s = rows.stream;
  const From* values = static_cast<const From*>(rows.values);
  Quaternions all;
  for (int64_t i = 0; i < rows.count; ++i) {
    const Pick& pick = rows.picks[i];
    if (pick.from == pick.to) {
      rows.valid[i * rows.valid_stride] = pick.valid;
      copy_row(s, values, pick.from, static_cast<To*>(rows.out) + i * rows.stride);
      continue;
    }
    for (int64_t d = 0; d < 4; ++d) {
      all.a[d][all.size] = to_float(values[pick.from * s.value_strides[1] + d * s.value_strides[2]]);
      all.b[d][all.size] = to_float(values[pick.to * s.value_strides[1] + d * s.value_strides[2]]);
    }
    all.alpha[all.size] = pick.alpha;
    all.row[all.size++] = i;
  }
  run_at<SlerpPairs>(simd_level(), &all);
  for (int64_t j = 0; j < all.size; ++j) {
    const int64_t i = all.row[j];
    To* out = static_cast<To*>(rows.out) + i * rows.stride;
    rows.valid[i * rows.valid_stride] = all.has_direction[j] != 0;
    if (all.has_direction[j] == 0) {
      copy_row(s, values, give_up(rows.reading, rows.picks[i]).from, out);
      continue;
    }
    for (int d = 0; d < 4; ++d) out[d] = from_float<To>(static_cast<float>(all.a[d][j]));
  }
}

using WriteRows = void (*)(const Rows&);

template <class From>
WriteRows writer_from(ScalarType to, bool is_slerp) {
  switch (to) {
    case ScalarType::kFloat32:
      return is_slerp ? write_slerp_rows<From, float> : write_rows<From, float>;
    case ScalarType::kFloat16:
      return is_slerp ? write_slerp_rows<From, Half> : write_rows<From, Half>;
    case ScalarType::kBFloat16:
      return is_slerp ? write_slerp_rows<From, BFloat16> : write_rows<From, BFloat16>;
  }
  return nullptr;
}

WriteRows writer(ScalarType from, ScalarType to, bool is_slerp) {
  switch (from) {
    case ScalarType::kFloat32:
      return writer_from<float>(to, is_slerp);
    case ScalarType::kFloat16:
      return writer_from<Half>(to, is_slerp);
    case ScalarType::kBFloat16:
      return writer_from<BFloat16>(to, is_slerp);
  }
  return nullptr;
}

int64_t size_of(ScalarType type) { return type == ScalarType::kFloat32 ? 4 : 2; }

const void* batch_values(const Stream& s, int64_t b) {
  if (s.samples == 0 || s.width == 0) return nullptr;
  return static_cast<const uint8_t*>(s.values) + b * s.value_strides[0] * size_of(s.type);
}

}  // namespace

Descent fuse_cpu(const Stream* streams, const Reading* readings, int64_t num_streams, int64_t batch,
                 const int64_t* targets, int64_t num_targets, const int64_t* target_strides, bool sort, void* out,
                 ScalarType out_type, bool* valid) {
  static thread_local Scratch scratch;
  Timelines timelines(streams, num_streams, batch, scratch);
  if (sort) {
    timelines.sort();
  } else if (const Descent descent = timelines.first_descent(); descent.stream >= 0) {
    return descent;
  }

  int64_t row_width = 0;
  bool same_times = target_strides[0] == 0;
  for (int64_t n = 0; n < num_streams; ++n) {
    row_width += streams[n].width;
    same_times = same_times && streams[n].stamp_strides[0] == 0;
  }
  // Where all batches have the same times, their samples are found once.
  const int64_t batches = same_times && num_targets >= kBlock / 4 ? batch : 1;
  const int64_t rows = batch == 0 ? 0 : batch / batches * num_targets;
  const int64_t row_cost = batches * row_width + num_streams * kPickCost;
  parallel_for(rows, std::max<int64_t>(1, kGrain / row_cost), [&](int64_t begin, int64_t end, int) {
    Pick picks[kBlock];
    for (int64_t row = begin, count; row < end; row += count) {
      const int64_t first_batch = row / num_targets, t = row % num_targets;
      count = std::min({kBlock, end - row, num_targets - t});
      int64_t column = 0;
      for (int64_t n = 0; n < num_streams; ++n) {
        const Stream& s = streams[n];
        const WriteRows write = writer(s.type, out_type, readings[n].method == Method::kSlerp);
        pick_block(readings[n], timelines(n, first_batch),
                   targets + first_batch * target_strides[0] + t * target_strides[1], target_strides[1], count, picks);
        for (int64_t b = first_batch; b < first_batch + batches; ++b) {
          const int64_t out_row = b * num_targets + t;
          write({s, readings[n], batch_values(s, b), picks, count,
                 static_cast<uint8_t*>(out) + (out_row * row_width + column) * size_of(out_type), row_width,
                 valid + out_row * num_streams + n, num_streams});
        }
        column += s.width;
      }
    }
  });
  return kNoDescent;
}

}  // namespace robocache
