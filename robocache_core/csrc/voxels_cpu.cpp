// SPDX-License-Identifier: Apache-2.0
// Voxelization on the CPU.
//
// Blocks of points are read, tested and placed. Neighbours in the cloud that fall in one voxel become one run at once,
// and runs that are near each other, as in a lidar's scan, one record; records are sorted by voxel; those of a voxel
// are merged and its channels written. All that is merged are integers, so neither blocks nor threads show in the
// result.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "point_block.hpp"
#include "pool.hpp"
#include "simd.hpp"
#include "voxel_records.hpp"
#include "voxels.hpp"

namespace robocache {
namespace {

constexpr int32_t kRun = 16;  // most points of a record

// A record's first two words are 64 bits that hold its number of points less 1 (4 bits) and the sums of their three
// offset terms (20 bits each, which hold 16 terms of 16 bits), so that one addition merges a point. A 64-bit sum for
// each mean follows, then the maxima.
constexpr int kCountShift = 60, kOffsetBits = 20;
constexpr uint64_t kOnePoint = uint64_t{1} << kCountShift, kOffsetMask = (uint64_t{1} << kOffsetBits) - 1;

// A voxel's points come near each other in a cloud, if not next to each other, as from a lidar that fires its rings in
// turn. Records that still take runs are open, each in the slot of its key: so few that they stay in a core's
// first-level cache.
constexpr int kSlotBits = 10;
constexpr uint32_t kSlots = 1u << kSlotBits, kNoKey = ~0u;

uint32_t slot_of(uint32_t key) { return (key * 0x9e3779b1u) >> (32 - kSlotBits); }

template <class T>
T load_words(const int32_t* words) {
  return load_bytes<T>(reinterpret_cast<const uint8_t*>(words));
}

struct Words {
  int means = 0, maxima = 0;
  int mean_of[kMaxChannels];  // which of the means has the sum of a slot

  int size() const { return 2 + 2 * means + maxima; }
};

Words make_words(const VoxelParams& params) {
  Words words;
  for (int c = 0; c < params.num_channels; ++c)
    if (params.channels[c].kind == ChannelKind::kMean) words.mean_of[params.channels[c].slot] = words.means++;
  words.maxima = params.num_maxima;
  return words;
}

// Voxels in columns.
struct VoxelBlock {
  uint32_t index[kBlock];
  int64_t points[kBlock];
  int64_t offsets[3][kBlock], means[kMaxChannels][kBlock];  // sums
  int32_t maxima[kMaxChannels][kBlock];
  int32_t count[kBlock];  // the points
  float channel[kBlock];  // of the voxels, one after the other
};

struct ThreadScratch {
  PointBlock points;
  uint64_t packed[kBlock];                                            // the points' offset terms
  int32_t means[kMaxChannels][kBlock], maxima[kMaxChannels][kBlock];  // their other terms
  uint32_t run_keys[kBlock];
  Buffer<int32_t> runs;          // [kBlock, words]
  uint32_t open_keys[kSlots];    // kNoKey but while points are read
  Buffer<int32_t> open_records;  // [kSlots, words]
  VoxelBlock voxels;
  int64_t dropped[kNumDrops];

