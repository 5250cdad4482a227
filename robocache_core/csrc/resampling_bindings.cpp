// SPDX-License-Identifier: Apache-2.0
// Resampling for Python.
#include <array>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
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

// How streams are read, and where in memory they are but for their addresses.
struct FuseParams {
  std::vector<Reading> readings;
  bool sort, check;
  std::vector<Stream> streams;
  int64_t batch, num_targets, target_strides[2];
  ScalarType out_type;
};

using ReadingSpec = std::tuple<std::string, std::string, int64_t>;  // method, outside, tolerance_ns
// Of values [batch, samples, width] scalar type, shape and strides, and the strides of their stamps; in elements.
using StreamSpec = std::tuple<int32_t, std::array<int64_t, 3>, std::array<int64_t, 3>, std::array<int64_t, 2>>;
using TargetsSpec = std::pair<std::array<int64_t, 2>, std::array<int64_t, 2>>;  // shape, strides

// check: whether stamps on a GPU ascend has to be looked at; on the CPU it always is, unless they are sorted.
FuseParams make_fuse_params(const std::vector<ReadingSpec>& readings, bool sort, bool check,
                            const std::vector<StreamSpec>& streams, const TargetsSpec& targets, int32_t out_type) {
  if (readings.size() != streams.size()) throw std::invalid_argument("needs a reading for each stream");
  FuseParams p{};
  p.sort = sort;
  p.check = check;
  for (const auto& [method, outside, tolerance_ns] : readings) {
    p.readings.push_back({named(kMethods, method), named(kOutsides, outside), static_cast<uint64_t>(tolerance_ns)});
  }
  for (const auto& [type, shape, strides, stamp_strides] : streams) {
    Stream& stream = p.streams.emplace_back();
    stream.type = static_cast<ScalarType>(type);
    stream.samples = shape[1];
    stream.width = shape[2];
    copy(strides, stream.value_strides);
    copy(stamp_strides, stream.stamp_strides);
  }
  p.batch = targets.first[0];
  p.num_targets = targets.first[1];
  copy(targets.second, p.target_strides);
  p.out_type = static_cast<ScalarType>(out_type);
  return p;
}

template <class T>
T* address_of(py::handle tensor) {
  static PyObject* const name = PyUnicode_InternFromString("data_ptr");
  const auto address = py::reinterpret_steal<py::object>(PyObject_CallMethodNoArgs(tensor.ptr(), name));
  if (!address) throw py::error_already_set();
  return at<T>(integer(address));
}

// The streams of pairs of values and stamps, which are as `params` says. They are the thread's own, until its next
// call.
const std::vector<Stream>& read_streams(const FuseParams& params, const py::sequence& pairs) {
  static thread_local std::vector<Stream> all;  // kept: only a thread's first call allocates
  if (pairs.size() != params.streams.size()) throw std::invalid_argument("needs the streams of its params");
  all = params.streams;
  for (size_t i = 0; i < all.size(); ++i) {
    const auto pair = py::reinterpret_steal<py::object>(PySequence_Fast(py::object(pairs[i]).ptr(), "needs pairs"));
    if (!pair) throw py::error_already_set();
    if (PySequence_Fast_GET_SIZE(pair.ptr()) != 2) throw std::invalid_argument("needs pairs");
    all[i].values = address_of<const void>(PySequence_Fast_GET_ITEM(pair.ptr(), 0));
    all[i].stamps = address_of<const int64_t>(PySequence_Fast_GET_ITEM(pair.ptr(), 1));
  }
  return all;
}

// The targets' stamps, the result and its validity.
struct Addresses {
  const int64_t* targets;
  void* out;
  bool* valid;
};

#ifdef ROBOCACHE_CUDA
// orders: of each stream the order of its samples, or empty.
Descent fuse_on_gpu(const GpuStream& gpu, const FuseParams& params, const std::vector<Stream>& streams,
                    const py::tuple& orders, const Addresses& addresses) {
  std::vector<const int64_t*> samples(streams.size(), nullptr);
  for (size_t i = 0; i < orders.size(); ++i) samples[i] = address_of<const int64_t>(orders[i]);
  const int64_t num_streams = static_cast<int64_t>(streams.size());
  const py::gil_scoped_release released;
  if (params.check) {
    const Descent descent = find_descent_cuda(gpu, streams.data(), num_streams, params.batch);
    if (descent.stream >= 0) return descent;
  }
  fuse_cuda(gpu, streams.data(), samples.data(), params.readings.data(), num_streams, params.batch, addresses.targets,
            params.num_targets, params.target_strides, addresses.out, params.out_type, addresses.valid);
  return kNoDescent;
}
#else
Descent fuse_on_gpu(const GpuStream&, const FuseParams&, const std::vector<Stream>&, const py::tuple&,
                    const Addresses&) {
  throw GpuError("built without CUDA");
}
#endif

Descent fuse_on_cpu(const FuseParams& params, const std::vector<Stream>& streams, const Addresses& addresses) {
  int64_t work = 0;
  for (const Stream& stream : streams) work += params.batch * (stream.samples + params.num_targets * stream.width);
  std::optional<py::gil_scoped_release> released;
  if (work > kFuseAtOnce) released.emplace();
  return fuse_cpu(streams.data(), params.readings.data(), static_cast<int64_t>(streams.size()), params.batch,
                  addresses.targets, params.num_targets, params.target_strides, params.sort, addresses.out,
                  params.out_type, addresses.valid);
}

// Takes the tensors themselves, whose addresses are all that is read of them. Returns stream, batch and sample of a
// stamp that descends and may not.
std::optional<std::tuple<int64_t, int64_t, int64_t>> fuse(const Where& where, const FuseParams& params,
                                                          const py::sequence& streams, const py::tuple& orders,
                                                          py::handle targets, py::handle out, py::handle valid) {
  const Addresses addresses{address_of<const int64_t>(targets), address_of<void>(out), address_of<bool>(valid)};
  const std::vector<Stream>& read = read_streams(params, streams);
  const Descent descent =
      where ? fuse_on_gpu(*where, params, read, orders, addresses) : fuse_on_cpu(params, read, addresses);
  if (descent.stream < 0) return std::nullopt;
  return std::tuple{descent.stream, descent.batch, descent.sample};
}

}  // namespace

void bind_resampling(py::module_& m) {
  m.attr("scalar_types") = kScalarTypes;
  py::class_<FuseParams>(m, "FuseParams")
      .def(py::init(&make_fuse_params), py::kw_only(), py::arg("readings"), py::arg("sort"), py::arg("check"),
           py::arg("streams"), py::arg("targets"), py::arg("out_type"));
  m.def("fuse", &fuse);
}

}  // namespace robocache
