// SPDX-License-Identifier: Apache-2.0
// Calls the operations from several threads at once, for ThreadSanitizer to watch (scripts/sanitize.sh). Whoever gets
// the pool spreads its work, the others do theirs alone; results are those of one thread.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "hard_voxels.hpp"
#include "image.hpp"
#include "points.hpp"
#include "pool.hpp"
#include "registration.hpp"
#include "resampling.hpp"
#include "voxels.hpp"

namespace {

using namespace robocache;

constexpr int kCallers = 3, kRounds = 4;

using Bytes = std::vector<uint8_t>;

struct Operation {
  std::string name;
  std::function<Bytes()> call;
};

// The same numbers on every machine.
class Numbers {
 public:
  uint32_t next() { return state_ = state_ * 1664525u + 1013904223u; }
  float uniform(float low, float high) { return low + (high - low) * static_cast<float>(next() >> 8) * 0x1p-24f; }

 private:
  uint32_t state_ = 1;
};

// Bytes of `values`, after those that are there.
template <class T>
void append(Bytes* all, const std::vector<T>& values) {
  const uint8_t* const bytes = reinterpret_cast<const uint8_t*>(values.data());
  all->insert(all->end(), bytes, bytes + values.size() * sizeof(T));
}

// Points x y z and intensity, placed by one pose or by that of their intensity.
struct Points {
  explicit Points(int64_t size) : size(size), values(4 * size), rows(12 * kPoses) {
    Numbers numbers;
    for (int64_t i = 0; i < size; ++i) {
      for (int k = 0; k < 3; ++k) values[4 * i + k] = numbers.uniform(-11, 11);
      values[4 * i + 3] = numbers.uniform(0, kPoses);
    }
    for (int pose = 0; pose < kPoses; ++pose) {
      for (int k = 0; k < 3; ++k) rows[12 * pose + 5 * k] = 1;
      rows[12 * pose + 3] = 0.01f * static_cast<float>(pose);
    }
  }

  Cloud cloud(bool by_time) const {
    const Poses poses{rows.data(), by_time ? kPoses : 1, 0.0, 1.0, by_time};
    return {reinterpret_cast<const uint8_t*>(values.data()), size, 1, 16, 16 * size, poses};
  }

  static constexpr int kPoses = 32;
  int64_t size;
  std::vector<float> values, rows;
};

PointParams point_params() {
  PointParams p{};
  for (int32_t f = 0; f < 4; ++f) p.fields[f] = {4 * f, FieldType::kFloat32};
  p.time = p.fields[3];
  p.num_fields = 4;
  p.max_range2 = std::numeric_limits<float>::infinity();
  return p;
}

Box box() { return {{-10, -10, -10}, {5, 5, 5}, {100, 100, 100}, {100, 100, 100}}; }

VoxelParams voxel_params() {
  VoxelParams p{};
  p.points = point_params();
  p.box = box();
  for (double& size : p.size) size = 0.2;
  p.quantum = 1.0 / 256;
  p.inverse_quantum = 256;
  p.inverse_volume = 125;
  p.num_sums = p.num_maxima = 1;
  p.channels[p.num_channels++] = {ChannelKind::kCount, -1, -1};
  p.channels[p.num_channels++] = {ChannelKind::kMean, 3, 0};
  p.channels[p.num_channels++] = {ChannelKind::kMax, 3, 0};
  return p;
}

Bytes voxelize_dense(const Points& points) {
  const VoxelParams params = voxel_params();
  std::vector<float> tensor(3 * 100 * 100 * 100);
  std::vector<int64_t> numbers(kNumbers);
  voxelize_dense_cpu(params, points.cloud(false), tensor.data(), numbers.data());
  Bytes all;
  append(&all, tensor);
  append(&all, numbers);
  return all;
}

Bytes voxelize_sparse(const Points& points) {
  const VoxelParams params = voxel_params();
  std::vector<int32_t> coords(3 * points.size), counts(points.size);
  std::vector<float> features(3 * points.size);
  std::vector<int64_t> numbers(kNumbers);
  voxelize_sparse_cpu(params, points.cloud(true), points.size, coords.data(), features.data(), counts.data(),
                      numbers.data());
  Bytes all;
  append(&all, coords);
  append(&all, counts);
  append(&all, features);
  append(&all, numbers);
  return all;
}

Bytes voxelize_hard(const Points& points) {
  HardParams params{};
  params.points = point_params();
  params.box = box();
  for (float& size : params.size) size = 0.2f;
  params.columns[0] = 2;
  params.columns[1] = 3;
  params.num_columns = params.max_points = 2;
  std::vector<float> voxels(4 * points.size);
  std::vector<int32_t> coords(3 * points.size), counts(points.size);
  std::vector<int64_t> numbers(kNumbers);
  voxelize_hard_cpu(params, points.cloud(false), points.size, voxels.data(), coords.data(), counts.data(),
                    numbers.data());
  Bytes all;
  append(&all, voxels);
  append(&all, coords);
  append(&all, counts);
  append(&all, numbers);
  return all;
}

Bytes deskew_points(const Points& points) {
  std::vector<float> out(4 * points.size);
  Bytes valid(points.size);
  deskew_points_cpu(point_params(), points.cloud(true), out.data(), reinterpret_cast<bool*>(valid.data()));
  append(&valid, out);
  return valid;
}

// A yuv422 image; with `rectify`, each pixel of the result shows a point of the source near its own.
struct Image {
  static constexpr int kWidth = 640, kHeight = 480, kOutWidth = 320, kOutHeight = 240;

