# SPDX-License-Identifier: Apache-2.0
"""Voxelization to channels: counts, means and extremes of the points of a voxel, dense or of occupied voxels alone."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from robocache_core import backends
from robocache_core.channels import MAX_CHANNELS, parse_channel
from robocache_core.ops.depth_layout import DepthLayout
from robocache_core.ops.grid import (
    BoxPlan,
    Rows,
    VoxelGrid,
    VoxelResult,
    box_plan,
    checked_grid,
    checked_max_voxels,
    checked_rows_of,
)
from robocache_core.ops.points import (
    AXES,
    PointPlan,
    PoseTable,
    as_range,
    check_cloud,
    cloud_of,
    point_plan,
    time_field,
)
from robocache_core.samples import CloudLayout, PointField
from robocache_core.validation import as_float, as_names, checked_out


class DenseVoxels(VoxelResult):
    """``tensor [C, Z, Y, X] float32``, zero where no point fell; ``dropped``: points by reason."""

    def __init__(self, tensor: torch.Tensor, numbers: Sequence[int] | torch.Tensor) -> None:
        super().__init__(numbers)
        self.tensor = tensor


class SparseVoxels(VoxelResult):
    """Occupied voxels in index order (z, then y, then x).

    ``coords [V, 3] int32`` (z, y, x), ``features [V, C] float32``, ``counts [V] int32``; ``dropped``: points by reason.
    They view the first rows of the tensors that were written; on a GPU the first to ask for one waits, to know V.
    """

    def __init__(
        self,
        coords: torch.Tensor,
        features: torch.Tensor,
        counts: torch.Tensor,
        numbers: Sequence[int] | torch.Tensor,
    ) -> None:
        super().__init__(numbers)
        self._rows = coords, features, counts

    @functools.cached_property
    def coords(self) -> torch.Tensor:
        """``[V, 3]`` int32: z, y, x."""
        return self._rows[0][: self._numbers[0]]

    @functools.cached_property
    def features(self) -> torch.Tensor:
        """``[V, C]`` float32."""
        return self._rows[1][: self._numbers[0]]

    @functools.cached_property
    def counts(self) -> torch.Tensor:
        """``[V]`` int32: points of each voxel."""
        return self._rows[2][: self._numbers[0]]


def voxelize_dense(
    data: torch.Tensor,
    layout: CloudLayout | DepthLayout,
    grid: VoxelGrid,
    channels: Sequence[str],
    *,
    transform: torch.Tensor | None = None,
    deskew: PoseTable | None = None,
    min_range: float = 0.0,
    max_range: float = math.inf,
    quantum: float = 1 / 256,
    out: torch.Tensor | None = None,
) -> DenseVoxels:
    """Voxelize a cloud to a dense tensor.

    A point's voxel is ``floor((p - lower) * inverse_size)`` in float32, with ``p`` the point in the target frame and
    ``inverse_size`` 1 / size rounded to float32; voxels are half-open. The result does not depend on the order of
    the points. Fields of any PointCloud2 type are read (x, y, z
    must be float32 or float64), rounded to float32; of a field with a count, the first element.

    Channels: ``count``; ``occupancy`` (0 or 1); ``density`` (points per m³); ``mean:x|y|z`` (m, from the centre of the
    voxel, each point rounded to 2^-16 voxel); ``mean:<field>`` (each value rounded to ``quantum``); ``max:<field>`` and
    ``min:<field>`` (x, y, z in the target frame). At most 32.

    Args:
        data: ``[nbytes]`` uint8, the bytes of the cloud.
        layout: where in ``data`` the fields are; or of a depth image, whose pixels are points.
        grid: the voxels, in the target frame.
        channels: what is computed of a voxel.
        transform: ``[4, 4]`` float32, on the CPU, pose of the sensor in the target frame; None: they are the same.
        deskew: instead of ``transform``, a pose for each point, by its time.
        min_range: nearer points are dropped, m from the sensor.
        max_range: points at it and beyond are dropped, m from the sensor.
        quantum: step to which values of ``mean:<field>`` are rounded before they are summed.
        out: ``[C, Z, Y, X]`` float32, contiguous, to be written instead of a new tensor.

    Returns:
        The tensor and the points dropped: ``non_finite`` (x, y, z or a field in use), ``range``, ``outside`` (of the
        grid), ``overflow`` (a value to be averaged of 2^31 quanta or more), ``table_full`` and ``voxel_full`` (0 here).

    Raises:
        DataError: ``bad_layout``, ``field_beyond_point_step``, ``row_step_too_small``, ``data_too_short``,
            ``missing_field``.
        ValueError, TypeError: an argument is not allowed.
    """
    settings = (layout, grid, channels, time_field(deskew), min_range, max_range, quantum)
    plan, shape = backends.checked_once(_checked_dense, (data, out), settings)
    device = data.device
    cloud = cloud_of(data, layout, transform, deskew)
    # Here and below by sizes: torch takes longer to read a tuple.
    tensor = torch.empty(*shape, dtype=torch.float32, device=device) if out is None else out
    return DenseVoxels(tensor, backends.for_device(device).voxelize_dense(plan, cloud, tensor))


def _checked_dense(
    data: torch.Tensor,
    out: torch.Tensor | None,
    layout: CloudLayout | DepthLayout,
    grid: VoxelGrid,
    channels: Sequence[str],
    time: str | None,
    min_range: float,
    max_range: float,
    quantum: float,
) -> tuple[VoxelPlan, tuple[int, ...]]:
    """Check a call of ``voxelize_dense``; return its plan and the shape of its tensor."""
    plan = _checked_plan(data, layout, grid, channels, time, min_range, max_range, quantum)
    x, y, z = grid.shape
    shape = (len(plan.channels), z, y, x)
    if out is not None:
        checked_out('out', out, shape, torch.float32, data.device)
    return plan, shape


def _checked_plan(
    data: torch.Tensor,
    layout: CloudLayout | DepthLayout,
    grid: VoxelGrid,
    channels: Sequence[str],
    time: str | None,
    min_range: float,
    max_range: float,
    quantum: float,
) -> VoxelPlan:
    """Check what both voxelizations to channels are given."""
    check_cloud(data, layout)
    names, ranges = as_names('channels', channels), as_range(min_range, max_range)
    fields = (layout.fields, layout.is_bigendian, time)
    return voxel_plan(*fields, checked_grid(grid), names, *ranges, as_float('quantum', quantum))


def voxelize_sparse(
    data: torch.Tensor,
    layout: CloudLayout | DepthLayout,
    grid: VoxelGrid,
    channels: Sequence[str],
    *,
    transform: torch.Tensor | None = None,
    deskew: PoseTable | None = None,
    min_range: float = 0.0,
    max_range: float = math.inf,
    quantum: float = 1 / 256,
    max_voxels: int | None = None,
    out: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None,
) -> SparseVoxels:
    """Voxelize a cloud to its occupied voxels; arguments, channels and errors are those of ``voxelize_dense``.

    Args:
        data: ``[nbytes]`` uint8, the bytes of the cloud.
        layout: where in ``data`` the fields are; or of a depth image, whose pixels are points.
        grid: the voxels, in the target frame.
        channels: what is computed of a voxel.
        transform: ``[4, 4]`` float32, on the CPU, pose of the sensor in the target frame; None: they are the same.
        deskew: instead of ``transform``, a pose for each point, by its time.
        min_range: nearer points are dropped, m from the sensor.
        max_range: points at it and beyond are dropped, m from the sensor.
        quantum: step to which values of ``mean:<field>`` are rounded before they are summed.
        max_voxels: most voxels in the result; None: no limit, or the rows of ``out``. Voxels beyond it in index order
            are cut, their points counted ``table_full``.
        out: coords ``[R, 3]`` int32, features ``[R, C]`` float32 and counts ``[R]`` int32, contiguous, R at least
            ``max_voxels``, to be written instead of new tensors; the result views their first rows.

    Returns:
        Voxels in index order (z, then y, then x), and the points dropped.
    """
    settings = (layout, grid, channels, time_field(deskew), min_range, max_range, quantum, max_voxels)
    plan, rows = backends.checked_once(_checked_sparse, (data, out), settings)
    device = data.device
    cloud = cloud_of(data, layout, transform, deskew)
    coords, features, counts = rows.of(out, device)
    numbers = backends.for_device(device).voxelize_sparse(plan, cloud, coords, features, counts)
    return SparseVoxels(coords, features, counts, numbers)


def _checked_sparse(
    data: torch.Tensor,
    out: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None,
    layout: CloudLayout | DepthLayout,
    grid: VoxelGrid,
    channels: Sequence[str],
    time: str | None,
    min_range: float,
    max_range: float,
    quantum: float,
    max_voxels: int | None,
) -> tuple[VoxelPlan, Rows]:
    """Check a call of ``voxelize_sparse``; return its plan and the rows that it writes."""
    plan = _checked_plan(data, layout, grid, channels, time, min_range, max_range, quantum)
    parts = (
        ('coords', (3,), torch.int32),
        ('features', (len(plan.channels),), torch.float32),
        ('counts', (), torch.int32),
    )
    return plan, checked_rows_of(parts, out, layout, grid, checked_max_voxels(max_voxels), data.device)


@dataclass(frozen=True)
class Channel:
    """A channel of a voxel.

    Attributes:
        kind: count, occupancy, density, mean_offset (of an axis), mean, max or min.
        source: the axis (mean_offset), else the number of the field in ``PointPlan.fields``.
        slot: which sum (mean_offset, mean) or maximum (max, min) it reads; -1 where it needs the count alone.
    """

    kind: str
    source: int = -1
    slot: int = -1


@dataclass(frozen=True, eq=False)
class VoxelPlan:
    """Settings of a voxelization to channels.

    Attributes:
        points: what is read of a point.
        box: the voxels.
        quantum: step of the values that are averaged, in the field's unit (double).
        inverse_quantum: 1 / quantum (double).
        inverse_volume: 1 / volume of a voxel, 1/m³ (double).
        channels: what is computed of a voxel.
        num_sums: sums that the channels read.
        num_maxima: maxima that the channels read (a minimum is a maximum of complements).
    """

    points: PointPlan
    box: BoxPlan
    quantum: float
    inverse_quantum: float
    inverse_volume: float
    channels: tuple[Channel, ...]
    num_sums: int
    num_maxima: int


@functools.lru_cache(maxsize=64)
def voxel_plan(
    fields: tuple[PointField, ...],
    is_bigendian: bool,
    time: str | None,
    grid: VoxelGrid,
    channels: tuple[str, ...],
    min_range: float,
    max_range: float,
    quantum: float,
) -> VoxelPlan:
    """Check the settings of a voxelization to channels and compute its constants.

    Raises:
        DataError: ``missing_field``, ``bad_layout``.
        ValueError: grid, channels, min_range, max_range or quantum is not allowed.
    """
    box = box_plan(grid)
    if not (0 < quantum < math.inf and 1 / quantum < math.inf):
        raise ValueError(f'quantum = {quantum}: must be positive and finite')
    if not 1 <= len(channels) <= MAX_CHANNELS:
        raise ValueError(f'channels = {channels}: needs 1 to {MAX_CHANNELS}')
    parsed = [parse_channel(channel) for channel in channels]
    points = point_plan(fields, is_bigendian, tuple(field for _, field in parsed if field), time, min_range, max_range)
    planned = _plan_channels(parsed, points)
    return VoxelPlan(
        points=points,
        box=box,
        quantum=quantum,
        inverse_quantum=1 / quantum,
        inverse_volume=1 / math.prod(grid.size),
        channels=planned,
        num_sums=sum(channel.kind in ('mean', 'mean_offset') for channel in planned),
        num_maxima=sum(channel.kind in ('max', 'min') for channel in planned),
    )


def _plan_channels(parsed: list[tuple[str, str]], points: PointPlan) -> tuple[Channel, ...]:
    """Number the fields that channels read, and the sums and maxima that they need."""
    sums, maxima = itertools.count(), itertools.count()
    channels = []
    for kind, field in parsed:
        if not field:
            channels.append(Channel(kind))
        elif kind == 'mean':
            channels.append(Channel('mean_offset' if field in AXES else 'mean', points.index(field), next(sums)))
        else:
            channels.append(Channel(kind, points.index(field), next(maxima)))
    return tuple(channels)
