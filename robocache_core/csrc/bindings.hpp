// SPDX-License-Identifier: Apache-2.0
// What the bindings of the operations share. Tensors cross as addresses (`Tensor.data_ptr()`); arguments have been
// checked.
//
// The first argument of every operation is where its tensors are: None for the CPU, or the number of a GPU and its
// stream. Nothing waits for a GPU but fuse, where it has to check stamps.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>

#include "gpu.hpp"
#include "grid.hpp"
#include "points.hpp"

namespace py = pybind11;

namespace robocache {

// Each adds the operations of a file to the module.
void bind_points(py::module_& m);
void bind_voxels(py::module_& m);
void bind_hard_voxels(py::module_& m);
void bind_image(py::module_& m);
void bind_depth(py::module_& m);
void bind_registration(py::module_& m);
void bind_jpeg(py::module_& m);
void bind_rvl(py::module_& m);
void bind_resampling(py::module_& m);

using Release = py::call_guard<py::gil_scoped_release>;
using Float3 = std::array<float, 3>;
using Double3 = std::array<double, 3>;

template <class T>
T* at(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

template <class T>
inline T named(const std::map<std::string, T>& table, const std::string& name) {
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

inline int64_t integer(py::handle item) {
  const int64_t found = PyLong_AsLongLong(item.ptr());
  if (found == -1 && PyErr_Occurred() != nullptr) throw py::error_already_set();
  return found;
}

inline double number(py::handle item) {
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
// num_poses, the clock: (first, inverse_step) where they are looked up by time, else None; and the address of the rays
// of a depth image (float32 [height, width, 3]), else 0.
inline Cloud read_cloud(py::handle tuple) {
  const auto [data, height, width, row_step, point_step, rows, num_poses, clock, rays] = items<9>(tuple);
  Poses poses{at<const float>(integer(rows)), integer(num_poses), 0, 0, false};
  if (!clock.is_none()) {
    const auto [first, inverse_step] = items<2>(clock);
    poses.first = number(first);
    poses.inverse_step = number(inverse_step);
    poses.by_time = true;
  }
  return {
      at<const uint8_t>(integer(data)), integer(width), integer(height), integer(point_step), integer(row_step), poses,
      at<const float>(integer(rays))};
}

inline GpuStream read_gpu_stream(py::handle tuple) {
  const auto [device, stream] = integers<2>(tuple);
  return {static_cast<int>(device), at<void>(stream)};
}

using Where = std::optional<GpuStream>;

// Calls the function of an operation for where its tensors are.
#ifdef ROBOCACHE_CUDA
#define RC_RUN(where, operation, ...) ((where) ? operation##_cuda(*(where), __VA_ARGS__) : operation##_cpu(__VA_ARGS__))
#else
#define RC_RUN(where, operation, ...) ((where) ? throw GpuError("built without CUDA") : operation##_cpu(__VA_ARGS__))
#endif

inline Box make_box(Float3 lower, Float3 inverse_size, std::array<uint32_t, 3> shape) {
  Box box{};
  copy(lower, box.lower);
  copy(inverse_size, box.inverse_size);
  copy(shape, box.shape);
  for (int i = 0; i < 3; ++i) box.extent[i] = static_cast<float>(shape[i]);
  return box;
}

// The numbers of a voxelization, which run(numbers) writes: of a GPU at `address`, else they are returned.
template <class Run>
std::optional<std::array<int64_t, kNumbers>> with_numbers(const Where& where, uintptr_t address, Run run) {
  if (where) {
    run(at<int64_t>(address));
    return std::nullopt;
  }
  std::array<int64_t, kNumbers> numbers;
  run(numbers.data());
  return numbers;
}

}  // namespace robocache

// An operation takes tuples: objects would take longer to make than what else a small call does.
template <>
struct py::detail::type_caster<robocache::Cloud> {
  PYBIND11_TYPE_CASTER(robocache::Cloud, const_name("tuple"));

  bool load(handle tuple, bool) {
    value = robocache::read_cloud(tuple);
    return true;
  }
};

template <>
struct py::detail::type_caster<robocache::GpuStream> {
  PYBIND11_TYPE_CASTER(robocache::GpuStream, const_name("tuple"));

  bool load(handle tuple, bool) {
    value = robocache::read_gpu_stream(tuple);
    return true;
  }
};
