# SPDX-License-Identifier: Apache-2.0
"""What a backend is told: the settings of an operation, checked, with every constant that the host computes once.

Both backends read the same plan, so a reciprocal or a factor is rounded in one place. Plans are immutable and cached.
"""

from __future__ import annotations

import functools
import math
import sys
from dataclasses import dataclass

import numpy as np
import torch

from robocache_core.types import DataError, PointField, VoxelGrid

#: Why a point is in no voxel, in order of test.
DROP_REASONS = ('non_finite', 'range', 'outside', 'overflow', 'table_full')
MAX_CHANNELS = 32
MAX_AXIS_VOXELS = 1 << 24  # a float32 holds every index below it
MAX_VOXELS = (1 << 31) - 1
MAX_PIXELS = 1 << 20  # along an axis of an image

_FIELD_DTYPES = ('int8', 'uint8', 'int16', 'uint16', 'int32', 'uint32', 'float32', 'float64')
_AXES = ('x', 'y', 'z')
_HOST_IS_BIGENDIAN = sys.byteorder == 'big'


def _float32(value: float) -> float:
    """``value`` rounded to float32 (infinite where it is too large)."""
    with np.errstate(over='ignore'):
        return float(np.float32(value))


# --- voxelize


@dataclass(frozen=True)
class Channel:
    """A channel of a voxel.

    Attributes:
        kind: count, occupancy, density, mean_offset (of an axis), mean, max or min.
        source: the axis (mean_offset), else the number of the field in ``VoxelPlan.fields``.
        slot: which sum (mean_offset, mean) or maximum (max, min) it reads; -1 where it needs the count alone.
    """

    kind: str
    source: int = -1
    slot: int = -1


@dataclass(frozen=True)
class VoxelPlan:
    """Settings of a voxelization; floats that enter float32 arithmetic are already rounded to float32.

    Attributes:
        fields: x, y, z, then the other fields that channels use.
        swap: the cloud's bytes are not in this machine's order.
        shape: voxels along x y z.
        lower: lower corner, m.
        inverse_size: 1 / size, 1/m.
        size: edges of a voxel, m (double).
        min_range2: least squared range, m².
        max_range2: squared range from which points are dropped, m².
        quantum: step of the values that are averaged, in the field's unit (double).
        inverse_quantum: 1 / quantum (double).
        inverse_volume: 1 / volume of a voxel, 1/m³ (double).
        channels: what is computed of a voxel.
        num_sums: sums that the channels read.
        num_maxima: maxima that the channels read (a minimum is a maximum of complements).
    """

    fields: tuple[PointField, ...]
    swap: bool
    shape: tuple[int, int, int]
    lower: tuple[float, ...]
    inverse_size: tuple[float, ...]
    size: tuple[float, ...]
    min_range2: float
    max_range2: float
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
    grid: VoxelGrid,
    channels: tuple[str, ...],
    min_range: float,
    max_range: float,
    quantum: float,
) -> VoxelPlan:
    """Check the settings of a voxelization and compute its constants.

    Raises:
        DataError: ``missing_field``, ``bad_layout``.
        ValueError: grid, channels, min_range, max_range or quantum is not allowed.
    """
    _check_grid(grid)
    if not 0 <= min_range < max_range:
        raise ValueError(f'min_range = {min_range}, max_range = {max_range}: needs 0 <= min_range < max_range')
    if not (0 < quantum < math.inf and 1 / quantum < math.inf):
        raise ValueError(f'quantum = {quantum}: must be positive and finite')
    if not 1 <= len(channels) <= MAX_CHANNELS:
        raise ValueError(f'channels = {channels}: needs 1 to {MAX_CHANNELS}')

    by_name = {field.name: field for field in reversed(fields)}
    used: list[PointField] = []

    def use(name: str) -> int:
        if name not in by_name:
            raise DataError('missing_field', f"the cloud has no field '{name}' (it has: {', '.join(by_name)})")
        field = by_name[name]
        allowed = _FIELD_DTYPES if len(used) >= 3 else ('float32', 'float64')
        if field.dtype not in allowed:
            raise DataError('bad_layout', f"field '{name}' is {field.dtype}, must be one of {', '.join(allowed)}")
        if field not in used:
            used.append(field)
        return used.index(field)

    for axis in _AXES:
        use(axis)
    parsed, num_sums, num_maxima = [], 0, 0
    for channel in channels:
        kind, _, name = channel.partition(':')
        if channel in ('count', 'occupancy', 'density'):
            parsed.append(Channel(kind))
        elif kind == 'mean' and name:
            parsed.append(Channel('mean_offset' if name in _AXES else 'mean', use(name), num_sums))
            num_sums += 1
        elif kind in ('max', 'min') and name:
            parsed.append(Channel(kind, use(name), num_maxima))
            num_maxima += 1
        else:
            raise ValueError(
                f'channels has {channel!r}: must be count, occupancy, density, mean:<field>, max:<field> or min:<field>'
            )
    return VoxelPlan(
        fields=tuple(used),
        swap=is_bigendian != _HOST_IS_BIGENDIAN,
        shape=grid.shape,
        lower=tuple(_float32(value) for value in grid.lower),
        inverse_size=tuple(_float32(1 / value) for value in grid.size),
        size=grid.size,
        min_range2=_float32(min_range * min_range),
        max_range2=_float32(max_range * max_range),
        quantum=quantum,
        inverse_quantum=1 / quantum,
        inverse_volume=1 / math.prod(grid.size),
        channels=tuple(parsed),
        num_sums=num_sums,
        num_maxima=num_maxima,
    )


