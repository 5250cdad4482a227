// SPDX-License-Identifier: Apache-2.0
// Resampling on the GPU, all streams in one launch. A block is of one stream, so that no stream waits for another, and
// streams have blocks by the work that they are: it finds the samples of its targets, a thread each, and then writes
// their rows with all its threads.
#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "gpu.cuh"
#include "resampling.hpp"

namespace robocache {
namespace {

constexpr const char* kOperation = "fuse";
constexpr int kMaxStreams = 16;                   // of a launch
constexpr int kMaxReads = 1024;                   // of a block
constexpr int kBlocksAtOnce = 4;                  // on a multiprocessor
constexpr int64_t kBlocks = 132 * kBlocksAtOnce;  // of a launch, about: a large GPU has all of them at once
constexpr int64_t kReadCost = 64;                 // of finding a row's samples, in values written

struct Input {
  Stream stream;
  Reading reading;
  const int64_t* order;  // of its stamps, or null
  int64_t column;        // where its rows begin in the result's
  unsigned first_block;  // of those that write it
  int32_t rows_per_block;
};

// What a launch does: some of the streams at all targets.
struct Job {
  Input inputs[kMaxStreams];
  int32_t num_inputs;
  int64_t num_rows, num_targets;
  const int64_t* targets;
  int64_t target_strides[2];
  void* out;
  int64_t row_width;
  bool* valid;
  int64_t num_streams, first_stream;
};

enum class How : int32_t { kMixed, kAsItIs, kZeros, kWritten };

// What a row reads of a stream: elements `from` and `to` of its values are the first of two samples, which may be one.
struct Read {
  int64_t from, to;
  float alpha;
  How how;  // kWritten: the row has been written
};

__device__ inline Timeline timeline_of(const Input& input, int64_t batch) {
  const Stream& s = input.stream;
  const int64_t at = batch * s.stamp_strides[0];
  return {s.stamps + at, input.order == nullptr ? nullptr : input.order + at, s.stamp_strides[1], s.samples};
}

template <class From>
__device__ inline void load_quaternion(const Stream& s, int64_t at, double* q) {
  for (int d = 0; d < 4; ++d) q[d] = to_float(static_cast<const From*>(s.values)[at + d * s.value_strides[2]]);
}

__device__ inline void load_quaternion_of(const Stream& s, int64_t at, double* q) {
  switch (s.type) {
    case ScalarType::kFloat32:
      return load_quaternion<float>(s, at, q);
    case ScalarType::kFloat16:
      return load_quaternion<Half>(s, at, q);
    case ScalarType::kBFloat16:
      return load_quaternion<BFloat16>(s, at, q);
  }
}

// Finds what a row reads of a stream; where quaternions are to be mixed, does it.
template <class To>
__device__ inline Read read_of(const Job& job, const Input& input, int64_t row, bool* valid) {
  const Stream& s = input.stream;
  const int64_t batch = row / job.num_targets, t = row - batch * job.num_targets;
  const int64_t target = job.targets[batch * job.target_strides[0] + t * job.target_strides[1]];
  const Timeline line = timeline_of(input, batch);
  // Where there is no sample element 0 is read, and not used.
  const auto element_of = [&](int64_t sample) {
    return sample == kNoSample ? 0 : batch * s.value_strides[0] + sample * s.value_strides[1];
  };
  Pick pick = pick_samples(input.reading, line, target, gallop(line, target, guess_position(line, target)));
  if (input.reading.method == Method::kSlerp && pick.from != pick.to) {
    double a[4], b[4];
    load_quaternion_of(s, element_of(pick.from), a);
    load_quaternion_of(s, element_of(pick.to), b);
    if (slerp(a, b, pick.alpha)) {
      To* out = static_cast<To*>(job.out) + row * job.row_width + input.column;
      for (int d = 0; d < 4; ++d) out[d] = from_float<To>(static_cast<float>(a[d]));
      *valid = pick.valid;
      return {0, 0, 0.0f, How::kWritten};
    }
    pick = give_up(input.reading, pick);
  }
  *valid = pick.valid;
  const How how = pick.from == kNoSample ? How::kZeros : pick.from == pick.to ? How::kAsItIs : How::kMixed;
  return {element_of(pick.from), element_of(pick.to), pick.alpha, how};
}

template <class T, int kSize>
struct alignas(kSize * sizeof(T)) Vector {
  T values[kSize];
};

// kSize values at `a` and `b`; without a branch, so that those of several rows can be read at once.
template <class From, class To, int kSize>
__device__ inline Vector<To, kSize> mix(const Read& read, const Vector<From, kSize>& a, const Vector<From, kSize>& b) {
  Vector<To, kSize> result;
  for (int d = 0; d < kSize; ++d) {
    const float from = to_float(a.values[d]);
    const To mixed = from_float<To>(lerp_values(from, to_float(b.values[d]), read.alpha));
    To held;
    if constexpr (std::is_same_v<From, To>) {
      held = a.values[d];  // a sample that is taken as it is keeps its bits
    } else {
      held = from_float<To>(from);
    }
    result.values[d] = read.how == How::kMixed ? mixed : read.how == How::kZeros ? To{} : held;
  }
  return result;
}

// Rows of one stream, kSize values a thread, and kRows rows at once; threads side by side have values side by side.
template <int kSize, class From, class To>
__device__ inline void write_rows(const Job& job, const Input& input, const Read* reads, int64_t first_row,
                                  int32_t num_rows) {
  constexpr int kRows = kSize > 1 ? 2 : 1;
  using Values = Vector<From, kSize>;
  const Stream& s = input.stream;
  const From* const values = static_cast<const From*>(s.values);
  To* const out = static_cast<To*>(job.out) + first_row * job.row_width + input.column;
  const int64_t units = s.width / kSize, stride = s.value_strides[2];
  if (units == 0) return;
  // Threads that share a row, as a power of 2.
  const int32_t shift = units >= kThreads ? 31 - __clz(kThreads) : 32 - __clz(static_cast<int32_t>(units) - 1);
  const int32_t step = kThreads >> shift, unit = threadIdx.x & ((1 << shift) - 1);
  for (int32_t first = threadIdx.x >> shift; first < num_rows; first += kRows * step) {
    for (int64_t u = unit; u < units; u += 1 << shift) {
      Read read[kRows];
      Values a[kRows], b[kRows];
#pragma unroll
      for (int k = 0; k < kRows; ++k) {
        read[k] = reads[min(first + k * step, num_rows - 1)];
        a[k] = *reinterpret_cast<const Values*>(values + read[k].from + u * kSize * stride);
        b[k] = *reinterpret_cast<const Values*>(values + read[k].to + u * kSize * stride);
      }
#pragma unroll
      for (int k = 0; k < kRows; ++k) {
        const int32_t row = first + k * step;
        if (row < num_rows && read[k].how != How::kWritten)
          *reinterpret_cast<Vector<To, kSize>*>(out + row * job.row_width + u * kSize) =
              mix<From, To, kSize>(read[k], a[k], b[k]);
      }
    }
  }
}

// Rows of a stream that has no sample.
template <class To>
__device__ inline void write_zeros(const Job& job, const Input& input, int64_t first_row, int32_t num_rows) {
  To* const out = static_cast<To*>(job.out) + first_row * job.row_width + input.column;
  for (int32_t row = 0; row < num_rows; ++row)
    for (int64_t d = threadIdx.x; d < input.stream.width; d += kThreads) out[row * job.row_width + d] = To{};
}

// Whether rows that are `stride` values apart can be read or written `size` values at a time.
template <class T>
__device__ inline bool splits(const void* memory, int64_t stride, int size) {
  return reinterpret_cast<uintptr_t>(memory) % (size * sizeof(T)) == 0 && stride % size == 0;
}

template <class From, class To>
__device__ inline void write_stream(const Job& job, const Input& input, const Read* reads, int64_t first_row,
                                    int32_t num_rows) {
  const Stream& s = input.stream;
  if (s.samples == 0) return write_zeros<To>(job, input, first_row, num_rows);
  constexpr int kSize = 16 / (sizeof(From) > sizeof(To) ? sizeof(From) : sizeof(To));
  const bool whole = s.value_strides[2] == 1 && s.width % kSize == 0 && s.value_strides[0] % kSize == 0 &&
                     splits<From>(s.values, s.value_strides[1], kSize) &&
                     splits<To>(static_cast<To*>(job.out) + input.column, job.row_width, kSize);
  if (whole) {
    write_rows<kSize, From, To>(job, input, reads, first_row, num_rows);
  } else {
    write_rows<1, From, To>(job, input, reads, first_row, num_rows);
  }
}

template <class To>
__global__ void __launch_bounds__(kThreads, kBlocksAtOnce) write_job(const __grid_constant__ Job job) {
  __shared__ Read reads[kMaxReads];
  int32_t n = 0;
  while (n + 1 < job.num_inputs && blockIdx.x >= job.inputs[n + 1].first_block) ++n;
  const Input& input = job.inputs[n];
  const int64_t first_row = int64_t{blockIdx.x - input.first_block} * input.rows_per_block;
  const int32_t num_rows = static_cast<int32_t>(min(job.num_rows - first_row, int64_t{input.rows_per_block}));
  for (int32_t r = threadIdx.x; r < num_rows; r += kThreads) {
    bool valid;
    reads[r] = read_of<To>(job, input, first_row + r, &valid);
    job.valid[(first_row + r) * job.num_streams + job.first_stream + n] = valid;
  }
  __syncthreads();
  switch (input.stream.type) {
    case ScalarType::kFloat32:
      write_stream<float, To>(job, input, reads, first_row, num_rows);
      break;
    case ScalarType::kFloat16:
      write_stream<Half, To>(job, input, reads, first_row, num_rows);
      break;
    case ScalarType::kBFloat16:
      write_stream<BFloat16, To>(job, input, reads, first_row, num_rows);
      break;
  }
}

// A thread a stamp: first = the greatest complement of batch * samples + sample where one descends; zero: none does.
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
  Descent found = kNoDescent;
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
  job.num_rows = rows;
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
    int64_t cost = 0;
    for (int32_t n = 0; n < job.num_inputs; ++n) cost += kReadCost + streams[first + n].width;
    unsigned blocks = 0;
    for (int32_t n = 0; n < job.num_inputs; ++n) {
      const Stream& stream = streams[first + n];
      const int64_t share = std::max<int64_t>(1, kBlocks * (kReadCost + stream.width) / cost);
      const int64_t rows_per_block = std::min<int64_t>((rows + share - 1) / share, kMaxReads);
      job.inputs[n] = {
          stream, readings[first + n], orders[first + n], column, blocks, static_cast<int32_t>(rows_per_block)};
      blocks += blocks_for(rows, static_cast<int>(rows_per_block));
      column += stream.width;
    }
    switch (out_type) {
      case ScalarType::kFloat32:
        write_job<float><<<blocks, kThreads, 0, stream_of(gpu)>>>(job);
        break;
      case ScalarType::kFloat16:
        write_job<Half><<<blocks, kThreads, 0, stream_of(gpu)>>>(job);
        break;
      case ScalarType::kBFloat16:
        write_job<BFloat16><<<blocks, kThreads, 0, stream_of(gpu)>>>(job);
        break;
    }
    check_launch(kOperation);
  }
}

}  // namespace robocache