  Image() : pixels(2 * kWidth * kHeight), rectify(2 * kOutWidth * kOutHeight) {
    Numbers numbers;
    for (uint8_t& byte : pixels) byte = static_cast<uint8_t>(numbers.next() >> 24);
    for (int i = 0; i < kOutWidth * kOutHeight; ++i) {
      rectify[2 * i] = 2.0f * static_cast<float>(i % kOutWidth) + numbers.uniform(-3, 3);
      rectify[2 * i + 1] = 2.0f * static_cast<float>(i / kOutWidth) + numbers.uniform(-3, 3);
    }
  }

  Bytes pixels;
  std::vector<float> rectify;
};

Bytes prepare_image(const Image& image, Resize resize, bool with_rectify) {
  ImageParams p{};
  p.width = Image::kWidth;
  p.height = Image::kHeight;
  p.layout = ImageLayout::kYuv422;
  p.source_channels = 2;
  p.channels = 3;
  p.order[1] = 1;
  p.order[2] = 3;
  p.out_width = p.region_width = Image::kOutWidth;
  p.out_height = p.region_height = Image::kOutHeight;
  p.resize = resize;
  p.scale_x = p.scale_y = 2;
  p.inverse_x = 1.0 / p.width;
  p.inverse_y = 1.0 / p.height;
  for (float& multiply : p.multiply) multiply = 1.0f / 255;
  p.out_type = ResultType::kFloat16;
  Bytes out(2 * 3 * p.out_width * p.out_height);
  prepare_image_cpu(p, {image.pixels.data(), 2 * p.width}, with_rectify ? image.rectify.data() : nullptr, out.data());
  return out;
}

// A depth image in a coarser one, so that many pixels meet in each; threads share its rows.
Bytes register_depth(const Image& image) {
  constexpr int kWidth = Image::kWidth, kHeight = Image::kHeight, kOutWidth = 80, kOutHeight = 60;
  constexpr int64_t kRow = kWidth + 1, kPlane = kRow * (kHeight + 1);
  static const std::vector<float> rays = [] {
    std::vector<float> planes(3 * kPlane, 1.0f);
    for (int64_t i = 0; i < kPlane; ++i) {
      planes[i] = static_cast<float>(i % kRow) / kWidth - 0.5f;
      planes[kPlane + i] = static_cast<float>(i / kRow) / kHeight - 0.5f;
    }
    return planes;
  }();
  RegistrationParams p{};
  p.image.width = kWidth;
  p.image.height = kHeight;
  p.image.type = PixelType::kUInt16;
  p.image.out_width = p.image.region_width = kOutWidth;
  p.image.out_height = p.image.region_height = kOutHeight;
  p.image.scale = {0.001, 0.0f, 100.0f};
  p.focal_x = kOutWidth;
  p.focal_y = kOutHeight;
  p.centre_x = 0.5f * kOutWidth;
  p.centre_y = 0.5f * kOutHeight;
  p.most_r2 = 1e6f;
  p.most_half_x = p.most_half_y = 8;
  const RegistrationPose pose{{1, 0, 0, 0.1f, 0, 1, 0, 0, 0, 0, 1, 0}};
  std::vector<float> depth(kOutWidth * kOutHeight);
  Bytes valid(depth.size());
  register_depth_cpu(p, pose, {image.pixels.data(), 2 * kWidth}, {rays.data(), kRow, kPlane}, depth.data(),
                     reinterpret_cast<bool*>(valid.data()));
  append(&valid, depth);
  return valid;
}

// Poses and other readings of two batches, their stamps in no order.
struct Readings {
  static constexpr int kBatch = 2, kSamples = 20'000, kTargets = 4'000, kWidths[2] = {4, 40};

