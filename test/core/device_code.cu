// SPDX-License-Identifier: Apache-2.0
// Calls on the device, and so compiles for it, what happens to a point, a pixel and a sample. It is never run.
#include "image.hpp"
#include "resample.hpp"
#include "voxelize.hpp"

using namespace robocache;

// --- a point

template <class T>
__device__ double field_at(const uint8_t* bytes, bool swap) {
  return load_as<T, double>(bytes, swap) + load_as<T, float>(bytes, swap);
}

__device__ double field_value(FieldType type, const uint8_t* bytes, bool swap) {
  switch (type) {
    case FieldType::kInt8: return field_at<int8_t>(bytes, swap);
    case FieldType::kUInt8: return field_at<uint8_t>(bytes, swap);
    case FieldType::kInt16: return field_at<int16_t>(bytes, swap);
    case FieldType::kUInt16: return field_at<uint16_t>(bytes, swap);
    case FieldType::kInt32: return field_at<int32_t>(bytes, swap);
    case FieldType::kUInt32: return field_at<uint32_t>(bytes, swap);
    case FieldType::kFloat32: return field_at<float>(bytes, swap);
    case FieldType::kFloat64: return field_at<double>(bytes, swap);
  }
  return 0.0;
}

__global__ void points(VoxelParams params, Cloud cloud, int32_t* terms, float* values, bool* kept) {
  const double raw = field_value(params.points.time.type, cloud.data, params.points.swap);
  const float* const pose = cloud.poses.rows + 12 * pose_at(cloud.poses, raw);
  const float x = transformed(pose, 1.0f, 2.0f, 3.0f);
  const Place place = place_in(params.box, x, x, x);
  bool fits;
  terms[place.index] = offset_term(place.fraction[0]) + mean_term(x, params.inverse_quantum, &fits);
  values[place.index] = distance2_to_centre(place.fraction, params.box.lower);
  kept[place.index] = place.inside && fits && is_finite(raw) && is_finite(x) &&
                      in_range(x, x, x, params.points.min_range2, params.points.max_range2);
}

__global__ void channels(VoxelParams params, int64_t sum, int32_t count, float value, float* out) {
  out[0] = density_of(params.inverse_volume, count);
  out[1] = mean_offset_of(params.size[0], sum, count);
  out[2] = mean_of(params.quantum, sum, count);
  out[3] = max_of(ordered_int(value));
  out[4] = min_of(~ordered_int(value));
}

// --- a pixel

template <class Pixels, class Out>
__global__ void pixels(ImageParams params, ImageView image, const float* map, Out* out) {
  float values[Pixels::kChannels];
  sample<Pixels>(params, image, map, blockIdx.x, threadIdx.x, values);
  for (int c = 0; c < Pixels::kChannels; ++c) out[c] = from_float<Out>(values[c]);
}

void prepare_image(const ImageParams& params, const ImageView& image, const float* map, void* out) {
  with_pixels(params, [&](auto reader) {
    using Pixels = decltype(reader);
    pixels<Pixels><<<1, 1>>>(params, image, map, static_cast<float*>(out));
    pixels<Pixels><<<1, 1>>>(params, image, map, static_cast<Half*>(out));
    pixels<Pixels><<<1, 1>>>(params, image, map, static_cast<BFloat16*>(out));
  });
}

// --- a sample

template <class From, class To>
__global__ void samples(Reading reading, Timeline line, int64_t target, const From* values, To* out) {
  const int64_t upper = gallop(line, target, guess_position(line, target));
  Pick pick = pick_samples(reading, line, target, upper);
  double a[4], b[4];
  for (int d = 0; d < 4; ++d) {
    a[d] = to_float(values[4 * pick.from + d]);
    b[d] = to_float(values[4 * pick.to + d]);
  }
  if (reading.method == Method::kSlerp && !slerp(a, b, pick.alpha)) pick = give_up(reading, pick);
  for (int d = 0; d < 4; ++d)
    out[d] = from_float<To>(lerp_values(to_float(values[4 * pick.from + d]), static_cast<float>(a[d]), pick.alpha));
}

template <class From>
void fuse_from(const Reading& reading, const Timeline& line, const void* values, void* out) {
  const From* const from = static_cast<const From*>(values);
  samples<<<1, 1>>>(reading, line, 0, from, static_cast<float*>(out));
  samples<<<1, 1>>>(reading, line, 0, from, static_cast<Half*>(out));
  samples<<<1, 1>>>(reading, line, 0, from, static_cast<BFloat16*>(out));
}

void fuse(const Reading& reading, const Timeline& line, const void* values, void* out) {
  fuse_from<float>(reading, line, values, out);
  fuse_from<Half>(reading, line, values, out);
  fuse_from<BFloat16>(reading, line, values, out);
}
