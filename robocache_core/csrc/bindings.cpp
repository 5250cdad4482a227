// SPDX-License-Identifier: Apache-2.0
// The Python module `_robocache_core`. Addresses cross as integers (`Tensor.data_ptr()`);
// what is passed has been checked.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "image.hpp"
#include "pool.hpp"
#include "resample.hpp"
#include "simd.hpp"
#ifdef ROBOCACHE_CUDA
#include "upload.hpp"
#endif
#include "voxelize.hpp"

// Raised with every change of a signature here, so that robocache_core refuses a module of another build.
#define ROBOCACHE_INTERFACE 6

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

// What a tuple holds. pybind11's own casts of this and of integers would take longer than a small call does.
template <size_t kSize>
std::array<py::handle, kSize> items(py::handle tuple) {
  if (!PyTuple_Check(tuple.ptr()) || PyTuple_GET_SIZE(tuple.ptr()) != kSize) {
    throw py::type_error("needs a tuple of " + std::to_string(kSize));
  }
  std::array<py::handle, kSize> found;
  for (size_t i = 0; i < kSize; ++i) found[i] = PyTuple_GET_ITEM(tuple.ptr(), i);
  return found;
}

int64_t integer(py::handle item) {
  const int64_t found = PyLong_AsLongLong(item.ptr());
  if (found == -1 && PyErr_Occurred() != nullptr) throw py::error_already_set();
  return found;
}

double number(py::handle item) {
  const double found = PyFloat_AsDouble(item.ptr());
  if (found == -1.0 && PyErr_Occurred() != nullptr) throw py::error_already_set();
  return found;
}

template <size_t kSize>
std::array<int64_t, kSize> integers(py::handle tuple) {
  std::array<int64_t, kSize> numbers;
  const auto found = items<kSize>(tuple);
  for (size_t i = 0; i < kSize; ++i) numbers[i] = integer(found[i]);
  return numbers;
}

// tuple: address of the data, height, width, row_step, point_step, address of the poses (float32 [num_poses, 3, 4]),
// num_poses, and the clock: (first, inverse_step) where they are looked up by time, else None.
Cloud read_cloud(py::handle tuple) {
  const auto [data, height, width, row_step, point_step, rows, num_poses, clock] = items<8>(tuple);
  Poses poses{at<const float>(integer(rows)), integer(num_poses), 0, 0, false};
  if (!clock.is_none()) {
    const auto [first, inverse_step] = items<2>(clock);
    poses.first = number(first);
    poses.inverse_step = number(inverse_step);
    poses.by_time = true;
  }
  return {
      at<const uint8_t>(integer(data)), integer(width), integer(height), integer(point_step), integer(row_step), poses};
}

}  // namespace

// An operation takes a cloud as a tuple: an object for it would take longer to make than what else such a call does.
template <>
struct py::detail::type_caster<Cloud> {
  PYBIND11_TYPE_CASTER(Cloud, const_name("tuple"));

  bool load(handle tuple, bool) {
    value = read_cloud(tuple);
    return true;
  }
};

