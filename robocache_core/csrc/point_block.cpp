// SPDX-License-Identifier: Apache-2.0
#include "point_block.hpp"

#include <algorithm>

#include "simd.hpp"

#if RC_X86
#include <xmmintrin.h>
#endif

namespace robocache {
namespace {

// 0, 1, 2 …: all points of a block.
struct AllPoints {
  uint16_t numbers[kBlock];
  constexpr AllPoints() : numbers() {
    for (int i = 0; i < kBlock; ++i) numbers[i] = static_cast<uint16_t>(i);
  }
};
constexpr AllPoints kAll;

template <class T, class To>
void read_column(const uint8_t* bytes, int64_t step, int32_t size, bool swap, To* column) {
  if (swap)
    for (int32_t i = 0; i < size; ++i) column[i] = load_as<T, To>(bytes + i * step, true);
  else
    for (int32_t i = 0; i < size; ++i) column[i] = load_as<T, To>(bytes + i * step, false);
}

template <class To>
void read_field(Field field, const uint8_t* point, int64_t step, int32_t size, bool swap, To* column) {
  const uint8_t* bytes = point + field.offset;
  switch (field.type) {
    case FieldType::kInt8:
      return read_column<int8_t>(bytes, step, size, false, column);
    case FieldType::kUInt8:
      return read_column<uint8_t>(bytes, step, size, false, column);
    case FieldType::kInt16:
      return read_column<int16_t>(bytes, step, size, swap, column);
    case FieldType::kUInt16:
      return read_column<uint16_t>(bytes, step, size, swap, column);
    case FieldType::kInt32:
      return read_column<int32_t>(bytes, step, size, swap, column);
    case FieldType::kUInt32:
      return read_column<uint32_t>(bytes, step, size, swap, column);
    case FieldType::kFloat32:
      return read_column<float>(bytes, step, size, swap, column);
    case FieldType::kFloat64:
      return read_column<double>(bytes, step, size, swap, column);
  }
}

// Reads x, y, z where they are floats next to each other, as in nearly every cloud, four points at a time; returns how
// many points were read. Four floats of a point are loaded, so the last is not among them: what follows it may not be
// there.
int32_t read_triples(const PointParams& params, const uint8_t* point, int64_t step, int32_t size, int32_t at,
                     PointBlock* block) {
  int32_t i = 0;
#if RC_X86
  const Field* const field = params.fields;
  for (int axis = 0; axis < 3; ++axis)
    if (field[axis].type != FieldType::kFloat32 || field[axis].offset != field[0].offset + 4 * axis) return 0;
  if (params.swap || step < 12) return 0;
  const auto load = [&](int32_t number) {
    return _mm_loadu_ps(reinterpret_cast<const float*>(point + field[0].offset + number * step));
  };
  for (; i + 4 < size; i += 4) {
    __m128 x = load(i), y = load(i + 1), z = load(i + 2), other = load(i + 3);
    _MM_TRANSPOSE4_PS(x, y, z, other);
    _mm_storeu_ps(block->values[0] + at + i, x);
    _mm_storeu_ps(block->values[1] + at + i, y);
    _mm_storeu_ps(block->values[2] + at + i, z);
  }
#endif
  return i;
}

// In the loops below `size` is rounded up to a whole block: what is beyond is computed and not used, and the
// compiler knows how often a loop runs.

// A point is dropped, or kept so far.
struct TestPoints {
  RC_INLINE static void run(const PointParams* params, PointBlock* block) {
    const float min2 = params->min_range2, max2 = params->max_range2;
    const float *x = block->values[0], *y = block->values[1], *z = block->values[2];
    int32_t* drop = block->drop;
    for (int32_t i = 0; i < kBlock; ++i) {
      const int32_t tested = in_range(x[i], y[i], z[i], min2, max2) ? kKept : kRange;
      drop[i] = is_finite(x[i]) & is_finite(y[i]) & is_finite(z[i]) ? tested : kNonFinite;
    }
  }
};

// Of a depth image, after TestPoints.
struct TestDistances {
  RC_INLINE static void run(const DepthScale* given, PointBlock* block) {
    const DepthScale scale = *given;
    const float* const metres = block->distance;
    int32_t* drop = block->drop;
    for (int32_t i = 0; i < kBlock; ++i) {
      const int32_t tested = ((drop[i] == kKept) & !is_allowed(metres[i], scale)) ? kRange : drop[i];
      drop[i] = metres[i] > 0.0f ? tested : kNonFinite;
    }
  }
};

template <class T>
struct TestColumn {
  RC_INLINE static void run(const T* column, int32_t* drop) {
    for (int32_t i = 0; i < kBlock; ++i) drop[i] = is_finite(column[i]) ? drop[i] : kNonFinite;
  }
};

struct TransformPoints {
  RC_INLINE static void run(const float* rows, PointBlock* block) {
    float pose[12];
    std::copy_n(rows, 12, pose);
    float *xs = block->values[0], *ys = block->values[1], *zs = block->values[2];
    for (int32_t i = 0; i < kBlock; ++i) {
      const float x = xs[i], y = ys[i], z = zs[i];
      xs[i] = transformed(pose, x, y, z);
      ys[i] = transformed(pose + 4, x, y, z);
      zs[i] = transformed(pose + 8, x, y, z);
    }
  }
};

// Each point by the pose of its time. A point whose time is not finite gets any pose.
void transform_by_time(const Poses& poses, const float* columns, PointBlock* block) {
  float *xs = block->values[0], *ys = block->values[1], *zs = block->values[2];
  for (int32_t i = 0; i < block->size; ++i) {
    const float* pose = columns + 16 * pose_at(poses, block->time[i]);
    const float x = xs[i], y = ys[i], z = zs[i];
    float p[4];
    for (int k = 0; k < 4; ++k) p[k] = ((pose[k] * x + pose[4 + k] * y) + pose[8 + k] * z) + pose[12 + k];
    xs[i] = p[0];
    ys[i] = p[1];
    zs[i] = p[2];
  }
}

struct PlacePoints {
  RC_INLINE static void run(const Box* given, PointBlock* block) {
    const Box box = *given;  // a copy, that nothing written below can change
    const float *x = block->values[0], *y = block->values[1], *z = block->values[2];
    float *fx = block->fraction[0], *fy = block->fraction[1], *fz = block->fraction[2];
    uint32_t* index = block->index;
    int32_t* drop = block->drop;
    for (int32_t i = 0; i < kBlock; ++i) {
      const Place place = place_in(box, x[i], y[i], z[i]);
      fx[i] = place.fraction[0];
      fy[i] = place.fraction[1];
      fz[i] = place.fraction[2];
      index[i] = place.index;
      drop[i] = ((drop[i] == kKept) & !place.inside) ? kOutside : drop[i];
    }
  }
};

// Reads `size` pixels of a row of a depth image, the first of them `pixel` at `bytes`, as points `at` and those behind
// it.
void read_pixels(const PointParams& params, const Cloud& cloud, const uint8_t* bytes, int64_t pixel, int32_t size,
                 int32_t at, PointBlock* block) {
  read_field(params.fields[0], bytes, cloud.point_step, size, params.swap, block->time + at);
  const float* const rays = cloud.rays + 3 * pixel;
  for (int32_t i = 0; i < size; ++i) {
    const float metres = metres_of(block->time[at + i], params.depth);
    block->distance[at + i] = metres;
    for (int axis = 0; axis < 3; ++axis) block->values[axis][at + i] = metres * rays[3 * i + axis];
  }
}

}  // namespace

void transpose_poses(const Poses& poses, float* columns) {
  for (int64_t p = 0; p < poses.num; ++p)
    for (int k = 0; k < 4; ++k)
      for (int row = 0; row < 4; ++row)
        columns[16 * p + 4 * k + row] = row < 3 ? poses.rows[12 * p + 4 * row + k] : 0.0f;
}

void read_block(const PointParams& params, const Cloud& cloud, const float* pose_columns, int64_t first, int32_t size,
                PointBlock* block) {
  block->size = size;
  int64_t row = first / cloud.width, column = first % cloud.width;
  for (int32_t i = 0; i < size;) {
    const int32_t run = static_cast<int32_t>(std::min<int64_t>(size - i, cloud.width - column));
    const uint8_t* point = cloud.data + row * cloud.row_step + column * cloud.point_step;
    if (cloud.rays != nullptr) {
      read_pixels(params, cloud, point, row * cloud.width + column, run, i, block);
    } else {
      const int32_t triples = read_triples(params, point, cloud.point_step, run, i, block);
      for (int32_t f = 0; f < params.num_fields; ++f) {
        const int32_t done = f < 3 ? triples : 0;
        read_field(params.fields[f], point + done * cloud.point_step, cloud.point_step, run - done, params.swap,
                   block->values[f] + i + done);
      }
    }
    if (cloud.poses.by_time) read_field(params.time, point, cloud.point_step, run, params.swap, block->time + i);
    i += run;
    ++row;
    column = 0;
  }

  const Simd level = simd_level();
  const PointParams* const p = &params;
  run_at<TestPoints>(level, p, block);
  if (cloud.rays != nullptr) {
    const DepthScale* const scale = &params.depth;
    run_at<TestDistances>(level, scale, block);
  }
  int32_t* const drop = block->drop;
  for (int32_t f = 3; f < params.num_fields; ++f) {
    const float* const values = block->values[f];
    run_at<TestColumn<float>>(level, values, drop);
  }
  if (cloud.poses.by_time) {
    const double* const time = block->time;
    run_at<TestColumn<double>>(level, time, drop);
    transform_by_time(cloud.poses, pose_columns, block);
  } else {
    const float* const rows = cloud.poses.rows;
    run_at<TransformPoints>(level, rows, block);
  }
}

void place_block(const Box& box, PointBlock* block) {
  const Box* const b = &box;
  run_at<PlacePoints>(simd_level(), b, block);
}

void list_kept(PointBlock* block, int64_t* dropped) {
  int32_t kept = 0;
  for (int32_t i = 0; i < block->size; ++i) kept += block->drop[i] == kKept;
  block->kept = kept;
  block->order = kAll.numbers;
  if (kept == block->size) return;
  int32_t listed = 0, counts[kKept + 1] = {};
  for (int32_t i = 0; i < block->size; ++i) {
    block->kept_points[listed] = static_cast<uint16_t>(i);
    listed += block->drop[i] == kKept;
    ++counts[block->drop[i]];
  }
  for (int reason = 0; reason < kNumDrops; ++reason) dropped[reason] += counts[reason];
  block->order = block->kept_points;
}

}  // namespace robocache
