// SPDX-License-Identifier: Apache-2.0
// RVL for Python.
#include "bindings.hpp"
#include "rvl.hpp"

namespace robocache {

void bind_rvl(py::module_& m) {
  m.def(
      "decode_rvl",
      [](uintptr_t data, int64_t nbytes, int64_t num_pixels, uintptr_t pixels) {
        return decode_rvl(at<const uint8_t>(data), nbytes, num_pixels, at<uint16_t>(pixels));
      },
      Release());
}

}  // namespace robocache
