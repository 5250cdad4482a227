// SPDX-License-Identifier: Apache-2.0
// Damage in a JPEG, and its planes, for Python.
#include "bindings.hpp"
#include "jpeg.hpp"
#include "jpeg_planes.hpp"

namespace robocache {
namespace {

// tuple: addresses of the entropy-coded data and of their end, num_mcus, restart, address and number of the blocks,
// addresses of the codes and of the quanta.
JpegScan read_jpeg_scan(py::handle tuple) {
  const auto [begin, end, num_mcus, restart, blocks, num_blocks, codes, quanta] = integers<8>(tuple);
  return {
      at<const uint8_t>(begin),  at<const uint8_t>(end),   num_mcus, restart, at<const JpegBlock>(blocks), num_blocks,
      at<const uint16_t>(codes), at<const int32_t>(quanta)};
}

int find_jpeg_damage(py::tuple tuple) {
  const JpegScan scan = read_jpeg_scan(tuple);
  const py::gil_scoped_release release;
  return static_cast<int>(jpeg_damage(scan));
}

// layout: mcus_across, mcus_down, luma_across, luma_down, num_planes, luma_size, chroma_size.
bool write_jpeg_planes(py::tuple tuple, std::array<int32_t, 7> layout, uintptr_t out) {
  const JpegScan scan = read_jpeg_scan(tuple);
  const JpegPlanes planes{layout[0], layout[1], layout[2], layout[3], layout[4], layout[5], layout[6]};
  const py::gil_scoped_release release;
  return jpeg_planes(scan, planes, at<uint8_t>(out));
}

}  // namespace

void bind_jpeg(py::module_& m) {
  m.def("jpeg_damage", &find_jpeg_damage);
  m.def("jpeg_planes", &write_jpeg_planes);
}

}  // namespace robocache
