// SPDX-License-Identifier: Apache-2.0
// Damage in a JPEG for Python.
#include "bindings.hpp"
#include "jpeg.hpp"

namespace robocache {
namespace {

// span: addresses of the entropy-coded data and of their end; the others are addresses too.
int find_jpeg_damage(std::array<uintptr_t, 2> span, int64_t num_mcus, int64_t restart, uintptr_t blocks,
                     int64_t num_blocks, uintptr_t codes, uintptr_t quanta) {
  return static_cast<int>(
      jpeg_damage({at<const uint8_t>(span[0]), at<const uint8_t>(span[1]), num_mcus, restart,
                   at<const JpegBlock>(blocks), num_blocks, at<const uint16_t>(codes), at<const int32_t>(quanta)}));
}

}  // namespace

void bind_jpeg(py::module_& m) { m.def("jpeg_damage", &find_jpeg_damage, Release()); }

}  // namespace robocache