  Readings() : stamps(kBatch * kSamples), targets(kBatch * kTargets) {
    Numbers numbers;
    for (int64_t& stamp : stamps) stamp = numbers.next() >> 8;
    for (int64_t& target : targets) target = numbers.next() >> 8;
    for (int n = 0; n < 2; ++n) {
      values[n].resize(kBatch * kSamples * kWidths[n]);
      for (float& value : values[n]) value = numbers.uniform(-1, 1);
    }
  }

  std::vector<int64_t> stamps, targets;
  std::vector<float> values[2];
};

Bytes fuse(const Readings& r) {
  constexpr int kRow = Readings::kWidths[0] + Readings::kWidths[1];
  Stream streams[2];
  for (int n = 0; n < 2; ++n) {
    const int64_t width = Readings::kWidths[n];
    streams[n] = {
        r.values[n].data(), ScalarType::kFloat32,   Readings::kSamples, width, {Readings::kSamples * width, width, 1},
        r.stamps.data(),    {Readings::kSamples, 1}};
  }
  const Reading readings[2] = {{Method::kSlerp, Outside::kHold, 1 << 20}, {Method::kLinear, Outside::kHold, 1 << 20}};
  const int64_t target_strides[2] = {Readings::kTargets, 1};
  std::vector<float> out(Readings::kBatch * Readings::kTargets * kRow);
  Bytes valid(Readings::kBatch * Readings::kTargets * 2);
  fuse_cpu(streams, readings, 2, Readings::kBatch, r.targets.data(), Readings::kTargets, target_strides, true,
           out.data(), ScalarType::kFloat32, reinterpret_cast<bool*>(valid.data()));
  append(&valid, out);
  return valid;
}

}  // namespace

int main() {
  const Points points(30'000);
  const Image image;
  const Readings readings;
  const std::vector<Operation> operations = {
      {"voxelize_dense", [&] { return voxelize_dense(points); }},
      {"voxelize_sparse", [&] { return voxelize_sparse(points); }},
      {"voxelize_hard", [&] { return voxelize_hard(points); }},
      {"deskew_points", [&] { return deskew_points(points); }},
      {"prepare_image, bilinear", [&] { return prepare_image(image, Resize::kBilinear, false); }},
      {"prepare_image, area", [&] { return prepare_image(image, Resize::kArea, false); }},
      {"prepare_image, rectify", [&] { return prepare_image(image, Resize::kBilinear, true); }},
      {"register_depth", [&] { return register_depth(image); }},
      {"fuse", [&] { return fuse(readings); }},
  };

  set_pool_threads(1);
  std::vector<Bytes> expected;
  for (const Operation& operation : operations) expected.push_back(operation.call());

  set_pool_threads(kCallers);
  std::vector<std::thread> callers;
  for (int caller = 0; caller < kCallers; ++caller)
    callers.emplace_back([&, caller] {
      for (size_t i = 0; i < kRounds * operations.size(); ++i) {
        const size_t number = (i + static_cast<size_t>(caller)) % operations.size();
        if (operations[number].call() == expected[number]) continue;
        std::printf("%s: not the result of one thread\n", operations[number].name.c_str());
        std::exit(1);
      }
    });
  for (std::thread& caller : callers) caller.join();
  std::puts("operations: ok");
}
