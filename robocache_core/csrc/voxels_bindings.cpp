// SPDX-License-Identifier: Apache-2.0
// Voxelization to channels for Python.
#include <map>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "bindings.hpp"
#include "voxels.hpp"

namespace robocache {
namespace {

const std::map<std::string, ChannelKind> kChannelKinds = {
    {"count", ChannelKind::kCount},     {"occupancy", ChannelKind::kOccupancy},
    {"density", ChannelKind::kDensity}, {"mean_offset", ChannelKind::kMeanOffset},
    {"mean", ChannelKind::kMean},       {"max", ChannelKind::kMax},
    {"min", ChannelKind::kMin},
};

// channels: (kind, source, slot).
VoxelParams make_voxel_params(const PointParams& points, Float3 lower, Float3 inverse_size, Double3 size,
                              std::array<uint32_t, 3> shape, double quantum, double inverse_quantum,
                              double inverse_volume,
                              const std::vector<std::tuple<std::string, int32_t, int32_t>>& channels, int32_t num_sums,
                              int32_t num_maxima) {
  if (channels.size() > kMaxChannels) throw std::invalid_argument("too many channels");
  VoxelParams p{};
  p.points = points;
  for (const auto& [kind, source, slot] : channels)
    p.channels[p.num_channels++] = {named(kChannelKinds, kind), source, slot};
  p.box = make_box(lower, inverse_size, shape);
  copy(size, p.size);
  p.quantum = quantum;
  p.inverse_quantum = inverse_quantum;
  p.most_mean = most_mean_of(inverse_quantum);
  p.inverse_volume = inverse_volume;
  p.num_sums = num_sums;
  p.num_maxima = num_maxima;
  return p;
}

auto voxelize_dense(const Where& where, const VoxelParams& params, const Cloud& cloud, uintptr_t tensor,
                    uintptr_t numbers) {
  return with_numbers(where, numbers, [&](int64_t* written) {
    RC_RUN(where, voxelize_dense, params, cloud, at<float>(tensor), written);
  });
}

auto voxelize_sparse(const Where& where, const VoxelParams& params, const Cloud& cloud, int64_t capacity,
                     uintptr_t coords, uintptr_t features, uintptr_t counts, uintptr_t numbers) {
  return with_numbers(where, numbers, [&](int64_t* written) {
    RC_RUN(where, voxelize_sparse, params, cloud, capacity, at<int32_t>(coords), at<float>(features),
           at<int32_t>(counts), written);
  });
}

}  // namespace

void bind_voxels(py::module_& m) {
  py::class_<VoxelParams>(m, "VoxelParams")
      .def(py::init(&make_voxel_params), py::kw_only(), py::arg("points"), py::arg("lower"), py::arg("inverse_size"),
           py::arg("size"), py::arg("shape"), py::arg("quantum"), py::arg("inverse_quantum"), py::arg("inverse_volume"),
           py::arg("channels"), py::arg("num_sums"), py::arg("num_maxima"));
  m.def("voxelize_dense", &voxelize_dense, Release());
  m.def("voxelize_sparse", &voxelize_sparse, Release());
}

}  // namespace robocache
