// SPDX-License-Identifier: Apache-2.0
// Points for Python.
#include <map>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings.hpp"

namespace robocache {
namespace {

const std::map<std::string, FieldType> kFieldTypes = {
    {"int8", FieldType::kInt8},       {"uint8", FieldType::kUInt8},     {"int16", FieldType::kInt16},
    {"uint16", FieldType::kUInt16},   {"int32", FieldType::kInt32},     {"uint32", FieldType::kUInt32},
    {"float32", FieldType::kFloat32}, {"float64", FieldType::kFloat64},
};

using FieldSpec = std::pair<int32_t, std::string>;  // offset, dtype

// time: of a pose table, else empty. depth: metres of a count, and the least and greatest distance, m.
PointParams make_point_params(const std::vector<FieldSpec>& fields, const std::vector<FieldSpec>& time, bool swap,
                              float min_range2, float max_range2, const std::tuple<double, float, float>& depth) {
  if (fields.size() > kMaxFields) throw std::invalid_argument("too many fields");
  PointParams p{};
  for (const auto& [offset, type] : fields) p.fields[p.num_fields++] = {offset, named(kFieldTypes, type)};
  for (const auto& [offset, type] : time) p.time = {offset, named(kFieldTypes, type)};
  p.swap = swap;
  p.min_range2 = min_range2;
  p.max_range2 = max_range2;
  p.depth = {std::get<0>(depth), std::get<1>(depth), std::get<2>(depth)};
  return p;
}

void deskew_points(const Where& where, const PointParams& params, const Cloud& cloud, uintptr_t points,
                   uintptr_t valid) {
  RC_RUN(where, deskew_points, params, cloud, at<float>(points), at<bool>(valid));
}

}  // namespace

void bind_points(py::module_& m) {
  py::class_<PointParams>(m, "PointParams")
      .def(py::init(&make_point_params), py::kw_only(), py::arg("fields"), py::arg("time"), py::arg("swap"),
           py::arg("min_range2"), py::arg("max_range2"), py::arg("depth"));
  m.def("deskew_points", &deskew_points, Release());
}

}  // namespace robocache
