# SPDX-License-Identifier: Apache-2.0
"""Points of a cloud: how they are read, brought to the target frame, and tested."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from robocache_core import backends
from robocache_core.channels import MAX_CHANNELS, MAX_VOXELS
from robocache_core.ledger import Reason
from robocache_core.ops.depth import DepthValues
from robocache_core.ops.depth_layout import DepthLayout, PixelField
from robocache_core.samples import CloudLayout, DataError, PointField
from robocache_core.validation import (
    as_float,
    as_names,
    check_bytes,
    check_kind,
    check_number_of,
    check_tensor,
    checked_out,
    float32,
)

AXES = ('x', 'y', 'z')

#: Why a point is in no voxel, in order of test.
POINT_DROP_REASONS = ('non_finite', 'range', 'outside', 'overflow', 'table_full', 'voxel_full')

_FIELD_DTYPES = ('int8', 'uint8', 'int16', 'uint16', 'int32', 'uint32', 'float32', 'float64')
_HOST_IS_BIGENDIAN = sys.byteorder == 'big'
_CPU = torch.device('cpu')
_IDENTITY = torch.eye(4, dtype=torch.float32)[None, :3].contiguous()


@dataclass(frozen=True)
class PoseTable:
    """Poses of the sensor while it scanned, to be looked up by the time of a point.

    The pose of a point is ``poses[clamp(floor((t - first) * inverse_step + 0.5), 0, P - 1)]`` with ``t`` the raw value
    of the field as a double; a point whose ``t`` is not finite is dropped ``non_finite``.

    Attributes:
        field: name of the cloud's field that holds the time of a point.
        poses: ``[P, 3, 4]`` float32, contiguous: rows of the sensor's pose at a point's time in the target frame at the
            target time; P at least 1.
        first: raw value of the field at ``poses[0]``.
        inverse_step: poses a raw unit; negative where the field runs backwards.
    """

    field: str
    poses: torch.Tensor
    first: float
    inverse_step: float


def deskew_points(
    data: torch.Tensor,
    layout: CloudLayout | DepthLayout,
    fields: Sequence[str] = (),
    *,
    transform: torch.Tensor | None = None,
    deskew: PoseTable | None = None,
    min_range: float = 0.0,
    max_range: float = math.inf,
    out: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Bring the points of a cloud to the target frame, in their order.

    Args:
        data: ``[nbytes]`` uint8, the bytes of the cloud.
        layout: where in ``data`` the fields are; or of a depth image, whose pixels are points.
        fields: what a row holds after x, y, z, each rounded to float32. At most 32.
        transform: ``[4, 4]`` float32, on the CPU, pose of the sensor in the target frame; None: they are the same.
        deskew: instead of ``transform``, a pose for each point, by its time.
        min_range: nearer points are not valid, m from the sensor.
        max_range: points at it and beyond are not valid, m from the sensor.
        out: points ``[N, 3 + len(fields)]`` float32 and validity ``[N]`` bool, contiguous, to be written instead of new
            tensors.

    Returns:
        Points ``[N, 3 + len(fields)]`` float32, m, and validity ``[N]`` bool. A point is not valid where x, y, z, its
        time or one of ``fields`` is not finite or its range is not allowed; its x, y, z are then NaN.

    Raises:
        DataError: as ``voxelize_dense``.
        ValueError, TypeError: an argument is not allowed.
    """
    settings = (layout, fields, time_field(deskew), min_range, max_range)
    plan, shape = backends.checked_once(_checked_deskewing, (data, out), settings)
    device = data.device
    cloud = cloud_of(data, layout, transform, deskew)
    if out is None:
        points = torch.empty(*shape, dtype=torch.float32, device=device)
        valid = torch.empty(shape[0], dtype=torch.bool, device=device)
    else:
        points, valid = out
    backends.for_device(device).deskew_points(plan, cloud, points, valid)
    return points, valid


