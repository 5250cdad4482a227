// SPDX-License-Identifier: Apache-2.0
// The Python module `_robocache_core`: of which build it is, its threads, its GPU, and the operations.
#include "bindings.hpp"

#include <stdexcept>
#include <string>

#include "checked_calls.hpp"
#include "pool.hpp"
#include "simd.hpp"
#ifdef ROBOCACHE_CUDA
#include "pinned.hpp"
#include "upload.hpp"
#endif

// Raised with every change of a signature in the bindings, so that robocache_core refuses a module of another build.
#define ROBOCACHE_INTERFACE 14

using namespace robocache;

namespace {

#ifdef ROBOCACHE_CUDA
template <class Function>
uintptr_t address(Function* function) {
  return reinterpret_cast<uintptr_t>(function);
}

void upload(Uploader& uploader, uintptr_t from, int64_t size, uintptr_t to, uintptr_t stream) {
  uploader.upload(at<const uint8_t>(from), size, at<uint8_t>(to), at<void>(stream));
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

  m.def("set_num_threads", &set_pool_threads, py::arg("num_threads"));
  m.def("num_threads", &pool_threads);
  py::class_<CheckedCalls>(m, "CheckedCalls")
      .def(py::init<py::type>(), py::arg("tensor_type"))
      .def("find", &CheckedCalls::find)
      .def("remember", &CheckedCalls::remember);
  m.attr("max_channels") = kMaxChannels;
  m.attr("num_numbers") = kNumbers;

  bind_points(m);
  bind_voxels(m);
  bind_hard_voxels(m);
  bind_image(m);
  bind_depth(m);
  bind_registration(m);
  bind_jpeg(m);
  bind_rvl(m);
  bind_resampling(m);

  py::register_exception<GpuError>(m, "GpuError", PyExc_RuntimeError);
  m.attr("cuda_archs") = "";
#ifdef ROBOCACHE_CUDA
  m.attr("cuda_archs") = ROBOCACHE_CUDA;
  m.def("gpu_memory_bytes", &gpu_memory_bytes);
  py::class_<Uploader>(m, "Uploader").def(py::init<int>(), Release()).def("upload", &upload, Release());
  py::class_<Block>(m, "Block", py::buffer_protocol()).def(py::init<size_t>(), Release()).def_buffer([](Block& block) {
    return py::buffer_info(static_cast<uint8_t*>(block.memory()), static_cast<py::ssize_t>(block.size()));
  });
  m.def("pin_blocks", &pin_blocks, py::arg("gpu"));
  m.def("pinned_bytes", &pinned_bytes);
  m.attr("block_functions") =
      py::make_tuple(address(&allocate_block), address(&free_block), address(&resize_block), address(&allocate_zeros));
#endif
}
