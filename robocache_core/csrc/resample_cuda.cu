// SPDX-License-Identifier: Apache-2.0
// Resampling on the GPU, all streams in one launch. A block finds the samples of a few targets, a thread each, and then
// writes their rows with all its threads.
#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "gpu.cuh"
#include "resample.hpp"

namespace robocache {
namespace {

constexpr const char* kOperation = "fuse";
constexpr int kMaxStreams = 16;  // of a launch
constexpr int kMaxRows = 16;     // of a block
constexpr int kBlocks = 1024;    // that keep every multiprocessor of a large GPU busy

struct Input {
  Stream stream;
  Reading reading;
  const int64_t* order;  // of its stamps, or null
  int64_t column;        // where its rows begin in the result's
};

// What a launch does: some of the streams at all targets.
struct Job {
  Input inputs[kMaxStreams];
  int32_t num_inputs, rows_per_block;
  int64_t batch, num_targets;
  const int64_t* targets;
  int64_t target_strides[2];
  void* out;
  int64_t row_width;
  bool* valid;
  int64_t num_streams, first_stream;
};

__device__ inline Timeline timeline_of(const Input& input, int64_t batch) {
  const Stream& s = input.stream;
  const int64_t at = batch * s.stamp_strides[0];
  return {s.stamps + at, input.order == nullptr ? nullptr : input.order + at, s.stamp_strides[1], s.samples};
}

template <class From>
__device__ inline const From* sample_at(const Stream& s, int64_t batch, int64_t sample) {
  return static_cast<const From*>(s.values) + batch * s.value_strides[0] + sample * s.value_strides[1];
}

template <class From>
__device__ inline void load_quaternion(const Stream& s, int64_t batch, int64_t sample, double* q) {
  const From* from = sample_at<From>(s, batch, sample);
  for (int d = 0; d < 4; ++d) q[d] = to_float(from[d * s.value_strides[2]]);
}

__device__ inline void load_quaternion_of(const Stream& s, int64_t batch, int64_t sample, double* q) {
  switch (s.type) {
    case ScalarType::kFloat32: return load_quaternion<float>(s, batch, sample, q);
    case ScalarType::kFloat16: return load_quaternion<Half>(s, batch, sample, q);
    case ScalarType::kBFloat16: return load_quaternion<BFloat16>(s, batch, sample, q);
  }
}

constexpr int64_t kWritten = -2;  // in a pick's `from`: its row has been written

// Finds what a row reads of a stream; where quaternions are to be mixed, does it.
template <class To>
__device__ inline Pick pick_row(const Job& job, const Input& input, int64_t row) {
  const int64_t batch = row / job.num_targets, t = row - batch * job.num_targets;
  const int64_t target = job.targets[batch * job.target_strides[0] + t * job.target_strides[1]];
  const Timeline line = timeline_of(input, batch);
  Pick pick = pick_samples(input.reading, line, target, gallop(line, target, guess_position(line, target)));
  if (input.reading.method != Method::kSlerp || pick.from == pick.to) return pick;
  double a[4], b[4];
  load_quaternion_of(input.stream, batch, pick.from, a);
  load_quaternion_of(input.stream, batch, pick.to, b);
  if (!slerp(a, b, pick.alpha)) return give_up(input.reading, pick);
  To* out = static_cast<To*>(job.out) + row * job.row_width + input.column;
  for (int d = 0; d < 4; ++d) out[d] = from_float<To>(static_cast<float>(a[d]));
  pick.from = kWritten;
  return pick;
}

template <class T, int kSize>
struct alignas(kSize * sizeof(T)) Vector {
  T values[kSize];
};

// Values [begin, begin + kSize) of a row; kSize > 1: they lie side by side, as the result's do.
template <int kSize, class From, class To>
__device__ inline void write_values(const Stream& s, const Pick& pick, int64_t batch, int64_t begin, To* out) {
  Vector<From, kSize> a, b;
  Vector<To, kSize> result;
  const auto load = [&](int64_t sample, Vector<From, kSize>* vector) {
    const From* from = sample_at<From>(s, batch, sample) + begin * s.value_strides[2];
    *vector = *reinterpret_cast<const Vector<From, kSize>*>(from);
  };
  if (pick.from == kNoSample) {
    for (int d = 0; d < kSize; ++d) result.values[d] = To{};
  } else if (pick.from == pick.to) {
    load(pick.from, &a);
    for (int d = 0; d < kSize; ++d) {
      if constexpr (std::is_same_v<From, To>) {
        result.values[d] = a.values[d];  // a sample that is taken as it is keeps its bits
      } else {
        result.values[d] = from_float<To>(to_float(a.values[d]));
      }
    }
  } else {
    load(pick.from, &a);
    load(pick.to, &b);
    for (int d = 0; d < kSize; ++d)
      result.values[d] = from_float<To>(lerp_values(to_float(a.values[d]), to_float(b.values[d]), pick.alpha));
  }
  *reinterpret_cast<Vector<To, kSize>*>(out + begin) = result;
}

// Whether rows of `width` values, `stride` apart, can be read or written `size` values at a time.
template <class T>
__device__ inline bool splits(const void* memory, int64_t stride, int size) {
  return reinterpret_cast<uintptr_t>(memory) % (size * sizeof(T)) == 0 && stride % size == 0;
}

// picks: those of the block's rows of this stream, `num_inputs` apart.
template <class From, class To>
__device__ inline void write_rows(const Job& job, const Input& input, const Pick* picks, int64_t first_row,
                                  int32_t num_rows) {
  const Stream& s = input.stream;
  constexpr int kSize = 16 / (sizeof(From) > sizeof(To) ? sizeof(From) : sizeof(To));
  To* const out = static_cast<To*>(job.out) + input.column;
  const bool whole = s.value_strides[2] == 1 && s.width % kSize == 0 && s.value_strides[0] % kSize == 0 &&
                     splits<From>(s.values, s.value_strides[1], kSize) && splits<To>(out, job.row_width, kSize);
  const int64_t units = whole ? s.width / kSize : s.width;
  for (int64_t i = threadIdx.x; i < units * num_rows; i += blockDim.x) {
    const int32_t r = static_cast<int32_t>(i / units);
    const int64_t unit = i - r * units, row = first_row + r;
    const Pick pick = picks[r * job.num_inputs];
    if (pick.from == kWritten) continue;
    const int64_t batch = row / job.num_targets;
    if (whole) {
      write_values<kSize, From>(s, pick, batch, unit * kSize, out + row * job.row_width);
    } else {
      write_values<1, From>(s, pick, batch, unit, out + row * job.row_width);
    }
  }
}

template <class To>
__global__ void write_job(const __grid_constant__ Job job) {
  __shared__ Pick picks[kMaxRows * kMaxStreams];
  const int64_t first_row = int64_t{blockIdx.x} * job.rows_per_block, rows = job.batch * job.num_targets;
  const int32_t num_rows = static_cast<int32_t>(min(rows - first_row, int64_t{job.rows_per_block}));
  for (int32_t i = threadIdx.x; i < num_rows * job.num_inputs; i += blockDim.x) {
    const int32_t n = i % job.num_inputs;
    const int64_t row = first_row + i / job.num_inputs;
    picks[i] = pick_row<To>(job, job.inputs[n], row);
    job.valid[row * job.num_streams + job.first_stream + n] = picks[i].valid;
  }
  __syncthreads();
  for (int32_t n = 0; n < job.num_inputs; ++n) {
    const Input& input = job.inputs[n];
    switch (input.stream.type) {
      case ScalarType::kFloat32: write_rows<float, To>(job, input, picks + n, first_row, num_rows); break;
      case ScalarType::kFloat16: write_rows<Half, To>(job, input, picks + n, first_row, num_rows); break;
      case ScalarType::kBFloat16: write_rows<BFloat16, To>(job, input, picks + n, first_row, num_rows); break;
    }
  }
}

// A thread a stamp: first = the least of 1 + batch * samples + sample where one descends; zero: none seen.
__global__ void find_descent(const __grid_constant__ Stream stream, int64_t batch, unsigned long long* first) {
  const int64_t i = thread_number();
  if (i >= batch * stream.samples) return;
  const int64_t b = i / stream.samples, sample = i - b * stream.samples;
  if (sample == 0) return;
  const int64_t* const row = stream.stamps + b * stream.stamp_strides[0];
  if (row[sample * stream.stamp_strides[1]] < row[(sample - 1) * stream.stamp_strides[1]])
    atomicMax(first, ~static_cast<unsigned long long>(i));  // the least i is the greatest of the complements
}

struct Scratch {
  GpuMemory descents;
};

}  // namespace

Descent find_descent_cuda(const GpuStream& gpu, const Stream* streams, int64_t num_streams, int64_t batch) {
  Descent found{-1, 0, 0};
  with_scratch<Scratch>(gpu, kOperation, [&](Scratch& s, bool in_graph) {
    const cudaStream_t stream = stream_of(gpu);
    auto* const first = s.descents.reserve<unsigned long long>(num_streams, in_graph, kOperation);
    check_gpu(cudaMemsetAsync(first, 0, num_streams * sizeof *first, stream), kOperation);
    for (int64_t n = 0; n < num_streams; ++n) {
      const int64_t rows = streams[n].stamp_strides[0] == 0 ? std::min<int64_t>(batch, 1) : batch;
      if (rows * streams[n].samples == 0) continue;
      find_descent<<<blocks_for(rows * streams[n].samples), kThreads, 0, stream>>>(streams[n], rows, first + n);
      check_launch(kOperation);
    }
    std::vector<unsigned long long> complements(num_streams);
    check_gpu(cudaMemcpyAsync(complements.data(), first, num_streams * sizeof *first, cudaMemcpyDeviceToHost, stream),
              kOperation);
    check_gpu(cudaStreamSynchronize(stream), kOperation);
    for (int64_t n = 0; n < num_streams && found.stream < 0; ++n) {
      if (complements[n] == 0) continue;
      const int64_t i = static_cast<int64_t>(~complements[n]);
      found = {n, i / streams[n].samples, i % streams[n].samples};
    }
  });
  return found;
}

void fuse_cuda(const GpuStream& gpu, const Stream* streams, const int64_t* const* orders, const Reading* readings,
               int64_t num_streams, int64_t batch, const int64_t* targets, int64_t num_targets,
               const int64_t* target_strides, void* out, ScalarType out_type, bool* valid) {
  const int64_t rows = batch * num_targets;
  if (rows == 0) return;
  const CurrentDevice current(gpu.device);
  Job job{};
  job.rows_per_block = static_cast<int32_t>(std::clamp<int64_t>(rows / kBlocks, 1, kMaxRows));
  job.batch = batch;
  job.num_targets = num_targets;
  job.targets = targets;
  std::copy_n(target_strides, 2, job.target_strides);
  job.out = out;
  job.valid = valid;
  job.num_streams = num_streams;
  for (int64_t n = 0; n < num_streams; ++n) job.row_width += streams[n].width;
  int64_t column = 0;
  for (int64_t first = 0; first < num_streams; first += kMaxStreams) {
    job.first_stream = first;
    job.num_inputs = static_cast<int32_t>(std::min<int64_t>(kMaxStreams, num_streams - first));
    for (int32_t n = 0; n < job.num_inputs; ++n) {
      job.inputs[n] = {streams[first + n], readings[first + n], orders[first + n], column};
      column += streams[first + n].width;
    }
    const unsigned blocks = blocks_for(rows, job.rows_per_block);
    switch (out_type) {
      case ScalarType::kFloat32: write_job<float><<<blocks, kThreads, 0, stream_of(gpu)>>>(job); break;
      case ScalarType::kFloat16: write_job<Half><<<blocks, kThreads, 0, stream_of(gpu)>>>(job); break;
      case ScalarType::kBFloat16: write_job<BFloat16><<<blocks, kThreads, 0, stream_of(gpu)>>>(job); break;
    }
    check_launch(kOperation);
  }
}

}  // namespace robocache
