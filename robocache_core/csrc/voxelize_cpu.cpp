// SPDX-License-Identifier: Apache-2.0
// Voxelization on the CPU: every point to its voxel index, a radix sort by index, one pass over the runs.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "voxelize.hpp"

namespace robocache {
namespace {

// Kept from call to call, so that after the first scans nothing is allocated; it grows to the largest cloud seen.
struct Scratch {
  std::vector<uint64_t> keys, other;  // voxel index << 32 | number of the kept point
  std::vector<int32_t> terms;         // [kept points, num_sums + num_maxima]
};

Scratch& scratch() {
  static thread_local Scratch instance;
  return instance;
}

template <class T>
void grow(std::vector<T>& buffer, size_t size) {
  if (buffer.size() < size) buffer.resize(size);
}

// Writes keys and terms of the points that are kept; returns how many.
template <bool kPlainXyz>
size_t locate_points(const VoxelParams& params, const Cloud& cloud, Scratch& s, int64_t* dropped) {
  const int num_terms = params.num_sums + params.num_maxima;
  size_t kept = 0;
  for (int64_t r = 0; r < cloud.height; ++r) {
    const uint8_t* point = cloud.data + r * cloud.row_step;
    for (int64_t c = 0; c < cloud.width; ++c, point += cloud.point_step) {
      uint32_t index;
      const Drop drop = voxelize_point<kPlainXyz>(params, cloud.pose, point, &index, s.terms.data() + kept * num_terms);
      if (drop == kKept) {
        s.keys[kept] = static_cast<uint64_t>(index) << 32 | kept;
        ++kept;
      } else {
        ++dropped[drop];
      }
    }
  }
  return kept;
}

// Sorts the first `size` keys by their upper 32 bits, which are below `bound`.
void sort_keys(Scratch& s, size_t size, uint64_t bound) {
  constexpr int kBits = 11;
  constexpr size_t kBins = size_t{1} << kBits;
  for (int shift = 32; (bound - 1) >> (shift - 32) != 0; shift += kBits) {
    size_t ends[kBins] = {};
    for (size_t i = 0; i < size; ++i) ++ends[(s.keys[i] >> shift) & (kBins - 1)];
    size_t sum = 0;
    for (size_t& bin : ends) {
      const size_t count = bin;
      bin = sum;
      sum += count;
    }
    for (size_t i = 0; i < size; ++i) s.other[ends[(s.keys[i] >> shift) & (kBins - 1)]++] = s.keys[i];
    s.keys.swap(s.other);
  }
}

// Calls emit(index, count, sums, maxima) for every occupied voxel, in index order.
template <class Emit>
void for_each_voxel(const VoxelParams& params, const Cloud& cloud, int64_t* dropped, Emit emit) {
  std::fill(dropped, dropped + kNumDrops, 0);
  Scratch& s = scratch();
  const size_t num_points = static_cast<size_t>(cloud.width * cloud.height);
  const int num_terms = params.num_sums + params.num_maxima;
  grow(s.keys, num_points);
  grow(s.other, num_points);
  grow(s.terms, num_points * num_terms);

  bool plain = !params.swap;
  for (int i = 0; i < 3; ++i) plain = plain && params.fields[i].type == FieldType::kFloat32;
  const size_t kept = plain ? locate_points<true>(params, cloud, s, dropped)
                            : locate_points<false>(params, cloud, s, dropped);
  sort_keys(s, kept, uint64_t{params.shape[0]} * params.shape[1] * params.shape[2]);

  for (size_t i = 0; i < kept;) {
    const uint32_t index = static_cast<uint32_t>(s.keys[i] >> 32);
    int64_t sums[kMaxChannels] = {};
    int32_t maxima[kMaxChannels];
    std::fill(maxima, maxima + params.num_maxima, INT32_MIN);
    const size_t begin = i;
    for (; i < kept && static_cast<uint32_t>(s.keys[i] >> 32) == index; ++i) {
      const int32_t* terms = s.terms.data() + static_cast<size_t>(static_cast<uint32_t>(s.keys[i])) * num_terms;
      for (int k = 0; k < params.num_sums; ++k) sums[k] += terms[k];
      for (int k = 0; k < params.num_maxima; ++k) maxima[k] = std::max(maxima[k], terms[params.num_sums + k]);
    }
    emit(index, static_cast<int32_t>(i - begin), sums, maxima);
  }
}

}  // namespace

void voxelize_dense_cpu(const VoxelParams& params, const Cloud& cloud, float* tensor, int64_t* dropped) {
  const size_t num_voxels = size_t{params.shape[0]} * params.shape[1] * params.shape[2];
  std::fill(tensor, tensor + num_voxels * params.num_channels, 0.0f);
  for_each_voxel(params, cloud, dropped,
                 [&](uint32_t index, int32_t count, const int64_t* sums, const int32_t* maxima) {
                   for (int c = 0; c < params.num_channels; ++c)
                     tensor[c * num_voxels + index] = voxel_channel(params, params.channels[c], count, sums, maxima);
                 });
}

int64_t voxelize_sparse_cpu(const VoxelParams& params, const Cloud& cloud, int64_t capacity, int32_t* coords,
                            float* features, int32_t* counts, int64_t* dropped) {
  int64_t size = 0;
  for_each_voxel(params, cloud, dropped,
                 [&](uint32_t index, int32_t count, const int64_t* sums, const int32_t* maxima) {
                   if (size == capacity) {
                     dropped[kTableFull] += count;
                     return;
                   }
                   int32_t* coord = coords + 3 * size;
                   coord[2] = static_cast<int32_t>(index % params.shape[0]);
                   index /= params.shape[0];
                   coord[1] = static_cast<int32_t>(index % params.shape[1]);
                   coord[0] = static_cast<int32_t>(index / params.shape[1]);
                   for (int c = 0; c < params.num_channels; ++c)
                     features[size * params.num_channels + c] =
                         voxel_channel(params, params.channels[c], count, sums, maxima);
                   counts[size++] = count;
                 });
  return size;
}

}  // namespace robocache
