# SPDX-License-Identifier: Apache-2.0
"""Points of a cloud in NumPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from robocache_core.backends.reference.arrays import Array
from robocache_core.ops.grid import BoxPlan
from robocache_core.ops.points import POINT_DROP_REASONS, Cloud, PointPlan
from robocache_core.samples import PointField


def deskew_points(plan: PointPlan, cloud: Cloud, points: torch.Tensor, valid: torch.Tensor) -> None:
    """Write ``points [N, F] float32`` (x y z in the target frame, then the other fields) and ``valid [N] bool``.

    x y z of a point that is not valid are NaN.
    """
    read = Points(plan, cloud)
    kept = np.zeros(cloud.layout.num_points, dtype=bool)
    kept[read.number] = True
    rows = points.numpy().T
    if cloud.rays is None:
        rows[:] = _read_fields(plan, cloud)
    rows[:3] = math.nan
    rows[:3, read.number] = read.values[:3]
    rows[np.isnan(rows)] = math.nan
    valid.numpy()[:] = kept


class Points:
    """Those points of a cloud that pass the tests so far.

    Attributes:
        values: ``[F, M]`` float32, x y z in the target frame, then the other fields.
        number: ``[M]`` int64, of the points in the cloud.
        dropped: the others, by reason.
    """

    @np.errstate(all='ignore')
    def __init__(self, plan: PointPlan, cloud: Cloud) -> None:
        self.dropped = dict.fromkeys(POINT_DROP_REASONS, 0)
        self.values, measured, allowed = _measured(plan, cloud)
        self.number = np.arange(self.values.shape[1])
        finite = np.isfinite(self.values).all(axis=0) & measured
        pose = np.zeros(self.values.shape[1], dtype=np.int64)
        if cloud.clock is not None:
            assert plan.time is not None
            time = _read_field(cloud, plan.time, plan.swap, np.float64)
            finite &= np.isfinite(time)
            first, inverse_step = cloud.clock
            last = len(cloud.poses) - 1
            position = np.nan_to_num(np.floor((time - first) * inverse_step + 0.5), nan=0.0)
            pose = np.clip(position, 0, last).astype(np.int64)
        pose, allowed = self.keep('non_finite', finite, pose, allowed)
        x, y, z = self.values[:3]
        range2 = (x * x + y * y) + z * z
        near = (range2 >= np.float32(plan.min_range2)) & (range2 < np.float32(plan.max_range2))
        (pose,) = self.keep('range', near & allowed, pose)
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
        u = (self.values[:3] - column(box.lower)) * column(box.inverse_size)
        (u,) = self.keep('outside', ((u >= 0) & (u < column(box.shape))).all(axis=0), u)
        cell = np.floor(u)
        i, j, k = cell.astype(np.int64)
        return (k * box.shape[1] + j) * box.shape[0] + i, u - cell


def _measured(plan: PointPlan, cloud: Cloud) -> tuple[Array, Array, Array]:
    """The fields of every point ``[F, N] float32``, whether it was measured, and at a distance that is allowed."""
    if plan.depth is None or cloud.rays is None:
        every = np.ones(cloud.layout.num_points, dtype=bool)
        return _read_fields(plan, cloud), every, every
    pixels = _read_field(cloud, plan.fields[0], plan.swap, np.float64)
    metres = (pixels * plan.depth.unit).astype(np.float32)
    values = metres * cloud.rays.numpy().reshape(-1, 3).T
    return values, metres > 0, (metres >= np.float32(plan.depth.least)) & (metres <= np.float32(plan.depth.most))


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


def column(values: tuple[float, ...]) -> Array:
    """Return one value for each axis, ``[3, 1] float32``, to be combined with ``[3, M]``."""
    axes: Array = np.array(values, dtype=np.float32)
    return axes[:, None]
