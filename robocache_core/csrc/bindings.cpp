// SPDX-License-Identifier: Apache-2.0
// The Python module `_robocache_core`. Addresses cross as integers (`Tensor.data_ptr()`);
// what is passed has been checked.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "image.hpp"
#include "resample.hpp"
#include "voxelize.hpp"

// Raised with every change of a signature here, so that robocache_core refuses a module of another build.
#define ROBOCACHE_INTERFACE 1

namespace py = pybind11;
using namespace robocache;

namespace {

template <class T>
T* at(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

template <class T>
T named(const std::map<std::string, T>& table, const std::string& name) {
  const auto found = table.find(name);
  if (found == table.end()) throw std::invalid_argument("unknown name '" + name + "'");
  return found->second;
}

template <class To, class From, size_t kSize>
void copy(const std::array<From, kSize>& from, To* to) {
  std::copy(from.begin(), from.end(), to);
}

const std::map<std::string, FieldType> kFieldTypes = {
    {"int8", FieldType::kInt8},       {"uint8", FieldType::kUInt8},     {"int16", FieldType::kInt16},
    {"uint16", FieldType::kUInt16},   {"int32", FieldType::kInt32},     {"uint32", FieldType::kUInt32},
    {"float32", FieldType::kFloat32}, {"float64", FieldType::kFloat64},
};

const std::map<std::string, ChannelKind> kChannelKinds = {
    {"count", ChannelKind::kCount},      {"occupancy", ChannelKind::kOccupancy},
    {"density", ChannelKind::kDensity},  {"mean_offset", ChannelKind::kMeanOffset},
    {"mean", ChannelKind::kMean},        {"max", ChannelKind::kMax},
    {"min", ChannelKind::kMin},
};

const std::map<std::string, PixelType> kPixelTypes = {
    {"uint8", PixelType::kUInt8}, {"uint16", PixelType::kUInt16}, {"float32", PixelType::kFloat32}};

const std::map<std::string, OutputType> kOutputTypes = {
    {"float32", OutputType::kFloat32}, {"float16", OutputType::kFloat16}, {"bfloat16", OutputType::kBFloat16}};

const std::map<std::string, ScalarType> kScalarTypes = {
    {"float32", ScalarType::kFloat32}, {"float16", ScalarType::kFloat16}, {"bfloat16", ScalarType::kBFloat16}};

const std::map<std::string, Method> kMethods = {{"linear", Method::kLinear},
                                                {"slerp", Method::kSlerp},
                                                {"nearest", Method::kNearest},
                                                {"previous", Method::kPrevious}};

using Float3 = std::array<float, 3>;
using Double3 = std::array<double, 3>;

// fields: (offset, dtype); channels: (kind, source, slot).
VoxelParams make_voxel_params(const std::vector<std::pair<int32_t, std::string>>& fields, bool swap, Float3 lower,
                              Float3 inverse_size, Double3 size, std::array<uint32_t, 3> shape, float min_range2,
                              float max_range2, double quantum, double inverse_quantum, double inverse_volume,
                              const std::vector<std::tuple<std::string, int32_t, int32_t>>& channels, int32_t num_sums,
                              int32_t num_maxima) {
  if (fields.size() > kMaxFields || channels.size() > kMaxChannels) throw std::invalid_argument("too many channels");
  VoxelParams p{};
  for (const auto& [offset, type] : fields) p.fields[p.num_fields++] = {offset, named(kFieldTypes, type)};
  for (const auto& [kind, source, slot] : channels)
    p.channels[p.num_channels++] = {named(kChannelKinds, kind), source, slot};
  copy(lower, p.lower);
  copy(inverse_size, p.inverse_size);
  copy(size, p.size);
  copy(shape, p.shape);
  for (int i = 0; i < 3; ++i) p.extent[i] = static_cast<float>(shape[i]);
  p.swap = swap;
  p.min_range2 = min_range2;
  p.max_range2 = max_range2;
  p.quantum = quantum;
  p.inverse_quantum = inverse_quantum;
  p.inverse_volume = inverse_volume;
  p.num_sums = num_sums;
  p.num_maxima = num_maxima;
  return p;
}

// shape: (height, width); strides: (row_step, point_step), bytes; pose: address of float32 [4, 4].
Cloud make_cloud(uintptr_t data, std::array<int64_t, 2> shape, std::array<int64_t, 2> strides, uintptr_t pose) {
  Cloud cloud{at<const uint8_t>(data), shape[1], shape[0], strides[1], strides[0], {}};
  std::copy_n(at<const float>(pose), 12, cloud.pose);
  return cloud;
}

using Dropped = std::array<int64_t, kNumDrops>;

Dropped voxelize_dense(const VoxelParams& params, uintptr_t data, std::array<int64_t, 2> shape,
                       std::array<int64_t, 2> strides, uintptr_t pose, uintptr_t tensor) {
  const Cloud cloud = make_cloud(data, shape, strides, pose);
  Dropped dropped;
  voxelize_dense_cpu(params, cloud, at<float>(tensor), dropped.data());
  return dropped;
}

std::pair<int64_t, Dropped> voxelize_sparse(const VoxelParams& params, uintptr_t data, std::array<int64_t, 2> shape,
                                            std::array<int64_t, 2> strides, uintptr_t pose, int64_t capacity,
                                            uintptr_t coords, uintptr_t features, uintptr_t counts) {
  const Cloud cloud = make_cloud(data, shape, strides, pose);
  Dropped dropped;
  const int64_t size = voxelize_sparse_cpu(params, cloud, capacity, at<int32_t>(coords), at<float>(features),
                                           at<int32_t>(counts), dropped.data());
  return {size, dropped};
}

// size, out_size: (width, height); region: (x, y, width, height).
ImageParams make_image_params(std::array<int32_t, 2> size, const std::string& pixel_type, bool swap,
                              int32_t source_channels, const std::vector<int32_t>& order,
                              std::array<int32_t, 2> out_size, std::array<int32_t, 4> region, bool nearest,
                              std::array<double, 2> scale, Float3 multiply, Float3 add, Float3 pad,
                              const std::string& out_type) {
  if (order.size() > kMaxImageChannels) throw std::invalid_argument("too many channels");
  ImageParams p{};
  p.width = size[0];
  p.height = size[1];
  p.type = named(kPixelTypes, pixel_type);
  p.swap = swap;
  p.source_channels = source_channels;
  p.channels = static_cast<int32_t>(order.size());
  std::copy(order.begin(), order.end(), p.order);
  p.out_width = out_size[0];
  p.out_height = out_size[1];
  p.region_x = region[0];
  p.region_y = region[1];
  p.region_width = region[2];
  p.region_height = region[3];
  p.nearest = nearest;
  p.scale_x = scale[0];
  p.scale_y = scale[1];
  copy(multiply, p.multiply);
  copy(add, p.add);
  copy(pad, p.pad);
  p.out_type = named(kOutputTypes, out_type);
  return p;
}

void prepare_image(const ImageParams& params, uintptr_t data, int64_t step, uintptr_t out) {
  prepare_image_cpu(params, at<const uint8_t>(data), step, at<void>(out));
}

// values_shape: (samples, width); strides in elements.
Stream make_stream(uintptr_t values, const std::string& type, std::array<int64_t, 2> values_shape,
                   std::array<int64_t, 3> values_strides, uintptr_t stamps, std::array<int64_t, 2> stamps_strides,
                   const std::string& method, int64_t tolerance_ns) {
  Stream s{};
  s.values = at<const void>(values);
  s.type = named(kScalarTypes, type);
  s.samples = values_shape[0];
  s.width = values_shape[1];
  copy(values_strides, s.value_strides);
  s.stamps = at<const int64_t>(stamps);
  copy(stamps_strides, s.stamp_strides);
  s.method = named(kMethods, method);
  s.tolerance_ns = static_cast<uint64_t>(tolerance_ns);
  return s;
}

// shape: (batch, targets); strides in elements.
void fuse(const std::vector<Stream>& streams, uintptr_t targets, std::array<int64_t, 2> shape,
          std::array<int64_t, 2> strides, uintptr_t out, uintptr_t valid) {
  fuse_cpu(streams.data(), static_cast<int64_t>(streams.size()), shape[0], at<const int64_t>(targets), shape[1],
           strides.data(), at<void>(out), at<bool>(valid));
}

// Whether this build rounds a product before it is added to, as every other build does.
bool rounds_products() {
  volatile float a = 1.0f + 0x1p-12f, c = -1.0f - 0x1p-11f;
  const float x = a, y = c;
  return x * x + y == 0.0f;
}

std::string compiler_flags() {
#ifdef ROBOCACHE_COMPILER_FLAGS
  std::string flags = ROBOCACHE_COMPILER_FLAGS;
#else
  std::string flags = "C++" + std::to_string(__cplusplus / 100 % 100);
#ifdef __OPTIMIZE__
  flags += " optimized";
#endif
#endif
#if defined(__clang__)
  return "clang " __clang_version__ " " + flags;
#elif defined(__GNUC__)
  return "gcc " __VERSION__ " " + flags;
#else
  return flags;
#endif
}

}  // namespace

PYBIND11_MODULE(_robocache_core, m) {
  if (!rounds_products()) throw py::import_error("_robocache_core was compiled without -ffp-contract=off");
  m.doc() = "Operations of robocache_core on the CPU; use robocache_core.ops.";
  m.attr("interface") = ROBOCACHE_INTERFACE;
  m.attr("compiler_flags") = compiler_flags();

  const auto release = py::call_guard<py::gil_scoped_release>();

  py::class_<VoxelParams>(m, "VoxelParams")
      .def(py::init(&make_voxel_params), py::kw_only(), py::arg("fields"), py::arg("swap"), py::arg("lower"),
           py::arg("inverse_size"), py::arg("size"), py::arg("shape"), py::arg("min_range2"), py::arg("max_range2"),
           py::arg("quantum"), py::arg("inverse_quantum"), py::arg("inverse_volume"), py::arg("channels"),
           py::arg("num_sums"), py::arg("num_maxima"));
  m.def("voxelize_dense", &voxelize_dense, release, py::arg("params"), py::kw_only(), py::arg("data"),
        py::arg("shape"), py::arg("strides"), py::arg("pose"), py::arg("tensor"));
  m.def("voxelize_sparse", &voxelize_sparse, release, py::arg("params"), py::kw_only(), py::arg("data"),
        py::arg("shape"), py::arg("strides"), py::arg("pose"), py::arg("capacity"), py::arg("coords"),
        py::arg("features"), py::arg("counts"));

  py::class_<ImageParams>(m, "ImageParams")
      .def(py::init(&make_image_params), py::kw_only(), py::arg("size"), py::arg("pixel_type"), py::arg("swap"),
           py::arg("source_channels"), py::arg("order"), py::arg("out_size"), py::arg("region"), py::arg("nearest"),
           py::arg("scale"), py::arg("multiply"), py::arg("add"), py::arg("pad"), py::arg("out_type"));
  m.def("prepare_image", &prepare_image, release, py::arg("params"), py::kw_only(), py::arg("data"), py::arg("step"),
        py::arg("out"));

  py::class_<Stream>(m, "Stream")
      .def(py::init(&make_stream), py::kw_only(), py::arg("values"), py::arg("type"), py::arg("values_shape"),
           py::arg("values_strides"), py::arg("stamps"), py::arg("stamps_strides"), py::arg("method"),
           py::arg("tolerance_ns"));
  m.def("fuse", &fuse, release, py::arg("streams"), py::kw_only(), py::arg("targets"), py::arg("shape"),
        py::arg("strides"), py::arg("out"), py::arg("valid"));
}