def _check_grid(grid: VoxelGrid) -> None:
    if not all(0 < size < math.inf and _float32(1 / size) < math.inf for size in grid.size):
        raise ValueError(f'grid.size = {grid.size}: must be positive and finite')
    if not all(math.isfinite(_float32(lower)) for lower in grid.lower):
        raise ValueError(f'grid.lower = {grid.lower}: must be finite')
    if not all(1 <= voxels <= MAX_AXIS_VOXELS for voxels in grid.shape):
        raise ValueError(f'grid.shape = {grid.shape}: needs 1 to {MAX_AXIS_VOXELS} voxels along an axis')
    if grid.num_voxels > MAX_VOXELS:
        raise ValueError(f'grid.shape = {grid.shape}: needs at most {MAX_VOXELS} voxels')


# --- prepare_image


@dataclass(frozen=True)
class Encoding:
    """How a ROS encoding holds a pixel: ``channels`` values of ``dtype``; ``order`` picks those of the result."""

    dtype: str
    channels: int
    order: tuple[int, ...]


ENCODINGS = {
    'rgb8': Encoding('uint8', 3, (0, 1, 2)),
    'bgr8': Encoding('uint8', 3, (2, 1, 0)),
    'rgba8': Encoding('uint8', 4, (0, 1, 2)),
    'bgra8': Encoding('uint8', 4, (2, 1, 0)),
    'mono8': Encoding('uint8', 1, (0,)),
    'mono16': Encoding('uint16', 1, (0,)),
    '8UC1': Encoding('uint8', 1, (0,)),
    '8UC3': Encoding('uint8', 3, (2, 1, 0)),
    '16UC1': Encoding('uint16', 1, (0,)),
    '32FC1': Encoding('float32', 1, (0,)),
}


@dataclass(frozen=True)
class ImagePlan:
    """Settings of an image's preparation; multiply, add and pad are rounded to float32, one a channel of the result.

    Attributes:
        encoding: how the source holds a pixel.
        swap: the source's bytes are not in this machine's order.
        width, height: of the source, px.
        row_bytes: bytes of a source row that hold pixels.
        out_width, out_height: of the result, px.
        region: x, y, width, height of the part of the result that the source fills, px; padding lies around it.
        scale: source pixels an output pixel, along x and y (double).
        nearest: nearest pixel instead of bilinear.
        multiply, add: result = pixel * multiply + add.
        pad: the padding's value in the result.
    """

    encoding: Encoding
    swap: bool
    width: int
    height: int
    row_bytes: int
    out_width: int
    out_height: int
    region: tuple[int, int, int, int]
    scale: tuple[float, float]
    nearest: bool
    multiply: tuple[float, ...]
    add: tuple[float, ...]
    pad: tuple[float, ...]


