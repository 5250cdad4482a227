# SPDX-License-Identifier: Apache-2.0
"""The operations stated plainly in NumPy: the oracle of the tests, and the backend where nothing is compiled.

Each function does to whole arrays what ``csrc/<operation>.hpp`` does to one point, pixel or sample, in the same order
and the same precision, so that both give the same bits. What is passed in has been checked by ``ops.py``; results are
written to the tensors passed last.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from robocache_core.plan import BoxPlan, Cloud, FusePlan, HardPlan, ImagePlan, PointPlan, VoxelPlan
from robocache_core.samples import PointField
from robocache_core.types import DROP_REASONS

Array = npt.NDArray[Any]
Voxels = tuple[Array, Array, Array, dict[str, int]]


def set_num_threads(num_threads: int) -> None:
    """Nothing: NumPy runs on the calling thread."""


def num_threads() -> int:
    """1."""
    return 1


# --- points


def deskew_points(plan: PointPlan, cloud: Cloud, points: torch.Tensor, valid: torch.Tensor) -> None:
    """Write ``points [N, F] float32`` (x y z in the target frame, then the other fields) and ``valid [N] bool``.

    x y z of a point that is not valid are NaN.
    """
    read = _Points(plan, cloud)
    kept = np.zeros(cloud.layout.num_points, dtype=bool)
    kept[read.number] = True
    rows = points.numpy().T
    rows[:] = _read_fields(plan, cloud)
    rows[:3] = math.nan
    rows[:3, read.number] = read.values[:3]
    rows[np.isnan(rows)] = math.nan
    valid.numpy()[:] = kept


class _Points:
    """The points of a cloud that pass the tests so far.

    Attributes:
        values: ``[F, M]`` float32, x y z in the target frame, then the other fields.
        number: ``[M]`` int64, of the points in the cloud.
        dropped: the others, by reason.
    """

    @np.errstate(all='ignore')
    def __init__(self, plan: PointPlan, cloud: Cloud) -> None:
        self.dropped = dict.fromkeys(DROP_REASONS, 0)
        self.values = _read_fields(plan, cloud)
        self.number = np.arange(self.values.shape[1])
        finite = np.isfinite(self.values).all(axis=0)
        pose = np.zeros(self.values.shape[1], dtype=np.int64)
        if cloud.clock is not None:
            assert plan.time is not None
            time = _read_field(cloud, plan.time, plan.swap, np.float64)
            finite &= np.isfinite(time)
            first, inverse_step = cloud.clock
            last = len(cloud.poses) - 1
            position = np.nan_to_num(np.floor((time - first) * inverse_step + 0.5), nan=0.0)
            pose = np.clip(position, 0, last).astype(np.int64)
        (pose,) = self.keep('non_finite', finite, pose)
        x, y, z = self.values[:3]
        range2 = (x * x + y * y) + z * z
        near = (range2 >= np.float32(plan.min_range2)) & (range2 < np.float32(plan.max_range2))
        (pose,) = self.keep('range', near, pose)
        x, y, z = self.values[:3]
        rows = np.moveaxis(cloud.poses.numpy()[pose], 0, -1)  # [3, 4, M]
        self.values[:3] = [((row[0] * x + row[1] * y) + row[2] * z) + row[3] for row in rows]

    def keep(self, reason: str, kept: Any, *arrays: Array) -> list[Array]:
        """Keep the points where ``kept``; the same of ``arrays [..., M]``."""
        self.dropped[reason] += int(kept.size - np.count_nonzero(kept))
        self.values, self.number = self.values[:, kept], self.number[kept]
        return [array[..., kept] for array in arrays]

    @np.errstate(all='ignore')
    def place(self, box: BoxPlan) -> tuple[Array, Array]:
        """Keep the points in a box; their linear index ``[M] int64`` and fraction of a voxel ``[3, M] float32``."""
        u = (self.values[:3] - _column(box.lower)) * _column(box.inverse_size)
        (u,) = self.keep('outside', ((u >= 0) & (u < _column(box.shape))).all(axis=0), u)
        cell = np.floor(u)
        i, j, k = cell.astype(np.int64)
        return (k * box.shape[1] + j) * box.shape[0] + i, u - cell


def _read_fields(plan: PointPlan, cloud: Cloud) -> Array:
    """The first element of the fields of every point, ``[F, N] float32``."""
    return np.stack([_read_field(cloud, field, plan.swap, np.float32) for field in plan.fields])


@np.errstate(all='ignore')
def _read_field(cloud: Cloud, field: PointField, swap: bool, to: type) -> Array:
    layout = cloud.layout
    if layout.num_points == 0:
        return np.empty(0, dtype=to)
    dtype = np.dtype(field.dtype)
    view = np.ndarray(
        (layout.height, layout.width),
        dtype.newbyteorder() if swap else dtype,
        cloud.data.numpy(),
        field.offset,
        (layout.row_step, layout.point_step),
    )
    values: Array = view.astype(to)
    return values.reshape(-1)


def _column(values: tuple[float, ...]) -> Array:
    column: Array = np.array(values, dtype=np.float32)
    return column[:, None]


# --- voxelize


def voxelize_dense(plan: VoxelPlan, cloud: Cloud, tensor: torch.Tensor) -> list[int]:
    """Write ``tensor [C, Z, Y, X] float32``; returns the points dropped, one number for each of ``DROP_REASONS``."""
    index, features, _, dropped = _voxelize(plan, cloud)
    tensor.zero_()
    tensor.view(len(plan.channels), -1).numpy()[:, index] = features.T
    return list(dropped.values())


def voxelize_sparse(
    plan: VoxelPlan, cloud: Cloud, coords: torch.Tensor, features: torch.Tensor, counts: torch.Tensor
) -> list[int]:
    """Write the first V rows of ``coords [R, 3] int32``, ``features [R, C] float32`` and ``counts [R] int32``.

    Returns:
        V, then the points dropped, one number for each of ``DROP_REASONS``.
    """
    index, all_features, all_counts, dropped = _voxelize(plan, cloud)
    size = min(len(index), counts.shape[0])
    dropped['table_full'] = int(all_counts[size:].sum())
    _write_coords(plan.box, index[:size], coords)
    features[:size].numpy()[:] = all_features[:size]
    counts[:size].numpy()[:] = all_counts[:size]
    return [size, *dropped.values()]


def voxelize_hard(
    plan: HardPlan, cloud: Cloud, voxels: torch.Tensor, coords: torch.Tensor, num_points: torch.Tensor
) -> list[int]:
    """Write the first V rows of ``voxels [R, K, F] float32``, ``coords [R, 3] int32`` and ``num_points [R] int32``.

    Returns:
        V, then the points dropped, one number for each of ``DROP_REASONS``.
    """
    points = _Points(plan.points, cloud)
    index, fraction = points.place(plan.box)
    x, y, z = (fraction - np.float32(0.5)) * _column(plan.box.size)
    distance2 = (x * x + y * y) + z * z
    rows = points.values[list(plan.columns)]  # [F, M]
    order = np.lexsort([*_ordered_int(rows)[::-1], distance2, index])
    index, rows = index[order], rows[:, order]
    found, begins, counts = np.unique(index, return_index=True, return_counts=True)

    size = min(len(found), num_points.shape[0])
    points.dropped['table_full'] = int(counts[size:].sum())
    kept = np.minimum(counts[:size], plan.max_points)
    points.dropped['voxel_full'] = int((counts[:size] - kept).sum())
    _write_coords(plan.box, found[:size], coords)
    num_points[:size].numpy()[:] = kept
    table = voxels[:size].numpy()
    table[:] = 0
    for v, (begin, count) in enumerate(zip(begins[:size], kept, strict=True)):
        table[v, :count] = rows[:, begin : begin + count].T
    return [size, *points.dropped.values()]


def _write_coords(box: BoxPlan, index: Array, coords: torch.Tensor) -> None:
    x, y, _ = box.shape
    coords[: len(index)].numpy()[:] = np.stack([index // (x * y), index // x % y, index % x], axis=-1)


@np.errstate(all='ignore')
def _voxelize(plan: VoxelPlan, cloud: Cloud) -> Voxels:
    """Linear index ``[V] int64`` of every occupied voxel in order, features ``[V, C]``, counts ``[V]``, drops."""
    points = _Points(plan.points, cloud)
    index, fraction = points.place(plan.box)
    values = points.values
    sums: list[Array] = []
    maxima: list[Array] = []
    overflow = np.zeros(len(index), dtype=bool)
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
    (terms,) = points.keep('overflow', ~overflow, np.stack([index, *sums, *maxima]))
    dropped = points.dropped

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
            features[:, c] = (total / (65536.0 * n) - 0.5) * plan.box.size[channel.source]
        elif channel.kind == 'mean':
            features[:, c] = (sums[channel.slot].astype(np.float64) * plan.quantum) / n
        elif channel.kind == 'max':
            features[:, c] = _ordered_float(maxima[channel.slot])
        else:
            features[:, c] = _ordered_float(~maxima[channel.slot])
    return voxels, features, counts, dropped


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
def prepare_image(
    plan: ImagePlan, data: torch.Tensor, step: int, rectify: torch.Tensor | None, out: torch.Tensor
) -> None:
    """Write ``out [C, out_height, out_width]``; ``data`` holds rows ``step`` bytes apart.

    ``rectify [out_height, out_width, 2] float32``: where each pixel of the result lies in the image, px.
    """
    pixels = _pixels(plan, data, step)
    left, top, width, height = plan.region
    if rectify is not None:
        image, inside = _sample_map(plan, pixels, rectify.numpy())
    elif plan.resize == 'area':
        inside = np.ones((height, width), dtype=bool)
        image = _mean_rows(_mean_rows(pixels, height).swapaxes(0, 1), width).swapaxes(0, 1)
    else:
        inside = np.ones((height, width), dtype=bool)
        x0, x1, fx = _taps(plan, width, plan.scale[0], plan.width)
        y0, y1, fy = _taps(plan, height, plan.scale[1], plan.height)
        image = _sample_between(pixels, (x0[None], x1[None], fx[None]), (y0[:, None], y1[:, None], fy[:, None]))

    result = np.empty((len(plan.multiply), plan.out_height, plan.out_width), dtype=np.float32)
    for c, (multiply, add, pad) in enumerate(zip(plan.multiply, plan.add, plan.pad, strict=True)):
        result[c] = pad
        part = result[c, top : top + height, left : left + width]
        part[inside] = (image[..., c] * np.float32(multiply) + np.float32(add))[inside]
    _round_to(result, out)


def _pixels(plan: ImagePlan, data: torch.Tensor, step: int) -> Array:
    """The image, ``[H, W, C] float32``: R G B, or one channel."""
    encoding, dtype = plan.encoding, np.dtype(plan.encoding.dtype)
    values = np.ndarray(
        (encoding.rows(plan.height), plan.width * encoding.channels),
        dtype.newbyteorder() if plan.swap else dtype,
        data.numpy(),
        0,
        (step, dtype.itemsize),
    )
    if encoding.layout == 'bayer':
        pixels = _demosaic(values.astype(np.int32), encoding.order[0])
    elif encoding.layout == 'yuv422':
        pairs = values.reshape(plan.height, -1, 4)
        y, u, v = encoding.order
        luma = pairs[:, :, y::2][:, :, :2].reshape(plan.height, plan.width)
        pixels = _rgb_of_yuv(luma, pairs[:, :, u].repeat(2, axis=1), pairs[:, :, v].repeat(2, axis=1))
    elif encoding.layout == 'semi_planar':
        chroma = values[plan.height :].reshape(plan.height // 2, -1, 2).repeat(2, axis=0).repeat(2, axis=1)
        _, u, v = encoding.order
        pixels = _rgb_of_yuv(values[: plan.height], chroma[..., u], chroma[..., v])
    else:
        pixels = values.reshape(plan.height, plan.width, -1)[..., list(encoding.order)]
    return pixels.astype(np.float32)


def _demosaic(values: Array, red: int) -> Array:
    """R G B of a Bayer image ``[H, W]``, its tiles with red at place ``red``: means of each colour's nearest."""
    height, width = values.shape
    y, x = np.clip(np.arange(height), 1, height - 2)[:, None], np.clip(np.arange(width), 1, width - 2)[None]

    def neighbours(*places: tuple[int, int]) -> Array:
        total: Array = sum(values[y + dy, x + dx] for dy, dx in places) + np.int32(len(places) // 2)
        return total // len(places)

    beside, above, corners = ((0, -1), (0, 1)), ((-1, 0), (1, 0)), ((-1, -1), (-1, 1), (1, -1), (1, 1))
    centre, cross, diagonal = values[y, x], neighbours(*beside, *above), neighbours(*corners)
    horizontal, vertical = neighbours(*beside), neighbours(*above)
    red_row, red_column = y % 2 == red // 2, x % 2 == red % 2
    in_row = np.where(red_column, centre, horizontal), np.where(red_column, vertical, diagonal)
    in_other = np.where(red_column, diagonal, vertical), np.where(red_column, horizontal, centre)
    return np.stack(
        [
            np.where(red_row, in_row[0], in_row[1]),
            np.where(red_row == red_column, cross, centre),
            np.where(red_row, in_other[0], in_other[1]),
        ],
        axis=-1,
    )


def _rgb_of_yuv(y: Array, u: Array, v: Array) -> Array:
    """BT.601 of limited range in fixed point of 20 bits; ``[H, W] uint8`` each."""
    luma = np.maximum(y.astype(np.int32) - 16, 0) * 1220542 + (1 << 19)
    u, v = u.astype(np.int32) - 128, v.astype(np.int32) - 128
    rgb = (luma + 1673527 * v, luma - 852492 * v - 409993 * u, luma + 2116026 * u)
    pixels: Array = np.clip(np.stack(rgb, axis=-1) >> 20, 0, 255)
    return pixels


def _taps(plan: ImagePlan, size: int, scale: float, source_size: int) -> tuple[Array, Array, Array]:
    """For each of ``size`` pixels the two source pixels (int64) and the fraction (float32) between them."""
    if plan.resize == 'nearest':
        i0 = np.minimum(((np.arange(size) + 0.5) * scale).astype(np.int64), source_size - 1)
        return i0, i0, np.zeros(size, dtype=np.float32)
    return _taps_at(plan, (np.arange(size) + 0.5) * scale - 0.5, source_size)


def _taps_at(plan: ImagePlan, position: Array, source_size: int) -> tuple[Array, Array, Array]:
    """The same for positions along an axis, pixel i's centre lying at i."""
    i0 = np.minimum(np.maximum(position, 0).astype(np.int64), source_size - 1)
    between = (position > 0) & (i0 < source_size - 1)
    fraction = np.where(between, position - i0.astype(position.dtype), 0).astype(np.float32)
    if plan.encoding.dtype == 'uint8':  # so that blends are exact in float32, and in integers
        fraction = (fraction * np.float32(16384) + np.float32(0.5)).astype(np.int32).astype(np.float32) / 16384
    return i0, np.minimum(i0 + 1, source_size - 1), fraction


def _sample_map(plan: ImagePlan, pixels: Array, rectify: Array) -> tuple[Array, Array]:
    """The image ``[H, W, C]`` where the map says, and which of its pixels ``[H, W]`` lie on the source."""
    half = np.float32(0.5)
    sizes = np.array([plan.width, plan.height], dtype=np.float32)
    inside = ((rectify >= -half) & (rectify < sizes - half)).all(axis=-1)
    at = np.where(inside[..., None], rectify, np.float32(0))
    taps = []
    for axis, size in ((0, plan.width), (1, plan.height)):
        if plan.resize == 'nearest':
            i0 = np.clip((at[..., axis] + half).astype(np.int64), 0, size - 1)
            taps.append((i0, i0, np.zeros(i0.shape, dtype=np.float32)))
        else:
            taps.append(_taps_at(plan, at[..., axis], size))
    return _sample_between(pixels, *taps), inside


def _sample_between(pixels: Array, columns: tuple[Array, ...], rows: tuple[Array, ...]) -> Array:
    """``pixels [H, W, C]`` between columns and between rows, each two indices and a fraction of the result's shape."""
    (x0, x1, fx), (y0, y1, fy) = columns, rows
    fx, fy = fx[..., None], fy[..., None]
    upper = _lerp_pixels(pixels[y0, x0], pixels[y0, x1], fx)
    lower = _lerp_pixels(pixels[y1, x0], pixels[y1, x1], fx)
    return _lerp_pixels(upper, lower, fy)


def _lerp_pixels(a: Array, b: Array, fraction: Array) -> Array:
    return np.where(fraction == 0, a, a + (b - a) * fraction)


def _mean_rows(values: Array, count: int) -> Array:
    """``values [H, ...]`` as ``[count, ...]``: means of boxes of H / count rows, summed from the first row on."""
    size, inverse = len(values), 1 / len(values)
    result = np.empty((count, *values.shape[1:]), dtype=np.float32)
    for i in range(count):
        # In whole parts of 1 / count row, so that nothing is rounded but the weights.
        left, right = i * size, (i + 1) * size
        begin, end = left // count, -(-right // count)
        total = None
        for j in range(begin, end):
            part = min((j + 1) * count, right) - max(j * count, left)
            term = np.float32(part * inverse) * values[j]
            total = term if total is None else total + term
        result[i] = total
    return result


def _round_to(values: Array, out: torch.Tensor) -> None:
    """Write float32 ``values`` to ``out``, rounded to nearest even; every NaN becomes the one quiet NaN."""
    out.copy_(torch.from_numpy(values))
    out.masked_fill_(out.isnan(), math.nan)


# --- resample, fuse


def fuse(
    plan: FusePlan,
    streams: Sequence[tuple[torch.Tensor, torch.Tensor]],
    targets_ns: torch.Tensor,
    out: torch.Tensor,
    valid: torch.Tensor,
) -> tuple[int, int, int] | None:
    """Write ``out [B, T, sum of D]`` and ``valid [B, T, N] bool`` of N streams at ``targets_ns [B, T] int64``.

    ``streams`` holds values ``[B, S, D]`` and stamps ``[B, S] int64``.

    Returns:
        None; or, with nothing written, of the first stamp that descends and may not: stream, batch, sample.
    """
    if not plan.sort:
        for n, (_, stamps_ns) in enumerate(streams):
            stamps = stamps_ns.numpy()
            descents = np.argwhere(stamps[:, 1:] < stamps[:, :-1])
            if len(descents):
                return n, int(descents[0, 0]), int(descents[0, 1]) + 1
    column = 0
    for n, (values, stamps_ns) in enumerate(streams):
        width = values.shape[2]
        reading = plan.methods[n], plan.outsides[n], plan.tolerances_ns[n]
        for b in range(targets_ns.shape[0]):
            rows, ok = _resample(values[b], stamps_ns[b].numpy(), targets_ns[b].numpy(), *reading, out.dtype)
            out[b, :, column : column + width] = rows
            valid.view(*targets_ns.shape, len(streams))[b, :, n] = torch.from_numpy(ok)
        column += width
    return None


@np.errstate(all='ignore')
def _resample(
    values: torch.Tensor,
    stamps: Array,
    targets: Array,
    method: str,
    outside: str,
    tolerance_ns: int,
    dtype: torch.dtype,
) -> tuple[torch.Tensor, Array]:
    """Rows ``[T, D]`` of ``dtype`` and validity ``[T]`` of one stream in one batch."""
    order = np.argsort(stamps, kind='stable')
    order = order[np.append(stamps[order][1:] != stamps[order][:-1], True)] if len(order) else order
    values, stamps = values[torch.from_numpy(order)], stamps[order]  # of equal stamps the last
    num_samples, width = values.shape
    if num_samples == 0:
        return torch.zeros(len(targets), width, dtype=dtype), np.zeros(len(targets), dtype=bool)
    upper = np.searchsorted(stamps, targets, side='right')
    lower = upper - 1
    has_lower, has_upper = lower >= 0, upper < num_samples
    lower, upper = np.maximum(lower, 0), np.minimum(upper, num_samples - 1)
    before, after = _distance(targets, stamps[lower]), _distance(stamps[upper], targets)
    tolerance = np.uint64(tolerance_ns)
    lower_valid, upper_valid = has_lower & (before <= tolerance), has_upper & (after <= tolerance)
    lower_is_nearest = ~has_upper | (has_lower & (before <= after))
    nearest = np.where(lower_is_nearest, lower, upper)
    exact = has_lower & (before == 0)

    held = nearest  # the sample taken where nothing is mixed
    mixed = np.zeros(len(targets), dtype=bool)
    if method == 'previous':
        valid = lower_valid
        held = np.where(valid, lower, nearest)
    elif method == 'nearest':
        valid = np.where(lower_is_nearest, lower_valid, upper_valid)
    else:
        mixed = lower_valid & upper_valid & ~exact
        valid = exact | mixed
        alpha = (before.astype(np.float64) / (before + after).astype(np.float64)).astype(np.float32)
        if outside == 'extrapolate' and num_samples > 1:
            other = np.where(has_lower, num_samples - 2, 1)
            beyond = np.where(has_lower, before, after)
            span = np.where(has_lower, _distance(stamps[-1], stamps[-2]), _distance(stamps[1], stamps[0]))
            on_line = (has_lower != has_upper) & ~exact & (beyond <= tolerance) & (span <= tolerance - beyond)
            line_alpha = -(beyond.astype(np.float64) / span.astype(np.float64)).astype(np.float32)
            lower, upper = np.where(on_line, nearest, lower), np.where(on_line, other, upper)
            alpha = np.where(on_line, line_alpha, alpha)
            mixed, valid = mixed | on_line, valid | on_line
        alpha = alpha[:, None]
        a = values[torch.from_numpy(lower)].to(torch.float32).numpy()
        b = values[torch.from_numpy(upper)].to(torch.float32).numpy()
        if method == 'slerp':
            result, has_direction = _slerp(a.astype(np.float64), b.astype(np.float64), alpha.astype(np.float64))
            mixed &= has_direction
            valid &= has_direction | exact
        else:
            result = a + (b - a) * alpha

    rows = torch.empty(len(targets), width, dtype=dtype)
    taken = values[torch.from_numpy(held)]
    if dtype == values.dtype:
        rows.copy_(taken)
    else:
        _round_to(taken.to(torch.float32).numpy(), rows)
    if outside == 'zero':
        rows[torch.from_numpy(~valid)] = 0
    if mixed.any():
        mixed_rows = torch.empty_like(rows)
        _round_to(result.astype(np.float32), mixed_rows)
        rows = torch.where(torch.from_numpy(mixed)[:, None], mixed_rows, rows)
    return rows, valid


def _distance(later: Array, earlier: Array) -> Array:
    """Of two int64 stamps, as uint64: it need not fit int64."""
    distance: Array = later.astype(np.uint64) - earlier.astype(np.uint64)
    return distance


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
