// SPDX-License-Identifier: Apache-2.0
// Registration of depth images for Python.
#include <map>
#include <string>
#include <vector>

#include "bindings.hpp"
#include "registration.hpp"

namespace robocache {
namespace {

const std::map<std::string, Lens> kLenses = {{"", Lens::kStraight},
                                             {"plumb_bob", Lens::kPolynomial},
                                             {"rational_polynomial", Lens::kPolynomial},
                                             {"equidistant", Lens::kEquidistant}};

// k: the camera matrix by rows; most_half: along x and y.
RegistrationParams make_registration_params(const DepthParams& image, const std::string& lens,
                                            const std::array<float, 9>& k, const std::vector<float>& coefficients,
                                            float most_r2, std::array<float, 2> most_half) {
  RegistrationParams p{};
  p.image = image;
  p.lens = named(kLenses, lens);
  p.focal_x = k[0];
  p.skew = k[1];
  p.centre_x = k[2];
  p.focal_y = k[4];
  p.centre_y = k[5];
  std::copy_n(coefficients.begin(), std::min<size_t>(coefficients.size(), kLensCoefficients), p.coefficients);
  p.most_r2 = most_r2;
  p.most_half_x = most_half[0];
  p.most_half_y = most_half[1];
  return p;
}

// pose: address of float32 [4, 4] on the host; corners: of float32 [3, height + 1, width + 1].
void register_depth(const Where& where, const RegistrationParams& params, uintptr_t pose, uintptr_t data, int64_t step,
                    uintptr_t corners, uintptr_t depth, uintptr_t valid) {
  RegistrationPose placed;
  std::copy_n(at<const float>(pose), 12, placed.rows);
  const ImageView image{at<const uint8_t>(data), step};
  const int64_t row = int64_t{params.image.width} + 1;
  const CornerRays rays{at<const float>(corners), row, row * (int64_t{params.image.height} + 1)};
  RC_RUN(where, register_depth, params, placed, image, rays, at<float>(depth), at<bool>(valid));
}

}  // namespace

void bind_registration(py::module_& m) {
  py::class_<RegistrationParams>(m, "RegistrationParams")
      .def(py::init(&make_registration_params), py::kw_only(), py::arg("image"), py::arg("lens"), py::arg("k"),
           py::arg("coefficients"), py::arg("most_r2"), py::arg("most_half"));
  m.def("register_depth", &register_depth, Release());
}

}  // namespace robocache