@functools.lru_cache(maxsize=64)
def image_plan(
    encoding: str,
    width: int,
    height: int,
    is_bigendian: bool,
    out_width: int,
    out_height: int,
    resize: str,
    letterbox: bool,
    pad: float,
    scale: float,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> ImagePlan:
    """Check the settings of an image's preparation and compute its constants.

    Raises:
        DataError: ``unknown_encoding``, ``empty_image``.
        ValueError: a setting is not allowed.
    """
    if encoding not in ENCODINGS:
        raise DataError('unknown_encoding', f'encoding {encoding!r}: must be one of {", ".join(ENCODINGS)}')
    spec = ENCODINGS[encoding]
    if width < 1 or height < 1:
        raise DataError('empty_image', f'an image of {width} x {height} pixels')
    for name, value in (('width', width), ('height', height), ('out_width', out_width), ('out_height', out_height)):
        if not 1 <= value <= MAX_PIXELS:
            raise ValueError(f'{name} = {value}: must be 1 to {MAX_PIXELS}')
    if resize not in ('bilinear', 'nearest'):
        raise ValueError(f'resize = {resize!r}: must be bilinear or nearest')
    num = len(spec.order)
    for name, values in (('mean', mean), ('std', std)):
        if len(values) < num or not all(math.isfinite(value) for value in values):
            raise ValueError(f'{name} = {values}: needs {num} finite values for {encoding}')
    if not all(value > 0 for value in std):
        raise ValueError(f'std = {std}: must be positive')
    for name, number in (('scale', scale), ('pad', pad)):
        if not math.isfinite(number):
            raise ValueError(f'{name} = {number}: must be finite')

    region = _letterbox(width, height, out_width, out_height) if letterbox else (0, 0, out_width, out_height)
    multiply = [np.float32(scale / std[c]) for c in range(num)]
    add = [np.float32(-mean[c] / std[c]) for c in range(num)]
    return ImagePlan(
        encoding=spec,
        swap=is_bigendian != _HOST_IS_BIGENDIAN,
        width=width,
        height=height,
        row_bytes=width * spec.channels * np.dtype(spec.dtype).itemsize,
        out_width=out_width,
        out_height=out_height,
        region=region,
        scale=(width / region[2], height / region[3]),
        nearest=resize == 'nearest',
        multiply=tuple(map(float, multiply)),
        add=tuple(map(float, add)),
        pad=tuple(float(np.float32(pad) * m + a) for m, a in zip(multiply, add, strict=True)),
    )


def _letterbox(width: int, height: int, out_width: int, out_height: int) -> tuple[int, int, int, int]:
    """The largest part of the output with the source's aspect ratio, in its middle."""
    ratio = min(out_width / width, out_height / height)
    region_width = min(out_width, max(1, math.floor(width * ratio + 0.5)))
    region_height = min(out_height, max(1, math.floor(height * ratio + 0.5)))
    return (out_width - region_width) // 2, (out_height - region_height) // 2, region_width, region_height


# --- resample, fuse


@dataclass(frozen=True)
class Stream:
    """One stream to be resampled.

    Attributes:
        values: ``[B, S, D]`` float32, float16 or bfloat16, any strides.
        stamps_ns: ``[B, S]`` int64, ns, ascending along S, any strides.
        method: linear, slerp, nearest or previous.
        tolerance_ns: greatest distance of a sample that makes a result valid, ns.
    """

    values: torch.Tensor
    stamps_ns: torch.Tensor
    method: str
    tolerance_ns: int
