// SPDX-License-Identifier: Apache-2.0
// Preparation of depth images for Python.
#include <map>
#include <string>

#include "bindings.hpp"
#include "depth.hpp"

namespace robocache {
namespace {

const std::map<std::string, PixelType> kPixelTypes = {{"uint16", PixelType::kUInt16}, {"float32", PixelType::kFloat32}};

// size, out_size: (width, height); region: (x, y, width, height); range: least and most, m.
DepthParams make_depth_params(std::array<int32_t, 2> size, const std::string& pixel_type, bool swap,
                              std::array<int32_t, 2> out_size, std::array<int32_t, 4> region, bool minimum,
                              std::array<double, 2> scale, double unit, std::array<float, 2> range) {
  DepthParams p{};
  p.width = size[0];
  p.height = size[1];
  p.type = named(kPixelTypes, pixel_type);
  p.swap = swap;
  p.out_width = out_size[0];
  p.out_height = out_size[1];
  p.region_x = region[0];
  p.region_y = region[1];
  p.region_width = region[2];
  p.region_height = region[3];
  p.minimum = minimum;
  p.scale_x = scale[0];
  p.scale_y = scale[1];
  p.scale = {unit, range[0], range[1]};
  return p;
}

// rectify: address of float32 [out_height, out_width, 2], or 0.
void prepare_depth(const Where& where, const DepthParams& params, uintptr_t data, int64_t step, uintptr_t rectify,
                   uintptr_t depth, uintptr_t valid) {
  const ImageView image{at<const uint8_t>(data), step};
  RC_RUN(where, prepare_depth, params, image, at<const float>(rectify), at<float>(depth), at<bool>(valid));
}

}  // namespace

void bind_depth(py::module_& m) {
  py::class_<DepthParams>(m, "DepthParams")
      .def(py::init(&make_depth_params), py::kw_only(), py::arg("size"), py::arg("pixel_type"), py::arg("swap"),
           py::arg("out_size"), py::arg("region"), py::arg("minimum"), py::arg("scale"), py::arg("unit"),
           py::arg("range"));
  m.def("prepare_depth", &prepare_depth, Release());
}

}  // namespace robocache
