// SPDX-License-Identifier: Apache-2.0
// Preparation of images for Python.
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "bindings.hpp"
#include "image.hpp"

namespace robocache {
namespace {

const std::map<std::string, PixelType> kPixelTypes = {
    {"uint8", PixelType::kUInt8}, {"uint16", PixelType::kUInt16}, {"float32", PixelType::kFloat32}};

const std::map<std::string, ImageLayout> kImageLayouts = {{"packed", ImageLayout::kPacked},
                                                          {"bayer", ImageLayout::kBayer},
                                                          {"yuv422", ImageLayout::kYuv422},
                                                          {"semi_planar", ImageLayout::kSemiPlanar},
                                                          {"jpeg", ImageLayout::kJpeg}};

const std::map<std::string, Resize> kResizes = {
    {"bilinear", Resize::kBilinear}, {"nearest", Resize::kNearest}, {"area", Resize::kArea}};

const std::map<std::string, ResultType> kResultTypes = {{"float32", ResultType::kFloat32},
                                                        {"float16", ResultType::kFloat16},
                                                        {"bfloat16", ResultType::kBFloat16},
                                                        {"uint8", ResultType::kUInt8}};

// size, out_size: (width, height); sampling: pixels of luma for one of chroma, 1 2 4 and 1 2; region: (x, y, width,
// height).
ImageParams make_image_params(std::array<int32_t, 2> size, const std::string& pixel_type, bool swap,
                              const std::string& layout, int32_t source_channels, const std::vector<int32_t>& order,
                              std::array<int32_t, 2> sampling, std::array<int32_t, 2> out_size,
                              std::array<int32_t, 4> region, const std::string& resize, std::array<double, 2> scale,
                              std::array<double, 2> inverse, Float3 multiply, Float3 add, Float3 pad,
                              const std::string& out_type) {
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
  p.halvings_x = sampling[0] / 2;
  p.halvings_y = sampling[1] / 2;
  p.out_width = out_size[0];
  p.out_height = out_size[1];
  p.region_x = region[0];
  p.region_y = region[1];
  p.region_width = region[2];
  p.region_height = region[3];
  p.resize = named(kResizes, resize);
  p.scale_x = scale[0];
  p.scale_y = scale[1];
  p.inverse_x = inverse[0];
  p.inverse_y = inverse[1];
  copy(multiply, p.multiply);
  copy(add, p.add);
  copy(pad, p.pad);
  p.out_type = named(kResultTypes, out_type);
  return p;
}

// rectify: address of float32 [out_height, out_width, 2], or 0.
void prepare_image(const Where& where, const ImageParams& params, uintptr_t data, int64_t step, uintptr_t rectify,
                   uintptr_t out) {
  const ImageView image{at<const uint8_t>(data), step};
  RC_RUN(where, prepare_image, params, image, at<const float>(rectify), at<void>(out));
}

}  // namespace

void bind_image(py::module_& m) {
  py::class_<ImageParams>(m, "ImageParams")
      .def(py::init(&make_image_params), py::kw_only(), py::arg("size"), py::arg("pixel_type"), py::arg("swap"),
           py::arg("layout"), py::arg("source_channels"), py::arg("order"), py::arg("sampling"), py::arg("out_size"),
           py::arg("region"), py::arg("resize"), py::arg("scale"), py::arg("inverse"), py::arg("multiply"),
           py::arg("add"), py::arg("pad"), py::arg("out_type"));
  m.def("prepare_image", &prepare_image, Release());
}

}  // namespace robocache