  ThreadScratch() { std::fill_n(open_keys, kSlots, kNoKey); }
};

VoxelScratch<ThreadScratch>& scratch() {
  static thread_local VoxelScratch<ThreadScratch> instance;
  return instance;
}

// --- points to records

struct OffsetTerms {
  RC_INLINE static void run(const PointBlock* points, uint64_t* packed) {
    const float *x = points->fraction[0], *y = points->fraction[1], *z = points->fraction[2];
    for (int32_t i = 0; i < kBlock; ++i) {
      const uint64_t tx = static_cast<uint32_t>(offset_term(x[i])), ty = static_cast<uint32_t>(offset_term(y[i])),
                     tz = static_cast<uint32_t>(offset_term(z[i]));
      packed[i] = tx | ty << kOffsetBits | tz << (2 * kOffsetBits);
    }
  }
};

struct MeanTerms {
  RC_INLINE static void run(const float* values, double inverse_quantum, uint32_t most_mean, int32_t* term,
                            int32_t* drop) {
    for (int32_t i = 0; i < kBlock; ++i) {
      term[i] = mean_term(values[i], inverse_quantum, most_mean);
      drop[i] = ((drop[i] == kKept) & !has_term(values[i], most_mean)) ? kOverflow : drop[i];
    }
  }
};

// sign: 0 for a maximum, -1 for a minimum.
struct ExtremeTerms {
  RC_INLINE static void run(const float* values, int32_t sign, int32_t* term) {
    for (int32_t i = 0; i < kBlock; ++i) term[i] = ordered_int(values[i]) ^ sign;
  }
};

void make_terms(const VoxelParams& params, const Words& words, ThreadScratch* t) {
  const Simd level = simd_level();
  const PointBlock* const points = &t->points;
  uint64_t* const packed = t->packed;
  run_at<OffsetTerms>(level, points, packed);
  for (int c = 0; c < params.num_channels; ++c) {
    const Channel channel = params.channels[c];
    if (channel.kind == ChannelKind::kMean) {
      const float* const values = points->values[channel.source];
      int32_t *const term = t->means[words.mean_of[channel.slot]], *const drop = t->points.drop;
      run_at<MeanTerms>(level, values, params.inverse_quantum, params.most_mean, term, drop);
    } else if (channel.kind == ChannelKind::kMax || channel.kind == ChannelKind::kMin) {
      const float* const values = points->values[channel.source];
      const int32_t sign = channel.kind == ChannelKind::kMax ? 0 : -1;
      int32_t* const term = t->maxima[channel.slot];
      run_at<ExtremeTerms>(level, values, sign, term);
    }
  }
}

// Makes runs of the kept points, points that follow each other in one voxel; returns how many.
//
// kMeans, kMaxima: how many there are, where the compiler is to know.
template <int kMeans, int kMaxima>
int64_t make_runs(const Words& words, ThreadScratch* t) {
  const int num_means = kMeans >= 0 ? kMeans : words.means, num_maxima = kMaxima >= 0 ? kMaxima : words.maxima;
  const int size = 2 + 2 * num_means + num_maxima;
  uint32_t* const keys = t->run_keys;
  int32_t* const runs = t->runs.data();
  uint64_t packed = 0;
  int64_t means[kMeans >= 0 ? kMeans + 1 : kMaxChannels] = {};
  int32_t maxima[kMaxima >= 0 ? kMaxima + 1 : kMaxChannels] = {};
  uint32_t last = 0;
  int64_t at = -1;
  for (int32_t k = 0; k < t->points.kept; ++k) {
    const int32_t i = t->points.order[k];
    const uint32_t key = t->points.index[i];
    const bool same = (key == last) & (k % kRun != 0);
    const int64_t keep = same ? -1 : 0;
    last = key;
    at += !same;
    keys[at] = key;
    int32_t* const run = runs + at * size;
    packed = (packed & static_cast<uint64_t>(keep)) + (t->packed[i] + (kOnePoint & static_cast<uint64_t>(keep)));
    std::memcpy(run, &packed, sizeof packed);
    for (int m = 0; m < num_means; ++m) means[m] = (means[m] & keep) + t->means[m][i];
    std::memcpy(run + 2, means, num_means * sizeof *means);
    for (int m = 0; m < num_maxima; ++m)
      run[2 + 2 * num_means + m] = maxima[m] = std::max(same ? maxima[m] : INT32_MIN, t->maxima[m][i]);
  }
  return at + 1;
}

// Adds runs to the open records. One makes way for a run of another voxel, or that has no room in it: it is written.
// Returns how many were.
template <int kMeans, int kMaxima>
int64_t add_runs(const Words& words, int64_t num_runs, ThreadScratch* t, uint32_t* keys, int32_t* records) {
  const int num_means = kMeans >= 0 ? kMeans : words.means, num_maxima = kMaxima >= 0 ? kMaxima : words.maxima;
  const int size = 2 + 2 * num_means + num_maxima;
  const uint32_t* const run_keys = t->run_keys;
  const int32_t* run = t->runs.data();
  uint32_t* const open_keys = t->open_keys;
  int32_t* const open_records = t->open_records.data();
  int64_t at = 0;
  for (int64_t k = 0; k < num_runs; ++k, run += size) {
    const uint32_t key = run_keys[k], slot = slot_of(key);
    int32_t* const open = open_records + slot * size;
    const uint32_t before = std::exchange(open_keys[slot], key);
    const uint64_t held = load_words<uint64_t>(open), packed = load_words<uint64_t>(run);
    const bool same = (before == key) & ((held >> kCountShift) + (packed >> kCountShift) < kRun - 1);
    const int64_t keep = same ? -1 : 0;
    keys[at] = before;
    std::memcpy(records + at * size, open, size * sizeof *open);
    at += !same & (before != kNoKey);
    const uint64_t merged = packed + ((held + kOnePoint) & static_cast<uint64_t>(keep));
    std::memcpy(open, &merged, sizeof merged);
    for (int m = 2; m < 2 + 2 * num_means; m += 2) {
      const int64_t sum = (load_words<int64_t>(open + m) & keep) + load_words<int64_t>(run + m);
      std::memcpy(open + m, &sum, sizeof sum);
    }
    for (int m = 2 + 2 * num_means; m < size; ++m) open[m] = std::max(same ? open[m] : INT32_MIN, run[m]);
  }
  return at;
}

// Writes the records that are still open; returns how many.
int64_t close_records(const Words& words, ThreadScratch* t, uint32_t* keys, int32_t* records) {
  const int size = words.size();
  int64_t at = 0;
  for (uint32_t slot = 0; slot < kSlots; ++slot) {
    const uint32_t key = std::exchange(t->open_keys[slot], kNoKey);
    if (key == kNoKey) continue;
    keys[at] = key;
    std::copy_n(t->open_records.data() + slot * size, size, records + at++ * size);
  }
  return at;
}

// Merges the records of a group into voxels; calls emit(size) whenever `voxels` has as many, in order of index.
template <int kMeans, int kMaxima, class Emit>
void merge_records(const RecordSort& sorted, const RecordSort::Group& group, const Words& words, VoxelBlock* voxels,
                   Emit emit) {
  const int num_means = kMeans >= 0 ? kMeans : words.means, num_maxima = kMaxima >= 0 ? kMaxima : words.maxima;
  const int size = 2 + 2 * num_means + num_maxima;
  const uint32_t* const keys = sorted.sorted_keys(group);
  const int32_t* const records = sorted.sorted_words(group);
  int64_t points = 0, offsets[3] = {};
  int64_t means[kMeans >= 0 ? kMeans + 1 : kMaxChannels] = {};
  int32_t maxima[kMaxima >= 0 ? kMaxima + 1 : kMaxChannels] = {};
  uint32_t last = ~keys[0];
  int32_t at = -1;
  for (int64_t i = 0; i < group.size; ++i) {
    const uint32_t key = keys[i];
    const bool same = key == last;
    const int64_t keep = same ? -1 : 0;
    last = key;
    at += !same;
    if (at == kBlock) {
      emit(kBlock);
      at = 0;
    }
    const int32_t* const record = records + i * size;
    const uint64_t packed = load_words<uint64_t>(record);
    voxels->index[at] = key;
    voxels->points[at] = points = (points & keep) + static_cast<int64_t>(packed >> kCountShift) + 1;
    for (int k = 0; k < 3; ++k) {
      const int64_t sum = static_cast<int64_t>((packed >> (k * kOffsetBits)) & kOffsetMask);
      voxels->offsets[k][at] = offsets[k] = (offsets[k] & keep) + sum;
    }
    for (int m = 0; m < num_means; ++m) {
      const int64_t sum = load_words<int64_t>(record + 2 + 2 * m);
      voxels->means[m][at] = means[m] = (means[m] & keep) + sum;
    }
    for (int m = 0; m < num_maxima; ++m)
      voxels->maxima[m][at] = maxima[m] = std::max(same ? maxima[m] : INT32_MIN, record[2 + 2 * num_means + m]);
  }
  emit(at + 1);
}

// Calls work(means, maxima) with their numbers as constants where that pays: in the usual channels.
template <class Work>
void with_words(const Words& words, Work work) {
  using std::integral_constant;
  const auto is = [&](int means, int maxima) { return words.means == means && words.maxima == maxima; };
  if (is(0, 0)) return work(integral_constant<int, 0>{}, integral_constant<int, 0>{});
  if (is(0, 1)) return work(integral_constant<int, 0>{}, integral_constant<int, 1>{});
  if (is(1, 0)) return work(integral_constant<int, 1>{}, integral_constant<int, 0>{});
  work(integral_constant<int, -1>{}, integral_constant<int, -1>{});
}

// --- voxels to channels

struct Counts {
  RC_INLINE static void run(const int64_t* sum, int32_t size, int32_t* count) {
    for (int32_t i = 0; i < size; ++i) count[i] = static_cast<int32_t>(sum[i]);
  }
};

struct Densities {
  RC_INLINE static void run(double inverse_volume, const int32_t* count, int32_t size, float* out) {
    for (int32_t i = 0; i < size; ++i) out[i] = density_of(inverse_volume, count[i]);
  }
};

struct MeanOffsets {
  RC_INLINE static void run(double edge, const int64_t* sum, const int32_t* count, int32_t size, float* out) {
    for (int32_t i = 0; i < size; ++i) out[i] = mean_offset_of(edge, sum[i], count[i]);
  }
};

struct Means {
  RC_INLINE static void run(double quantum, const int64_t* sum, const int32_t* count, int32_t size, float* out) {
    for (int32_t i = 0; i < size; ++i) out[i] = mean_of(quantum, sum[i], count[i]);
  }
};

// Writes a channel of `size` voxels to v->channel.
void make_channel(const VoxelParams& params, const Words& words, Channel channel, int32_t size, VoxelBlock* v) {
  const Simd level = simd_level();
  const int32_t* const count = v->count;
  float* const out = v->channel;
  switch (channel.kind) {
    case ChannelKind::kCount:
      std::copy_n(count, size, out);
      break;
    case ChannelKind::kOccupancy:
      std::fill_n(out, size, 1.0f);
      break;
    case ChannelKind::kDensity:
      run_at<Densities>(level, params.inverse_volume, count, size, out);
      break;
    case ChannelKind::kMeanOffset: {
      const int64_t* const sum = v->offsets[channel.source];
      run_at<MeanOffsets>(level, params.size[channel.source], sum, count, size, out);
      break;
    }
    case ChannelKind::kMean: {
      const int64_t* const sum = v->means[words.mean_of[channel.slot]];
      run_at<Means>(level, params.quantum, sum, count, size, out);
      break;
    }
    case ChannelKind::kMax:
      std::transform(v->maxima[channel.slot], v->maxima[channel.slot] + size, out, max_of);
      break;
    case ChannelKind::kMin:
      std::transform(v->maxima[channel.slot], v->maxima[channel.slot] + size, out, min_of);
      break;
  }
}

// --- both kinds of result

// Sorts the records of the cloud's points; returns the threads that may take part.
int sort_points(const VoxelParams& params, const Words& words, const Cloud& cloud, VoxelScratch<ThreadScratch>& s) {
  const int max_threads = s.reserve_threads(cloud);
  for (ThreadScratch& t : s.threads) {
    t.runs.reserve(kBlock * words.size());
    t.open_records.reserve(kSlots * words.size());
  }
  const auto write = [&](ThreadScratch& t, uint32_t* keys, int32_t* records) {
    make_terms(params, words, &t);
    list_kept(&t.points, t.dropped);
    int64_t size = 0;
    with_words(words, [&](auto means, auto maxima) {
      const int64_t num_runs = make_runs<means.value, maxima.value>(words, &t);
      size = add_runs<means.value, maxima.value>(words, num_runs, &t, keys, records);
    });
    return size;
  };
  const auto close = [&](ThreadScratch& t, uint32_t* keys, int32_t* records) {
    return close_records(words, &t, keys, records);
  };
  s.sort_points(params.points, params.box, cloud, words.size(), max_threads, write, close);
  return max_threads;
}

// Calls emit(group, done, size, t) for blocks of voxels in t->voxels, the `done` before them in the group not counted.
template <class Emit>
void for_each_voxel_block(const Words& words, int max_threads, VoxelScratch<ThreadScratch>& s, Emit emit) {
  const std::vector<RecordSort::Group>& groups = s.records.groups();
  const auto merge_groups = [&](int64_t begin, int64_t end, int thread) {
    ThreadScratch& t = s.threads[thread];
    for (int64_t g = begin; g < end; ++g) {
      int64_t done = 0;
      const auto emit_block = [&](int32_t size) {
        const int64_t* const counts = t.voxels.points;
        int32_t* const count = t.voxels.count;
        run_at<Counts>(simd_level(), counts, size, count);
        emit(g, done, size, &t);
        done += size;
      };
      with_words(words, [&](auto means, auto maxima) {
        merge_records<means.value, maxima.value>(s.records, groups[g], words, &t.voxels, emit_block);
      });
    }
  };
  parallel_for(static_cast<int64_t>(groups.size()), 1, merge_groups, max_threads);
}

// index = (z * shape_y + y) * shape_x + x. Half a step above the quotient's floor, its rounding cannot reach the next.
struct Coordinates {
  RC_INLINE static void run(const uint32_t* index, uint32_t shape_x, uint32_t shape_y, int32_t size, int32_t* coords) {
    const double inverse_x = 1.0 / shape_x, inverse_y = 1.0 / shape_y;
    for (int32_t i = 0; i < size; ++i) {
      const int32_t linear = static_cast<int32_t>(index[i]);
      const int32_t zy = static_cast<int32_t>((linear + 0.5) * inverse_x);
      const int32_t z = static_cast<int32_t>((zy + 0.5) * inverse_y);
      coords[3 * i] = z;
      coords[3 * i + 1] = zy - z * static_cast<int32_t>(shape_y);
      coords[3 * i + 2] = linear - zy * static_cast<int32_t>(shape_x);
    }
  }
};

}  // namespace

void write_coords(const Box& box, const uint32_t* index, int32_t size, int32_t* coords) {
  run_at<Coordinates>(simd_level(), index, box.shape[0], box.shape[1], size, coords);
}

void voxelize_dense_cpu(const VoxelParams& params, const Cloud& cloud, float* tensor, int64_t* numbers) {
  VoxelScratch<ThreadScratch>& s = scratch();
  const Words words = make_words(params);
  const int max_threads = sort_points(params, words, cloud, s);
  const int64_t num_voxels = int64_t{params.box.shape[0]} * params.box.shape[1] * params.box.shape[2];
  const auto clear = [&](int64_t begin, int64_t end, int) { std::fill(tensor + begin, tensor + end, 0.0f); };
  parallel_for(num_voxels * params.num_channels, 1 << 18, clear, max_threads);
  for_each_voxel_block(words, max_threads, s, [&](int64_t, int64_t, int32_t size, ThreadScratch* t) {
    for (int c = 0; c < params.num_channels; ++c) {
      make_channel(params, words, params.channels[c], size, &t->voxels);
      float* const plane = tensor + c * num_voxels;
      for (int32_t i = 0; i < size; ++i) plane[t->voxels.index[i]] = t->voxels.channel[i];
    }
  });
  s.write_numbers(0, numbers);
}

void voxelize_sparse_cpu(const VoxelParams& params, const Cloud& cloud, int64_t capacity, int32_t* coords,
                         float* features, int32_t* counts, int64_t* numbers) {
  VoxelScratch<ThreadScratch>& s = scratch();
  const Words words = make_words(params);
  const int max_threads = sort_points(params, words, cloud, s);
  for_each_voxel_block(words, max_threads, s, [&](int64_t group, int64_t done, int32_t found, ThreadScratch* t) {
    const int64_t row = s.rows[group] + done;
    const int32_t size = static_cast<int32_t>(std::clamp<int64_t>(capacity - row, 0, found));
    VoxelBlock& v = t->voxels;
    for (int32_t i = size; i < found; ++i) t->dropped[kTableFull] += v.count[i];
    write_coords(params.box, v.index, size, coords + 3 * row);
    for (int c = 0; c < params.num_channels; ++c) {
      make_channel(params, words, params.channels[c], size, &v);
      float* const column = features + row * params.num_channels + c;
      for (int32_t i = 0; i < size; ++i) column[i * params.num_channels] = v.channel[i];
    }
    std::copy_n(v.count, size, counts + row);
  });
  s.write_numbers(std::min(s.num_voxels(), capacity), numbers);
}

}  // namespace robocache
