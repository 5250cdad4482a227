# SPDX-License-Identifier: Apache-2.0
"""Voxelization to points: the points of each voxel as they are, nearest to its centre first."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from robocache_core import backends
from robocache_core.channels import MAX_CHANNELS, MAX_VOXELS
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
    PointPlan,
    PoseTable,
    as_range,
    check_cloud,
    cloud_of,
    point_plan,
    time_field,
)
from robocache_core.samples import CloudLayout, PointField
from robocache_core.validation import as_int, as_names


class HardVoxels(VoxelResult):
    """Occupied voxels in index order (z, then y, then x), with points as they are.

    ``voxels [V, K, F] float32`` (zeros after a voxel's points), ``coords [V, 3] int32`` (z, y, x), ``num_points [V]
    int32``; ``dropped``: points by reason. They view the first rows of the tensors that were written; on a GPU the
    first to ask for one waits, to know V.
    """

    def __init__(
        self,
        voxels: torch.Tensor,
        coords: torch.Tensor,
        num_points: torch.Tensor,
        numbers: Sequence[int] | torch.Tensor,
    ) -> None:
        super().__init__(numbers)
        self._rows = voxels, coords, num_points

    @functools.cached_property
    def voxels(self) -> torch.Tensor:
        """``[V, K, F]`` float32."""
        return self._rows[0][: self._numbers[0]]

    @functools.cached_property
    def coords(self) -> torch.Tensor:
        """``[V, 3]`` int32: z, y, x."""
        return self._rows[1][: self._numbers[0]]

    @functools.cached_property
    def num_points(self) -> torch.Tensor:
        """``[V]`` int32: points of each voxel that are kept."""
        return self._rows[2][: self._numbers[0]]


def voxelize_hard(
    data: torch.Tensor,
    layout: CloudLayout | DepthLayout,
    grid: VoxelGrid,
    fields: Sequence[str],
    *,
    max_points: int,
    max_voxels: int | None = None,
    transform: torch.Tensor | None = None,
    deskew: PoseTable | None = None,
    min_range: float = 0.0,
    max_range: float = math.inf,
    out: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None,
) -> HardVoxels:
    """Sort a cloud's points into their occupied voxels; a point's voxel is that of ``voxelize_dense``.

    A voxel holds the ``max_points`` points nearest to its centre, nearest first; of points as near (in float32) those
    with the lesser values, field by field. So the result does not depend on the order of the points.

    Args:
        data: ``[nbytes]`` uint8, the bytes of the cloud.
        layout: where in ``data`` the fields are; or of a depth image, whose pixels are points.
        grid: the voxels, in the target frame.
        fields: what is kept of a point, such as x, y, z, intensity; x, y, z in the target frame. At most 32.
        max_points: K, most points of a voxel; others are dropped ``voxel_full``.
        max_voxels: most voxels in the result; None: no limit, or the rows of ``out``. Voxels beyond it in index order
            are cut, their points counted ``table_full``.
        transform: ``[4, 4]`` float32, on the CPU, pose of the sensor in the target frame; None: they are the same.
        deskew: instead of ``transform``, a pose for each point, by its time.
        min_range: nearer points are dropped, m from the sensor.
        max_range: points at it and beyond are dropped, m from the sensor.
        out: voxels ``[R, K, F]`` float32, coords ``[R, 3]`` int32 and num_points ``[R]`` int32, contiguous, R at least
            ``max_voxels``, to be written instead of new tensors; the result views their first rows.

    Returns:
        Voxels in index order (z, then y, then x), and the points dropped.

    Raises:
        DataError: as ``voxelize_dense``.
        ValueError, TypeError: an argument is not allowed.
    """
    settings = (layout, grid, fields, time_field(deskew), max_points, max_voxels, min_range, max_range)
    plan, rows = backends.checked_once(_checked_hard, (data, out), settings)
    device = data.device
    cloud = cloud_of(data, layout, transform, deskew)
    voxels, coords, num_points = rows.of(out, device)
    numbers = backends.for_device(device).voxelize_hard(plan, cloud, voxels, coords, num_points)
    return HardVoxels(voxels, coords, num_points, numbers)


def _checked_hard(
    data: torch.Tensor,
    out: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None,
    layout: CloudLayout | DepthLayout,
    grid: VoxelGrid,
    fields: Sequence[str],
    time: str | None,
    max_points: int,
    max_voxels: int | None,
    min_range: float,
    max_range: float,
) -> tuple[HardPlan, Rows]:
    """Check a call of ``voxelize_hard``; return its plan and the rows that it writes."""
    check_cloud(data, layout)
    names, max_points = as_names('fields', fields), as_int('max_points', max_points)
    ranges = as_range(min_range, max_range)
    plan = hard_plan(layout.fields, layout.is_bigendian, time, checked_grid(grid), names, max_points, *ranges)
    parts = (
        ('voxels', (max_points, len(names)), torch.float32),
        ('coords', (3,), torch.int32),
        ('num_points', (), torch.int32),
    )
    return plan, checked_rows_of(parts, out, layout, grid, checked_max_voxels(max_voxels), data.device)


@dataclass(frozen=True, eq=False)
class HardPlan:
    """Settings of a voxelization to points: ``columns`` are the numbers, in ``points.fields``, of what a row holds."""

    points: PointPlan
    box: BoxPlan
    columns: tuple[int, ...]
    max_points: int


@functools.lru_cache(maxsize=64)
def hard_plan(
    fields: tuple[PointField, ...],
    is_bigendian: bool,
    time: str | None,
    grid: VoxelGrid,
    names: tuple[str, ...],
    max_points: int,
    min_range: float,
    max_range: float,
) -> HardPlan:
    """Check the settings of a voxelization to points and compute its constants.

    Raises:
        DataError: ``missing_field``, ``bad_layout``.
        ValueError: grid, names, max_points, min_range or max_range is not allowed.
    """
    box = box_plan(grid)
    if not 1 <= len(names) <= MAX_CHANNELS:
        raise ValueError(f'fields = {names}: needs 1 to {MAX_CHANNELS}')
    if not 1 <= max_points <= MAX_VOXELS:
        raise ValueError(f'max_points = {max_points}: must be 1 to {MAX_VOXELS}')
    points = point_plan(fields, is_bigendian, names, time, min_range, max_range)
    return HardPlan(points, box, tuple(points.index(name) for name in names), max_points)