namespace {

const std::map<std::string, FieldType> kFieldTypes = {
    {"int8", FieldType::kInt8},       {"uint8", FieldType::kUInt8},     {"int16", FieldType::kInt16},
    {"uint16", FieldType::kUInt16},   {"int32", FieldType::kInt32},     {"uint32", FieldType::kUInt32},
    {"float32", FieldType::kFloat32}, {"float64", FieldType::kFloat64},
};

const std::map<std::string, ChannelKind> kChannelKinds = {
    {"count", ChannelKind::kCount},     {"occupancy", ChannelKind::kOccupancy},
    {"density", ChannelKind::kDensity}, {"mean_offset", ChannelKind::kMeanOffset},
    {"mean", ChannelKind::kMean},       {"max", ChannelKind::kMax},
    {"min", ChannelKind::kMin},
};

const std::map<std::string, PixelType> kPixelTypes = {
    {"uint8", PixelType::kUInt8}, {"uint16", PixelType::kUInt16}, {"float32", PixelType::kFloat32}};

const std::map<std::string, ImageLayout> kImageLayouts = {{"packed", ImageLayout::kPacked},
                                                          {"bayer", ImageLayout::kBayer},
                                                          {"yuv422", ImageLayout::kYuv422},
                                                          {"semi_planar", ImageLayout::kSemiPlanar}};

const std::map<std::string, Filter> kFilters = {
    {"bilinear", Filter::kBilinear}, {"nearest", Filter::kNearest}, {"area", Filter::kArea}};

const std::map<std::string, OutputType> kOutputTypes = {
    {"float32", OutputType::kFloat32}, {"float16", OutputType::kFloat16}, {"bfloat16", OutputType::kBFloat16}};

const std::map<std::string, int32_t> kScalarTypes = {{"float32", static_cast<int32_t>(ScalarType::kFloat32)},
                                                     {"float16", static_cast<int32_t>(ScalarType::kFloat16)},
                                                     {"bfloat16", static_cast<int32_t>(ScalarType::kBFloat16)}};

const std::map<std::string, Method> kMethods = {{"linear", Method::kLinear},
                                                {"slerp", Method::kSlerp},
                                                {"nearest", Method::kNearest},
                                                {"previous", Method::kPrevious}};

const std::map<std::string, Outside> kOutsides = {
    {"hold", Outside::kHold}, {"zero", Outside::kZero}, {"extrapolate", Outside::kExtrapolate}};

using Float3 = std::array<float, 3>;
using Double3 = std::array<double, 3>;

using FieldSpec = std::pair<int32_t, std::string>;  // offset, dtype

// time: of a pose table, else empty.
PointParams make_point_params(const std::vector<FieldSpec>& fields, const std::vector<FieldSpec>& time, bool swap,
                              float min_range2, float max_range2) {
  if (fields.size() > kMaxFields) throw std::invalid_argument("too many fields");
  PointParams p{};
  for (const auto& [offset, type] : fields) p.fields[p.num_fields++] = {offset, named(kFieldTypes, type)};
  for (const auto& [offset, type] : time) p.time = {offset, named(kFieldTypes, type)};
  p.swap = swap;
  p.min_range2 = min_range2;
  p.max_range2 = max_range2;
  return p;
}

Box make_box(Float3 lower, Float3 inverse_size, std::array<uint32_t, 3> shape) {
  Box box{};
  copy(lower, box.lower);
  copy(inverse_size, box.inverse_size);
  copy(shape, box.shape);
  for (int i = 0; i < 3; ++i) box.extent[i] = static_cast<float>(shape[i]);
  return box;
}

// channels: (kind, source, slot).
VoxelParams make_voxel_params(const PointParams& points, Float3 lower, Float3 inverse_size, Double3 size,
                              std::array<uint32_t, 3> shape, double quantum, double inverse_quantum,
                              double inverse_volume,
                              const std::vector<std::tuple<std::string, int32_t, int32_t>>& channels, int32_t num_sums,
                              int32_t num_maxima) {
  if (channels.size() > kMaxChannels) throw std::invalid_argument("too many channels");
  VoxelParams p{};
  p.points = points;
  for (const auto& [kind, source, slot] : channels)
    p.channels[p.num_channels++] = {named(kChannelKinds, kind), source, slot};
  p.box = make_box(lower, inverse_size, shape);
  copy(size, p.size);
  p.quantum = quantum;
  p.inverse_quantum = inverse_quantum;
  p.inverse_volume = inverse_volume;
  p.num_sums = num_sums;
  p.num_maxima = num_maxima;
  return p;
}

using Dropped = std::array<int64_t, kNumDrops>;

Dropped voxelize_dense(const VoxelParams& params, const Cloud& cloud, uintptr_t tensor) {
  Dropped dropped;
  voxelize_dense_cpu(params, cloud, at<float>(tensor), dropped.data());
  return dropped;
}

std::pair<int64_t, Dropped> voxelize_sparse(const VoxelParams& params, const Cloud& cloud, int64_t capacity,
                                            uintptr_t coords, uintptr_t features, uintptr_t counts) {
  Dropped dropped;
  const int64_t size = voxelize_sparse_cpu(params, cloud, capacity, at<int32_t>(coords), at<float>(features),
                                           at<int32_t>(counts), dropped.data());
  return {size, dropped};
}

HardParams make_hard_params(const PointParams& points, Float3 lower, Float3 inverse_size, Double3 size,
                            std::array<uint32_t, 3> shape, const std::vector<int32_t>& columns, int32_t max_points) {
  if (columns.size() > kMaxChannels) throw std::invalid_argument("too many columns");
  HardParams p{};
  p.points = points;
  p.box = make_box(lower, inverse_size, shape);
  for (int i = 0; i < 3; ++i) p.size[i] = static_cast<float>(size[i]);
  std::copy(columns.begin(), columns.end(), p.columns);
  p.num_columns = static_cast<int32_t>(columns.size());
  p.max_points = max_points;
  return p;
}

std::pair<int64_t, Dropped> voxelize_hard(const HardParams& params, const Cloud& cloud, int64_t capacity,
                                          uintptr_t voxels, uintptr_t coords, uintptr_t num_points) {
  Dropped dropped;
  const int64_t size = voxelize_hard_cpu(params, cloud, capacity, at<float>(voxels), at<int32_t>(coords),
                                         at<int32_t>(num_points), dropped.data());
  return {size, dropped};
}

void deskew_points(const PointParams& params, const Cloud& cloud, uintptr_t points, uintptr_t valid) {
  deskew_points_cpu(params, cloud, at<float>(points), at<bool>(valid));
}

// size, out_size: (width, height); region: (x, y, width, height).
ImageParams make_image_params(std::array<int32_t, 2> size, const std::string& pixel_type, bool swap,
                              const std::string& layout, int32_t source_channels, const std::vector<int32_t>& order,
                              std::array<int32_t, 2> out_size, std::array<int32_t, 4> region, const std::string& filter,
                              std::array<double, 2> scale, std::array<double, 2> inverse, Float3 multiply, Float3 add,
                              Float3 pad, const std::string& out_type) {
  if (order.size() > kMaxImageChannels) throw std::invalid_argument("too many channels");
  ImageParams p{};
  p.width = size[0];
  p.height = size[1];
  p.type = named(kPixelTypes, pixel_type);
  p.swap = swap;
  p.layout = named(kImageLayouts, layout);
  p.source_channels = source_channels;
  p.channels = static_cast<int32_t>(order.size());
  std::copy(order.begin(), order.end(), p.order);
  p.out_width = out_size[0];
  p.out_height = out_size[1];
  p.region_x = region[0];
  p.region_y = region[1];
  p.region_width = region[2];
  p.region_height = region[3];
  p.filter = named(kFilters, filter);
  p.scale_x = scale[0];
  p.scale_y = scale[1];
  p.inverse_x = inverse[0];
  p.inverse_y = inverse[1];
  copy(multiply, p.multiply);
  copy(add, p.add);
  copy(pad, p.pad);
  p.out_type = named(kOutputTypes, out_type);
  return p;
}

// map: address of float32 [out_height, out_width, 2], or 0.
void prepare_image(const ImageParams& params, uintptr_t data, int64_t step, uintptr_t map, uintptr_t out) {
  prepare_image_cpu(params, {at<const uint8_t>(data), step}, at<const float>(map), at<void>(out));
}

// Stamps and elements that fuse does with the interpreter held.
constexpr int64_t kFuseAtOnce = 1 << 13;

struct FuseParams {
  std::vector<Reading> readings;
  bool sort;
};

// readings: (method, outside, tolerance_ns) of each stream.
FuseParams make_fuse_params(const std::vector<std::tuple<std::string, std::string, int64_t>>& readings, bool sort) {
  FuseParams p{{}, sort};
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

std::optional<std::tuple<int64_t, int64_t, int64_t>> where(const Descent& descent) {
  if (descent.stream < 0) return std::nullopt;
  return std::tuple{descent.stream, descent.batch, descent.sample};
}

// Returns stream, batch and sample of a stamp that descends and may not.
std::optional<std::tuple<int64_t, int64_t, int64_t>> fuse(const FuseParams& params, const py::list& streams,
                                                          const py::tuple& target_spec, uintptr_t out, int32_t out_type,
                                                          uintptr_t valid) {
  const Targets targets = read_targets(target_spec);
  int64_t work = 0;
  const std::vector<Stream>& all = read_streams(streams);
  for (const Stream& stream : all) work += targets.batch * (stream.samples + targets.num * stream.width);
  // A thread that gives the interpreter away may wait milliseconds to have it back: not for a few microseconds' work.
  std::optional<py::gil_scoped_release> released;
  if (work > kFuseAtOnce) released.emplace();
  const Descent descent = fuse_cpu(all.data(), params.readings.data(), static_cast<int64_t>(all.size()), targets.batch,
                                   targets.stamps, targets.num, targets.strides, params.sort, at<void>(out),
                                   static_cast<ScalarType>(out_type), at<bool>(valid));
  return where(descent);
}

#ifdef ROBOCACHE_CUDA
// The same on a GPU. Every one is told device and stream; nothing waits but find_descent.

void voxelize_dense_gpu(int device, uintptr_t stream, const VoxelParams& params, const Cloud& cloud, uintptr_t tensor,
                        uintptr_t reported) {
  voxelize_dense_cuda({device, at<void>(stream)}, params, cloud, at<float>(tensor), at<int64_t>(reported));
}

void voxelize_sparse_gpu(int device, uintptr_t stream, const VoxelParams& params, const Cloud& cloud, int64_t capacity,
                         uintptr_t coords, uintptr_t features, uintptr_t counts, uintptr_t reported) {
  voxelize_sparse_cuda({device, at<void>(stream)}, params, cloud, capacity, at<int32_t>(coords), at<float>(features),
                       at<int32_t>(counts), at<int64_t>(reported));
}

void voxelize_hard_gpu(int device, uintptr_t stream, const HardParams& params, const Cloud& cloud, int64_t capacity,
                       uintptr_t voxels, uintptr_t coords, uintptr_t num_points, uintptr_t reported) {
  voxelize_hard_cuda({device, at<void>(stream)}, params, cloud, capacity, at<float>(voxels), at<int32_t>(coords),
                     at<int32_t>(num_points), at<int64_t>(reported));
}

void deskew_points_gpu(int device, uintptr_t stream, const PointParams& params, const Cloud& cloud, uintptr_t points,
                       uintptr_t valid) {
  deskew_points_cuda({device, at<void>(stream)}, params, cloud, at<float>(points), at<bool>(valid));
}

void prepare_image_gpu(int device, uintptr_t stream, const ImageParams& params, uintptr_t data, int64_t step,
                       uintptr_t map, uintptr_t out) {
  prepare_image_cuda({device, at<void>(stream)}, params, {at<const uint8_t>(data), step}, at<const float>(map),
                     at<void>(out));
}

// orders: of each stream the address of its samples' order, or 0.
void fuse_gpu(int device, uintptr_t stream, const FuseParams& params, const py::list& streams, const py::list& orders,
              const py::tuple& target_spec, uintptr_t out, int32_t out_type, uintptr_t valid) {
  const Targets targets = read_targets(target_spec);
  const std::vector<Stream>& all = read_streams(streams);
  std::vector<const int64_t*> samples;
  samples.reserve(orders.size());
  for (const py::handle order : orders) samples.push_back(at<const int64_t>(integer(order)));
  const py::gil_scoped_release released;
  fuse_cuda({device, at<void>(stream)}, all.data(), samples.data(), params.readings.data(),
            static_cast<int64_t>(all.size()), targets.batch, targets.stamps, targets.num, targets.strides,
            at<void>(out), static_cast<ScalarType>(out_type), at<bool>(valid));
}

std::optional<std::tuple<int64_t, int64_t, int64_t>> find_descent_gpu(int device, uintptr_t stream,
                                                                      const py::list& streams, int64_t batch) {
  const std::vector<Stream>& all = read_streams(streams);
  const py::gil_scoped_release released;
  return where(find_descent_cuda({device, at<void>(stream)}, all.data(), static_cast<int64_t>(all.size()), batch));
}

void upload(Uploader& uploader, uintptr_t from, int64_t size, uintptr_t to, uintptr_t stream) {
  uploader.upload(at<const uint8_t>(from), size, at<uint8_t>(to), at<void>(stream));
}

void define_gpu(py::module_& m) {
  const auto release = py::call_guard<py::gil_scoped_release>();
  py::register_exception<GpuError>(m, "GpuError", PyExc_RuntimeError);
  m.attr("num_reported") = 1 + kNumDrops;
  m.def("voxelize_dense_gpu", &voxelize_dense_gpu, release);
  m.def("voxelize_sparse_gpu", &voxelize_sparse_gpu, release);
  m.def("voxelize_hard_gpu", &voxelize_hard_gpu, release);
  m.def("deskew_points_gpu", &deskew_points_gpu, release);
  m.def("prepare_image_gpu", &prepare_image_gpu, release);
  m.def("gpu_memory_bytes", &gpu_memory_bytes);
  m.def("fuse_gpu", &fuse_gpu);
  m.def("find_descent_gpu", &find_descent_gpu);
  py::class_<Uploader>(m, "Uploader").def(py::init<int>(), release).def("upload", &upload, release);
}
#endif

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
  m.doc() = "Operations of robocache_core; use robocache_core.ops.";
  m.attr("interface") = ROBOCACHE_INTERFACE;
  m.attr("compiler_flags") = compiler_flags();
  try {
    m.attr("simd") = simd_name(simd_level());
  } catch (const std::runtime_error& error) {
    throw py::import_error(error.what());
  }

  const auto release = py::call_guard<py::gil_scoped_release>();

  m.def("set_num_threads", &set_pool_threads, py::arg("num_threads"));
  m.def("num_threads", &pool_threads);

  py::class_<PointParams>(m, "PointParams")
      .def(py::init(&make_point_params), py::kw_only(), py::arg("fields"), py::arg("time"), py::arg("swap"),
           py::arg("min_range2"), py::arg("max_range2"));
  py::class_<VoxelParams>(m, "VoxelParams")
      .def(py::init(&make_voxel_params), py::kw_only(), py::arg("points"), py::arg("lower"), py::arg("inverse_size"),
           py::arg("size"), py::arg("shape"), py::arg("quantum"), py::arg("inverse_quantum"), py::arg("inverse_volume"),
           py::arg("channels"), py::arg("num_sums"), py::arg("num_maxima"));
  m.def("voxelize_dense", &voxelize_dense, release, py::arg("params"), py::arg("cloud"), py::kw_only(),
        py::arg("tensor"));
  m.def("voxelize_sparse", &voxelize_sparse, release, py::arg("params"), py::arg("cloud"), py::kw_only(),
        py::arg("capacity"), py::arg("coords"), py::arg("features"), py::arg("counts"));

  py::class_<HardParams>(m, "HardParams")
      .def(py::init(&make_hard_params), py::kw_only(), py::arg("points"), py::arg("lower"), py::arg("inverse_size"),
           py::arg("size"), py::arg("shape"), py::arg("columns"), py::arg("max_points"));
  m.def("voxelize_hard", &voxelize_hard, release, py::arg("params"), py::arg("cloud"), py::kw_only(),
        py::arg("capacity"), py::arg("voxels"), py::arg("coords"), py::arg("num_points"));
  m.def("deskew_points", &deskew_points, release, py::arg("params"), py::arg("cloud"), py::kw_only(), py::arg("points"),
        py::arg("valid"));

  py::class_<ImageParams>(m, "ImageParams")
      .def(py::init(&make_image_params), py::kw_only(), py::arg("size"), py::arg("pixel_type"), py::arg("swap"),
           py::arg("layout"), py::arg("source_channels"), py::arg("order"), py::arg("out_size"), py::arg("region"),
           py::arg("filter"), py::arg("scale"), py::arg("inverse"), py::arg("multiply"), py::arg("add"), py::arg("pad"),
           py::arg("out_type"));
  m.def("prepare_image", &prepare_image, release, py::arg("params"), py::kw_only(), py::arg("data"), py::arg("step"),
        py::arg("map"), py::arg("out"));

  m.attr("scalar_types") = kScalarTypes;
  py::class_<FuseParams>(m, "FuseParams")
      .def(py::init(&make_fuse_params), py::kw_only(), py::arg("readings"), py::arg("sort"));
  m.def("fuse", &fuse, py::arg("params"), py::arg("streams"), py::arg("targets"), py::arg("out"), py::arg("out_type"),
        py::arg("valid"));

  m.attr("cuda_archs") = "";
#ifdef ROBOCACHE_CUDA
  m.attr("cuda_archs") = ROBOCACHE_CUDA;
  define_gpu(m);
#endif
}