def _checked_deskewing(
    data: torch.Tensor,
    out: tuple[torch.Tensor, torch.Tensor] | None,
    layout: CloudLayout | DepthLayout,
    fields: Sequence[str],
    time: str | None,
    min_range: float,
    max_range: float,
) -> tuple[PointPlan, tuple[int, int]]:
    """Check a call of ``deskew_points``; return its plan and the shape of its points."""
    check_cloud(data, layout)
    names = as_names('fields', fields)
    if len(names) > MAX_CHANNELS or len({*names, *AXES}) < len(names) + len(AXES):
        raise ValueError(f'fields = {names}: needs at most {MAX_CHANNELS} names, none twice, without x, y, z')
    plan = point_plan(layout.fields, layout.is_bigendian, names, time, *as_range(min_range, max_range))
    shape = (layout.num_points, 3 + len(names))
    if out is not None:
        check_number_of('out', out, ('points', 'valid'))
        checked_out('out[0] (points)', out[0], shape, torch.float32, data.device)
        checked_out('out[1] (valid)', out[1], shape[:1], torch.bool, data.device)
    return plan, shape


@dataclass(frozen=True, eq=False)
class PointPlan:
    """What is read of every point, and which are dropped; floats are rounded to float32.

    Attributes:
        fields: x, y, z, then the other fields in use, none twice.
        time: the field by which poses are looked up; None: one pose is every point's.
        swap: the cloud's bytes are not in this machine's order.
        depth: how the pixels of a depth image are read; None: the cloud is none.
        min_range2: least squared range, m².
        max_range2: squared range from which points are dropped, m².
    """

    fields: tuple[PointField, ...]
    time: PointField | None
    swap: bool
    depth: DepthValues | None
    min_range2: float
    max_range2: float

    def index(self, name: str) -> int:
        """Where the field called ``name`` is in ``fields``."""
        return [field.name for field in self.fields].index(name)


class Cloud(NamedTuple):  # made for every call, faster than a frozen dataclass
    """The bytes of a cloud and the sensor's poses in the target frame.

    Attributes:
        data: ``[nbytes]`` uint8.
        layout: of ``data``.
        poses: ``[P, 3, 4]`` float32, contiguous.
        clock: raw value of the time field at ``poses[0]``, and poses a raw unit; None: ``poses[0]`` is every point's.
        rays: ``[height, width, 3]`` float32, contiguous, of a depth image; None: it is none.
    """

    data: torch.Tensor
    layout: CloudLayout | DepthLayout
    poses: torch.Tensor
    clock: tuple[float, float] | None
    rays: torch.Tensor | None


@functools.lru_cache(maxsize=64)
def point_plan(
    fields: tuple[PointField, ...],
    is_bigendian: bool,
    names: tuple[str, ...],
    time: str | None,
    min_range: float,
    max_range: float,
) -> PointPlan:
    """Find the fields called ``names`` beside x, y, z, and the field ``time``; check the ranges.

    Raises:
        DataError: ``missing_field``, ``bad_layout``.
        ValueError: min_range or max_range is not allowed.
    """
    if not 0 <= min_range < max_range:
        raise ValueError(f'min_range = {min_range}, max_range = {max_range}: needs 0 <= min_range < max_range')
    by_name = {field.name: field for field in reversed(fields)}

    def find(name: str, allowed: tuple[str, ...] = _FIELD_DTYPES) -> PointField:
        if name not in by_name:
            raise DataError(Reason.MISSING_FIELD, f"the cloud has no field '{name}' (it has: {', '.join(by_name)})")
        if by_name[name].dtype not in allowed:
            dtype = by_name[name].dtype
            raise DataError(Reason.BAD_LAYOUT, f"field '{name}' is {dtype}, must be one of {', '.join(allowed)}")
        return by_name[name]

    pixel = fields[0] if fields else None
    depth = pixel.values if isinstance(pixel, PixelField) else None
    axes = [find(axis, ('float32', 'float64') if depth is None else _FIELD_DTYPES) for axis in AXES]
    others = [find(name) for name in dict.fromkeys(names) if name not in AXES]
    return PointPlan(
        fields=(*axes, *others),
        time=None if time is None else find(time),
        swap=is_bigendian != _HOST_IS_BIGENDIAN,
        depth=depth,
        min_range2=float32(min_range * min_range),
        max_range2=float32(max_range * max_range),
    )


