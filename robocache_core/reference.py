# SPDX-License-Identifier: Apache-2.0
"""The operations stated plainly in NumPy: the oracle of the tests, and the backend where nothing is compiled.

Each function does to whole arrays what ``csrc/<operation>.hpp`` does to one point, pixel or sample, in the same order
and the same precision, so that both give the same bits. What is passed in has been checked by ``ops.py``; results are
written to the tensors passed last.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from robocache_core.plan import DROP_REASONS, ImagePlan, Stream, VoxelPlan
from robocache_core.types import CloudLayout, PointField

Array = npt.NDArray[Any]
Voxels = tuple[Array, Array, Array, dict[str, int]]

# --- voxelize


def voxelize_dense(
    plan: VoxelPlan, data: torch.Tensor, layout: CloudLayout, pose: torch.Tensor, tensor: torch.Tensor
) -> list[int]:
    """Write ``tensor [C, Z, Y, X] float32``; returns the points dropped, one number for each of ``DROP_REASONS``."""
    index, features, _, dropped = _voxelize(plan, data, layout, pose)
    tensor.zero_()
    tensor.view(len(plan.channels), -1).numpy()[:, index] = features.T
    return list(dropped.values())


def voxelize_sparse(
    plan: VoxelPlan,
    data: torch.Tensor,
    layout: CloudLayout,
    pose: torch.Tensor,
    coords: torch.Tensor,
    features: torch.Tensor,
    counts: torch.Tensor,
) -> tuple[int, list[int]]:
    """Write the first V rows of ``coords [R, 3] int32``, ``features [R, C] float32`` and ``counts [R] int32``.

    Returns:
        V, and the points dropped, one number for each of ``DROP_REASONS``.
    """
    index, all_features, all_counts, dropped = _voxelize(plan, data, layout, pose)
    size = min(len(index), counts.shape[0])
    dropped['table_full'] = int(all_counts[size:].sum())
    x, y, _ = plan.shape
    coords[:size].numpy()[:] = np.stack([index // (x * y), index // x % y, index % x], axis=-1)[:size]
    features[:size].numpy()[:] = all_features[:size]
    counts[:size].numpy()[:] = all_counts[:size]
    return size, list(dropped.values())


@np.errstate(all='ignore')
def _voxelize(plan: VoxelPlan, data: torch.Tensor, layout: CloudLayout, pose: torch.Tensor) -> Voxels:
    """Linear index ``[V] int64`` of every occupied voxel in order, features ``[V, C]``, counts ``[V]``, drops."""
    dropped = dict.fromkeys(DROP_REASONS, 0)
    values = np.stack([_read_field(data, layout, field, plan.swap) for field in plan.fields])  # [F, N]

    def keep(reason: str, kept: Any, *arrays: Array) -> list[Array]:
        dropped[reason] = int(kept.size - np.count_nonzero(kept))
        return [array[:, kept] for array in arrays]

    (values,) = keep('non_finite', np.isfinite(values).all(axis=0), values)

    x, y, z = values[:3]
    range2 = (x * x + y * y) + z * z
    (values,) = keep('range', (range2 >= np.float32(plan.min_range2)) & (range2 < np.float32(plan.max_range2)), values)

    x, y, z = values[:3]
    rows = pose.numpy()[:3]
    values[:3] = [((row[0] * x + row[1] * y) + row[2] * z) + row[3] for row in rows]
    lower, inverse_size = _column(plan.lower), _column(plan.inverse_size)
    u = (values[:3] - lower) * inverse_size
    values, u = keep('outside', ((u >= 0) & (u < _column(plan.shape))).all(axis=0), values, u)
    cell = np.floor(u)
    fraction = u - cell

    sums: list[Array] = []
    maxima: list[Array] = []
    overflow = np.zeros(u.shape[1], dtype=bool)
    for channel in plan.channels:
        if channel.kind == 'mean_offset':
            sums.append((fraction[channel.source] * np.float32(65536)).astype(np.int64))
        elif channel.kind == 'mean':
            q = np.rint(values[channel.source].astype(np.float64) * plan.inverse_quantum)
            overflow |= ~(np.abs(q) < 2.0**31)
            sums.append(q.astype(np.int64))
        elif channel.kind == 'max':
            maxima.append(_ordered_int(values[channel.source]))
        elif channel.kind == 'min':
            maxima.append(~_ordered_int(values[channel.source]))
    i, j, k = cell.astype(np.int64)
    index = (k * plan.shape[1] + j) * plan.shape[0] + i
    (terms,) = keep('overflow', ~overflow, np.stack([index, *sums, *maxima]))

    terms = terms[:, np.argsort(terms[0], kind='stable')]
    voxels, begins, counts = np.unique(terms[0], return_index=True, return_counts=True)
    if not len(voxels):
        return voxels, np.empty((0, len(plan.channels)), dtype=np.float32), counts, dropped
    sums = list(np.add.reduceat(terms[1 : 1 + plan.num_sums], begins, axis=1))
    maxima = list(np.maximum.reduceat(terms[1 + plan.num_sums :], begins, axis=1))
    n = counts.astype(np.float64)
    features = np.empty((len(voxels), len(plan.channels)), dtype=np.float32)
    for c, channel in enumerate(plan.channels):
        if channel.kind == 'count':
            features[:, c] = counts
        elif channel.kind == 'occupancy':
            features[:, c] = 1
        elif channel.kind == 'density':
            features[:, c] = n * plan.inverse_volume
        elif channel.kind == 'mean_offset':
            total = sums[channel.slot].astype(np.float64) + 0.5 * n
            features[:, c] = (total / (65536.0 * n) - 0.5) * plan.size[channel.source]
        elif channel.kind == 'mean':
            features[:, c] = (sums[channel.slot].astype(np.float64) * plan.quantum) / n
        elif channel.kind == 'max':
            features[:, c] = _ordered_float(maxima[channel.slot])
        else:
            features[:, c] = _ordered_float(~maxima[channel.slot])
    return voxels, features, counts, dropped


def _read_field(data: torch.Tensor, layout: CloudLayout, field: PointField, swap: bool) -> Array:
    """The first element of a field of every point, ``[N] float32``."""
    if layout.num_points == 0:
        return np.empty(0, dtype=np.float32)
    dtype = np.dtype(field.dtype)
    view = np.ndarray(
        (layout.height, layout.width),
        dtype.newbyteorder() if swap else dtype,
        data.numpy(),
        field.offset,
        (layout.row_step, layout.point_step),
    )
    values: Array = view.astype(np.float32)
    return values.reshape(-1)


def _column(values: tuple[float, ...]) -> Array:
    column: Array = np.array(values, dtype=np.float32)
    return column[:, None]


def _ordered_int(values: Array) -> Array:
    """Integers ordered as the float32 ``values`` are, -0 below +0."""
    bits: Array = values.view(np.int32)
    ordered: Array = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return ordered


def _ordered_float(ordered: Array) -> Array:
    bits: Array = ordered.astype(np.int32)
    values: Array = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).view(np.float32)
    return values


# --- prepare_image


@np.errstate(all='ignore')
def prepare_image(plan: ImagePlan, data: torch.Tensor, step: int, out: torch.Tensor) -> None:
    """Write ``out [C, out_height, out_width]``; ``data`` holds rows ``step`` bytes apart."""
    dtype, channels = np.dtype(plan.encoding.dtype), plan.encoding.channels
    pixels = np.ndarray(
        (plan.height, plan.width, channels),
        dtype.newbyteorder() if plan.swap else dtype,
        data.numpy(),
        0,
        (step, channels * dtype.itemsize, dtype.itemsize),
    )[..., list(plan.encoding.order)]
    left, top, width, height = plan.region
    taps = _nearest_taps if plan.nearest else _bilinear_taps
    x0, x1, fx = taps(width, plan.scale[0], plan.width)
    y0, y1, fy = taps(height, plan.scale[1], plan.height)
    rows = _lerp_pixels(pixels[y0].astype(np.float32), pixels[y1].astype(np.float32), fy[:, None, None])
    image = _lerp_pixels(rows[:, x0], rows[:, x1], fx[None, :, None])  # [H, W, C]

    result = np.empty((len(plan.multiply), plan.out_height, plan.out_width), dtype=np.float32)
    for c, (multiply, add, pad) in enumerate(zip(plan.multiply, plan.add, plan.pad, strict=True)):
        result[c] = pad
        result[c, top : top + height, left : left + width] = image[..., c] * np.float32(multiply) + np.float32(add)
    _round_to(result, out)


def _bilinear_taps(size: int, scale: float, source_size: int) -> tuple[Array, Array, Array]:
    """For each of ``size`` pixels the two source pixels (int64) and the fraction (float32) between them."""
    position = (np.arange(size) + 0.5) * scale - 0.5
    i0 = np.minimum(np.maximum(position, 0).astype(np.int64), source_size - 1)
    fraction = np.where((position > 0) & (i0 < source_size - 1), position - i0, 0).astype(np.float32)
    return i0, np.minimum(i0 + 1, source_size - 1), fraction


def _nearest_taps(size: int, scale: float, source_size: int) -> tuple[Array, Array, Array]:
    i0 = np.minimum(((np.arange(size) + 0.5) * scale).astype(np.int64), source_size - 1)
    return i0, i0, np.zeros(size, dtype=np.float32)


def _lerp_pixels(a: Array, b: Array, fraction: Array) -> Array:
    return np.where(fraction == 0, a, a + (b - a) * fraction)


def _round_to(values: Array, out: torch.Tensor) -> None:
    """Write float32 ``values`` to ``out``, rounded to nearest even; every NaN becomes the one quiet NaN."""
    out.copy_(torch.from_numpy(values))
    out.masked_fill_(out.isnan(), math.nan)


# --- resample, fuse


def fuse(streams: list[Stream], targets_ns: torch.Tensor, out: torch.Tensor, valid: torch.Tensor) -> None:
    """Write ``out [B, T, sum of D]`` (the streams' dtype) and ``valid [B, T, N] bool`` at ``targets_ns [B, T]``."""
    column = 0
    for n, stream in enumerate(streams):
        width = stream.values.shape[2]
        for b in range(targets_ns.shape[0]):
            rows, ok = _resample(stream, b, targets_ns[b].numpy())
            out[b, :, column : column + width] = rows
            valid[b, :, n] = torch.from_numpy(ok)
        column += width


@np.errstate(all='ignore')
def _resample(stream: Stream, batch: int, targets: Array) -> tuple[torch.Tensor, Array]:
    """Rows ``[T, D]`` and validity ``[T]`` of one stream of one batch."""
    values, stamps = stream.values[batch], stream.stamps_ns[batch].numpy()
    num_samples, width = values.shape
    if num_samples == 0:
        return values.new_zeros(len(targets), width), np.zeros(len(targets), dtype=bool)
    upper = np.searchsorted(stamps, targets, side='right')
    lower = upper - 1
    has_lower, has_upper = lower >= 0, upper < num_samples
    lower, upper = np.maximum(lower, 0), np.minimum(upper, num_samples - 1)
    # Distances are unsigned: they need not fit int64.
    before = targets.astype(np.uint64) - stamps[lower].astype(np.uint64)
    after = stamps[upper].astype(np.uint64) - targets.astype(np.uint64)
    tolerance = np.uint64(stream.tolerance_ns)
    lower_valid, upper_valid = has_lower & (before <= tolerance), has_upper & (after <= tolerance)
    lower_is_nearest = ~has_upper | (has_lower & (before <= after))
    nearest = np.where(lower_is_nearest, lower, upper)
    exact = has_lower & (before == 0)

    if stream.method == 'previous':
        valid = lower_valid
        return values[torch.from_numpy(np.where(valid, lower, nearest))], valid
    if stream.method == 'nearest':
        valid = np.where(lower_is_nearest, lower_valid, upper_valid)
        return values[torch.from_numpy(nearest)], valid

    valid = exact | (lower_valid & upper_valid)
    blend = valid & ~exact
    alpha = (before.astype(np.float64) / (before + after).astype(np.float64)).astype(np.float32)[:, None]
    a = values[torch.from_numpy(lower)].to(torch.float32).numpy()
    b = values[torch.from_numpy(upper)].to(torch.float32).numpy()
    if stream.method == 'slerp':
        blended, has_direction = _slerp(a.astype(np.float64), b.astype(np.float64), alpha.astype(np.float64))
        valid &= has_direction | exact
        blend &= has_direction
    else:
        blended = a + (b - a) * alpha
    rows = values[torch.from_numpy(nearest)]
    mixed = torch.empty_like(rows)
    _round_to(blended.astype(np.float32), mixed)
    return torch.where(torch.from_numpy(blend)[:, None], mixed, rows), valid


def _slerp(a: Array, b: Array, alpha: Array) -> tuple[Array, Array]:
    """Unit quaternions ``[T, 4]`` at ``alpha`` of the shortest way from ``a`` to ``b``; which have a direction."""
    norm2_a, norm2_b = _dot(a, a), _dot(b, b)
    has_direction = (norm2_a > 0) & (norm2_a < np.inf) & (norm2_b > 0) & (norm2_b < np.inf)
    a, b = a / np.sqrt(norm2_a), b / np.sqrt(norm2_b)
    b = np.where(_dot(a, b) < 0, -b, b)
    # The chords give u = tan^2(angle / 2) <= 1; two halvings of the angle make u <= tan^2(pi / 16).
    u = _dot(b - a, b - a) / _dot(b + a, b + a)
    for _ in range(2):
        divisor = 1 + np.sqrt(1 + u)
        u = u / (divisor * divisor)
    ratio = _atan_ratio(u)
    angle2 = 64 * u * (ratio * ratio)
    beta = 1 - alpha
    sine = _sin_ratio(angle2)
    weight_a = beta * _sin_ratio(beta * beta * angle2) / sine
    weight_b = alpha * _sin_ratio(alpha * alpha * angle2) / sine
    result = weight_a * a + weight_b * b
    return result / np.sqrt(_dot(result, result)), has_direction[:, 0]


def _dot(a: Array, b: Array) -> Array:
    x, y, z, w = (a * b).T
    total: Array = ((x + y) + z) + w
    return total[:, None]


def _atan_ratio(u: Array) -> Array:
    """atan(t) / t of u = t² <= 0.04."""
    total = np.full_like(u, 1 / 23)
    for k in range(10, -1, -1):
        total = 1 / (2 * k + 1) - u * total
    return total


def _sin_ratio(u: Array) -> Array:
    """sin(t) / t of u = t² <= (pi/2)²."""
    total = np.full_like(u, 1 / math.factorial(21))
    for k in range(9, -1, -1):
        total = 1 / math.factorial(2 * k + 1) - u * total
    return total
