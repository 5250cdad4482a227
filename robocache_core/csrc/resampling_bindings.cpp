// SPDX-License-Identifier: Apache-2.0
// Resampling for Python.
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "bindings.hpp"
#include "resampling.hpp"

namespace robocache {
namespace {

const std::map<std::string, int32_t> kScalarTypes = {{"float32", static_cast<int32_t>(ScalarType::kFloat32)},
                                                     {"float16", static_cast<int32_t>(ScalarType::kFloat16)},
                                                     {"bfloat16", static_cast<int32_t>(ScalarType::kBFloat16)}};

const std::map<std::string, Method> kMethods = {{"linear", Method::kLinear},
                                                {"slerp", Method::kSlerp},
                                                {"nearest", Method::kNearest},
                                                {"previous", Method::kPrevious}};

const std::map<std::string, Outside> kOutsides = {
    {"hold", Outside::kHold}, {"zero", Outside::kZero}, {"extrapolate", Outside::kExtrapolate}};

// Stamps and elements that fuse does on the CPU with the interpreter held: a thread that gives it away may wait
// milliseconds to have it back.
constexpr int64_t kFuseAtOnce = 1 << 13;

struct FuseParams {
  std::vector<Reading> readings;
  bool sort, check;
};

// readings: (method, outside, tolerance_ns) of each stream. check: whether stamps on a GPU ascend has to be looked at;
// on the CPU it always is, unless they are sorted.
FuseParams make_fuse_params(const std::vector<std::tuple<std::string, std::string, int64_t>>& readings, bool sort,
                            bool check) {
  FuseParams p{{}, sort, check};
  for (const auto& [method, outside, tolerance_ns] : readings) {
    p.readings.push_back({named(kMethods, method), named(kOutsides, outside), static_cast<uint64_t>(tolerance_ns)});
  }
  return p;
}

// streams: of each its values' address, scalar type, shape (batch, samples, width) and strides, and its stamps' address
// and strides; in elements. The result is the thread's own, until its next call.
const std::vector<Stream>& read_streams(const py::list& streams) {
  static thread_local std::vector<Stream> all;  // kept: only a thread's first call allocates
  all.clear();
  for (const py::handle stream : streams) {
    const auto [values, type, shape, strides, stamps, stamp_strides] = items<6>(stream);
    const auto [batch, samples, width] = integers<3>(shape);
    Stream& read = all.emplace_back();
    read.values = at<const void>(integer(values));
    read.type = static_cast<ScalarType>(integer(type));
    read.samples = samples;
    read.width = width;
    copy(integers<3>(strides), read.value_strides);
    read.stamps = at<const int64_t>(integer(stamps));
    copy(integers<2>(stamp_strides), read.stamp_strides);
  }
  return all;
}

struct Targets {
  const int64_t* stamps;
  int64_t batch, num, strides[2];
};

// targets: their address, shape (batch, num) and strides.
Targets read_targets(const py::tuple& targets) {
  const auto [stamps, shape, strides] = items<3>(targets);
  const auto [batch, num] = integers<2>(shape);
  Targets read{at<const int64_t>(integer(stamps)), batch, num, {}};
  copy(integers<2>(strides), read.strides);
  return read;
}

#ifdef ROBOCACHE_CUDA
// orders: of each stream the address of its samples' order, or empty.
Descent fuse_on_gpu(const GpuStream& gpu, const FuseParams& params, const std::vector<Stream>& streams,
                    const py::tuple& orders, const Targets& targets, void* out, ScalarType out_type, bool* valid) {
  std::vector<const int64_t*> samples(streams.size(), nullptr);
  for (size_t i = 0; i < orders.size(); ++i) samples[i] = at<const int64_t>(integer(orders[i]));
  const int64_t num_streams = static_cast<int64_t>(streams.size());
  const py::gil_scoped_release released;
  if (params.check) {
    const Descent descent = find_descent_cuda(gpu, streams.data(), num_streams, targets.batch);
    if (descent.stream >= 0) return descent;
  }
  fuse_cuda(gpu, streams.data(), samples.data(), params.readings.data(), num_streams, targets.batch, targets.stamps,
            targets.num, targets.strides, out, out_type, valid);
  return kNoDescent;
}
#else
Descent fuse_on_gpu(const GpuStream&, const FuseParams&, const std::vector<Stream>&, const py::tuple&, const Targets&,
                    void*, ScalarType, bool*) {
  throw GpuError("built without CUDA");
}
#endif

Descent fuse_on_cpu(const FuseParams& params, const std::vector<Stream>& streams, const Targets& targets, void* out,
                    ScalarType out_type, bool* valid) {
  int64_t work = 0;
  for (const Stream& stream : streams) work += targets.batch * (stream.samples + targets.num * stream.width);
  std::optional<py::gil_scoped_release> released;
  if (work > kFuseAtOnce) released.emplace();
  return fuse_cpu(streams.data(), params.readings.data(), static_cast<int64_t>(streams.size()), targets.batch,
                  targets.stamps, targets.num, targets.strides, params.sort, out, out_type, valid);
}

// Returns stream, batch and sample of a stamp that descends and may not.
std::optional<std::tuple<int64_t, int64_t, int64_t>> fuse(const Where& where, const FuseParams& params,
                                                          const py::list& streams, const py::tuple& orders,
                                                          const py::tuple& targets, uintptr_t out, int32_t out_type,
                                                          uintptr_t valid) {
  const auto type = static_cast<ScalarType>(out_type);
  const Descent descent =
      where ? fuse_on_gpu(*where, params, read_streams(streams), orders, read_targets(targets), at<void>(out), type,
                          at<bool>(valid))
            : fuse_on_cpu(params, read_streams(streams), read_targets(targets), at<void>(out), type, at<bool>(valid));
  if (descent.stream < 0) return std::nullopt;
  return std::tuple{descent.stream, descent.batch, descent.sample};
}

}  // namespace

void bind_resampling(py::module_& m) {
  m.attr("scalar_types") = kScalarTypes;
  py::class_<FuseParams>(m, "FuseParams")
      .def(py::init(&make_fuse_params), py::kw_only(), py::arg("readings"), py::arg("sort"), py::arg("check"));
  m.def("fuse", &fuse);
}

}  // namespace robocache
