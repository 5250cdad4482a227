// SPDX-License-Identifier: Apache-2.0
// Voxelization to points for Python.
#include <stdexcept>
#include <vector>

#include "bindings.hpp"
#include "hard_voxels.hpp"

namespace robocache {
namespace {

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

auto voxelize_hard(const Where& where, const HardParams& params, const Cloud& cloud, int64_t capacity, uintptr_t voxels,
                   uintptr_t coords, uintptr_t num_points, uintptr_t numbers) {
  return with_numbers(where, numbers, [&](int64_t* written) {
    RC_RUN(where, voxelize_hard, params, cloud, capacity, at<float>(voxels), at<int32_t>(coords),
           at<int32_t>(num_points), written);
  });
}

}  // namespace

void bind_hard_voxels(py::module_& m) {
  py::class_<HardParams>(m, "HardParams")
      .def(py::init(&make_hard_params), py::kw_only(), py::arg("points"), py::arg("lower"), py::arg("inverse_size"),
           py::arg("size"), py::arg("shape"), py::arg("columns"), py::arg("max_points"));
  m.def("voxelize_hard", &voxelize_hard, Release());
}

}  // namespace robocache