def check_cloud(data: torch.Tensor, layout: CloudLayout | DepthLayout) -> None:
    """Check the bytes of a cloud, and where in them its points are.

    Raises:
        DataError: ``bad_layout``, ``field_beyond_point_step``, ``row_step_too_small``, ``data_too_short``; of a depth
            image as ``DepthLayout.validate``.
        ValueError, TypeError: an argument is not allowed.
    """
    check_bytes(data)
    check_kind('layout', layout, (CloudLayout, DepthLayout))
    layout.validate(data.numel())
    if isinstance(layout, DepthLayout) and layout.rays.device != data.device:
        raise ValueError(f'layout.rays is on {layout.rays.device}: must be on {data.device}')
    if layout.num_points > MAX_VOXELS:
        raise ValueError(f'layout has {layout.num_points} points: must be at most {MAX_VOXELS}')


def time_field(deskew: PoseTable | None) -> str | None:
    """Name of the field by which poses are looked up; None where they are not.

    Raises:
        TypeError: ``deskew`` is no table, or has no name.
    """
    if deskew is None:
        return None
    check_kind('deskew', deskew, PoseTable)
    check_kind('deskew.field', deskew.field, str)
    return deskew.field


def cloud_of(
    data: torch.Tensor, layout: CloudLayout | DepthLayout, transform: torch.Tensor | None, deskew: PoseTable | None
) -> Cloud:
    """Check the poses of a cloud, which hold other numbers in every call, and put it together.

    Raises:
        ValueError, TypeError: an argument is not allowed.
    """
    rays = layout.rays if isinstance(layout, DepthLayout) else None
    if deskew is not None:
        if transform is not None:
            raise ValueError('transform and deskew: only one can be given, the poses of deskew hold the transform')
        clock = _checked_clock(deskew)
        return Cloud(data, layout, _checked_poses(deskew.poses, data.device), clock, rays)
    if transform is None:
        return Cloud(data, layout, _IDENTITY, None, rays)
    return Cloud(data, layout, check_transform(transform).as_strided((1, 3, 4), (12, 4, 1)), None, rays)


def check_transform(transform: torch.Tensor, name: str = 'transform') -> torch.Tensor:
    """Return the pose ``[4, 4] float32`` that is called ``name``, on the CPU, contiguous.

    Raises:
        ValueError, TypeError: it is none.
    """
    check_tensor(name, transform, 2, (torch.float32,), _CPU)
    rows = transform.tolist()  # so few numbers take torch longer
    if transform.shape != (4, 4) or not math.isfinite(sum(map(sum, rows[:3]))) or rows[3] != [0, 0, 0, 1]:
        raise ValueError(f'{name} = {rows}: must be [4, 4], finite, its last row 0 0 0 1')
    return transform.contiguous()


def _checked_clock(table: PoseTable) -> tuple[float, float]:
    """First and inverse step of a table in which they are allowed."""
    first, inverse_step = as_float('deskew.first', table.first), as_float('deskew.inverse_step', table.inverse_step)
    if not math.isfinite(first) or not math.isfinite(inverse_step):
        raise ValueError(f'deskew.first = {first}, deskew.inverse_step = {inverse_step}: must be finite')
    return first, inverse_step


def _checked_poses(poses: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The poses, on ``device``; the contents of those that already are on a GPU cannot be checked without a wait."""
    is_here = isinstance(poses, torch.Tensor) and poses.is_cpu
    check_tensor('deskew.poses', poses, 3, (torch.float32,), _CPU if is_here else device)
    if not len(poses) or poses.shape[1:] != (3, 4) or not poses.is_contiguous():
        raise ValueError(f'deskew.poses has shape {tuple(poses.shape)}: must be [P, 3, 4], contiguous, P > 0')
    if is_here:
        least, most = torch.aminmax(poses)  # NaN where one is; needs no memory of the table's size
        if not (math.isfinite(least) and math.isfinite(most)):
            raise ValueError('deskew.poses: must be finite')
    return poses.to(device)


def as_range(min_range: float, max_range: float) -> tuple[float, float]:
    """Both as floats; ``point_plan`` checks their values.

    Raises:
        TypeError: one is no number.
    """
    return as_float('min_range', min_range), as_float('max_range', max_range)
