// SPDX-License-Identifier: Apache-2.0
// Hard voxels on the GPU: the points sorted by row and distance to the voxel's centre; of equally distant ones each
// counts those before it.
#include <algorithm>
#include <cstdint>
#include <cub/device/device_radix_sort.cuh>

#include "voxel_rows.cuh"

namespace robocache {
namespace {

constexpr const char* kOperation = "voxelize_hard";

// Points [num_points] by key: the row in the upper half (max_rows: dropped), the distance's bits in the lower.
struct Sorted {
  const uint64_t* keys;
  const uint32_t* points;
  int64_t num_points;

  __device__ uint32_t row(int64_t i) const { return static_cast<uint32_t>(keys[i] >> 32); }

  // The first of [begin, i] whose key is that of i.
  __device__ int64_t first_as_near(int64_t begin, int64_t i) const { return position(keys[i], begin, i); }

  // The end of those whose key is that of i.
  __device__ int64_t end_of_as_near(int64_t i) const {
    const bool is_last = i + 1 == num_points || keys[i + 1] != keys[i];  // as it mostly is
    return is_last ? i + 1 : position(keys[i] + 1, i + 1, num_points);
  }

 private:
  // The first of [begin, end) whose key is not below `key`, else `end`.
  __device__ int64_t position(uint64_t key, int64_t begin, int64_t end) const {
    while (begin < end) {
      const int64_t middle = begin + (end - begin) / 2;
      if (keys[middle] < key) {
        begin = middle + 1;
      } else {
        end = middle;
      }
    }
    return begin;
  }
};

struct Scratch {
  RowsScratch rows;
  GpuMemory keys, points, sorted_keys, sorted_points, sort, row_begin;
};

template <bool kPlain>
__global__ void write_keys(const __grid_constant__ HardParams params, const __grid_constant__ GpuCloud cloud,
                           const __grid_constant__ VoxelRows rows, int64_t num_points, uint64_t* keys,
                           uint32_t* points) {
  const int64_t i = thread_number();
  if (i >= num_points) return;
  const uint32_t voxel = rows.voxels[i];
  uint64_t key = static_cast<uint64_t>(rows.max_rows) << 32;
  if (voxel != kNoVoxel) {
    const GpuPoint point = read_point<kPlain>(params.points, cloud, bytes_of_point(cloud.cloud, i));
    const Place place = place_in(params.box, point.x, point.y, point.z);
    key = static_cast<uint64_t>(rows.row_of(voxel)) << 32 | bits_of(distance2_to_centre(place.fraction, params.size));
  }
  keys[i] = key;
  points[i] = static_cast<uint32_t>(i);
}

// A thread a sorted point, and one more: the first of a row says where the row begins. row_begin [rows + 1].
__global__ void find_begins(const __grid_constant__ Sorted sorted, const __grid_constant__ VoxelRows rows,
                            int64_t* row_begin) {
  const int64_t i = thread_number();
  if (i > sorted.num_points) return;
  // Every row has points, so those that are dropped, or the end, follow the last one.
  const uint32_t row =
      i == sorted.num_points ? *rows.counters.num_voxels : min(sorted.row(i), *rows.counters.num_voxels);
  if (i == 0 || min(sorted.row(i - 1), *rows.counters.num_voxels) != row) row_begin[row] = i;
}

// A thread a row.
__global__ void write_rows(const __grid_constant__ HardParams params, const __grid_constant__ VoxelRows rows,
                           int64_t capacity, const int64_t* row_begin, int32_t* coords, int32_t* num_points) {
  __shared__ uint32_t shared[kNumDrops];
  DropCounts drops(shared);
  const int64_t row = thread_number();
  if (row < *rows.counters.num_voxels) {
    const int64_t size = row_begin[row + 1] - row_begin[row];
    const int64_t kept = row < capacity ? (size < params.max_points ? size : params.max_points) : 0;
    if (kept < size) drops.add(row < capacity ? kVoxelFull : kTableFull, static_cast<uint32_t>(size - kept));
    if (row < capacity) {
      write_coords(params.box, rows.voxel_of(static_cast<uint32_t>(row)), coords + 3 * row);
      num_points[row] = static_cast<int32_t>(kept);
    }
  }
  drops.finish(rows.counters.dropped);
}

// About the golden section of `size`, and without a common divisor, so that steps of it come by every number below.
__device__ inline int64_t coprime_stride(int64_t size) {
  int64_t stride = size * 5 / 8;
  const auto divisor = [&](int64_t a, int64_t b) {
    while (b != 0) {
      const int64_t rest = a % b;
      a = b;
      b = rest;
    }
    return a;
  };
  while (stride < 1 || divisor(size, stride) != 1) ++stride;
  return stride;
}

// Whether a point's row comes before another's, of points as near.
template <bool kPlain>
__device__ inline bool is_less(const HardParams& params, const GpuPoint& a, const GpuPoint& b, bool if_equal) {
  for (int c = 0; c < params.num_columns; ++c) {
    const int32_t left = ordered_int(a.value<kPlain>(params.points, params.columns[c])),
                  right = ordered_int(b.value<kPlain>(params.points, params.columns[c]));
    if (left != right) return left < right;
  }
  return if_equal;
}

// A thread a sorted point: its place in the voxel is the number of points before it.
template <bool kPlain>
__global__ void write_voxels(const __grid_constant__ HardParams params, const __grid_constant__ GpuCloud cloud,
                             const __grid_constant__ VoxelRows rows, const __grid_constant__ Sorted sorted,
                             int64_t capacity, const int64_t* row_begin, float* voxels) {
  const int64_t i = thread_number();
  if (i >= sorted.num_points) return;
  const int64_t row = sorted.row(i);
  if (row >= *rows.counters.num_voxels || row >= capacity) return;
  const int64_t begin = row_begin[row], run = sorted.first_as_near(begin, i), size = sorted.end_of_as_near(i) - run;
  const auto point_of = [&](int64_t position) {
    return read_point<kPlain>(params.points, cloud, bytes_of_point(cloud.cloud, sorted.points[position]));
  };
  const GpuPoint point = point_of(i);
  int64_t place = run - begin;
  // All as near, from the next one on, and far between: whatever order they have, such as that of a scan, enough lesser
  // ones are met soon, so that a run of n costs n log n and not n^2.
  const int64_t stride = size > 1 ? coprime_stride(size) : 0;
  int64_t j = i - run;
  for (int64_t n = 1; n < size && place < params.max_points; ++n) {
    j = j + stride < size ? j + stride : j + stride - size;
    place += is_less<kPlain>(params, point_of(run + j), point, run + j < i);
  }
  if (place >= params.max_points) return;
  float* const out = voxels + (row * params.max_points + place) * params.num_columns;
  for (int c = 0; c < params.num_columns; ++c) out[c] = point.value<kPlain>(params.points, params.columns[c]);
}

// A thread a place in a voxel: zeros after the voxel's points.
__global__ void pad_voxels(const __grid_constant__ HardParams params, const __grid_constant__ VoxelRows rows,
                           int64_t capacity, const int32_t* num_points, float* voxels, int64_t* numbers) {
  const int64_t i = thread_number();
  const int64_t row = i / params.max_points, place = i % params.max_points;
  if (row < *rows.counters.num_voxels && row < capacity && place >= num_points[row])
    for (int c = 0; c < params.num_columns; ++c) voxels[i * params.num_columns + c] = 0.0f;
  if (blockIdx.x == 0) report(rows.counters, capacity, numbers);
}

int bit_length(uint64_t value) {
  int bits = 0;
  for (; value != 0; value >>= 1) ++bits;
  return bits;
}

}  // namespace

void voxelize_hard_cuda(const GpuStream& gpu, const HardParams& params, const Cloud& given, int64_t capacity,
                        float* voxels, int32_t* coords, int32_t* num_points, int64_t* numbers) {
  const cudaStream_t stream = stream_of(gpu);
  const GpuCloud cloud(given);
  const int64_t size = cloud.size();
  with_scratch<Scratch>(gpu, kOperation, [&](Scratch& s, bool in_graph) {
    if (size == 0) {
      check_gpu(cudaMemsetAsync(numbers, 0, kNumbers * sizeof(int64_t), stream), kOperation);
      return;
    }
    const VoxelRows rows = s.rows.reserve(params.box, size, in_graph, kOperation);
    uint64_t *keys = s.keys.reserve<uint64_t>(size, in_graph, kOperation),
             *sorted_keys = s.sorted_keys.reserve<uint64_t>(size, in_graph, kOperation);
    uint32_t *points = s.points.reserve<uint32_t>(size, in_graph, kOperation),
             *sorted_points = s.sorted_points.reserve<uint32_t>(size, in_graph, kOperation);
    int64_t* const row_begin = s.row_begin.reserve<int64_t>(rows.max_rows + 1, in_graph, kOperation);

    find_rows(params, cloud, rows, stream, kOperation);
    with_constant(is_plain(params.points, given), [&](auto plain) {
      write_keys<plain.value><<<blocks_for(size), kThreads, 0, stream>>>(params, cloud, rows, size, keys, points);
    });
    check_launch(kOperation);
    const int key_bits = 32 + bit_length(rows.max_rows);
    size_t bytes = 0;
    const auto sort = [&](void* memory) {
      check_gpu(cub::DeviceRadixSort::SortPairs(memory, bytes, keys, sorted_keys, points, sorted_points, size, 0,
                                                key_bits, stream),
                kOperation);
    };
    sort(nullptr);
    sort(s.sort.reserve<uint8_t>(bytes, in_graph, kOperation));

    const Sorted sorted{sorted_keys, sorted_points, size};
    find_begins<<<blocks_for(size + 1), kThreads, 0, stream>>>(sorted, rows, row_begin);
    check_launch(kOperation);
    write_rows<<<blocks_for(rows.max_rows), kThreads, 0, stream>>>(params, rows, capacity, row_begin, coords,
                                                                   num_points);
    check_launch(kOperation);
    with_constant(is_plain(params.points, given), [&](auto plain) {
      write_voxels<plain.value>
          <<<blocks_for(size), kThreads, 0, stream>>>(params, cloud, rows, sorted, capacity, row_begin, voxels);
    });
    check_launch(kOperation);
    const int64_t places = std::min(rows.max_rows, capacity) * params.max_points;
    pad_voxels<<<blocks_for(std::max<int64_t>(1, places)), kThreads, 0, stream>>>(params, rows, capacity, num_points,
                                                                                  voxels, numbers);
    check_launch(kOperation);
  });
}

}  // namespace robocache
