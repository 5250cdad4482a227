# SPDX-License-Identifier: Apache-2.0
"""What a backend is told: the settings of an operation, checked, with every constant that the host computes once.

All backends read the same plan, so a reciprocal or a factor is rounded in one place. Plans are immutable and cached,
so most of them are told apart by identity (``eq=False``), which hashes fast: a small call takes microseconds.
"""

from __future__ import annotations

import functools
import math
import sys
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from robocache_core.ledger import Reason
from robocache_core.samples import CloudLayout, DataError, PointField
from robocache_core.types import VoxelGrid
from robocache_core.validation import as_floats, as_ints

MAX_CHANNELS = 32
MAX_AXIS_VOXELS = 1 << 24  # a float32 holds every index below it
MAX_VOXELS = (1 << 31) - 1
MAX_PIXELS = 1 << 20  # along an axis of an image
MAX_FLOAT32 = float(np.finfo(np.float32).max)
METHODS = ('linear', 'slerp', 'nearest', 'previous')
OUTSIDES = ('hold', 'zero', 'extrapolate')
UNSORTED = ('refuse', 'sort', 'trust')

_FIELD_DTYPES = ('int8', 'uint8', 'int16', 'uint16', 'int32', 'uint32', 'float32', 'float64')
AXES = ('x', 'y', 'z')
_HOST_IS_BIGENDIAN = sys.byteorder == 'big'


def _float32(value: float) -> float:
    """``value`` rounded to float32 (infinite where it is too large)."""
    with np.errstate(over='ignore'):
        return float(np.float32(value))


# --- points


@dataclass(frozen=True, eq=False)
class PointPlan:
    """What is read of every point, and which are dropped; floats are rounded to float32.

    Attributes:
        fields: x, y, z, then the other fields in use, none twice.
        time: the field by which poses are looked up; None: one pose is every point's.
        swap: the cloud's bytes are not in this machine's order.
        min_range2: least squared range, m².
        max_range2: squared range from which points are dropped, m².
    """

    fields: tuple[PointField, ...]
    time: PointField | None
    swap: bool
    min_range2: float
    max_range2: float

    def index(self, name: str) -> int:
        """Where the field called ``name`` is in ``fields``."""
        return [field.name for field in self.fields].index(name)


class Cloud(NamedTuple):  # made anew for every call, sooner than a frozen dataclass
    """The bytes of a cloud and the sensor's poses in the target frame.

    Attributes:
        data: ``[nbytes]`` uint8.
        layout: of ``data``.
        poses: ``[P, 3, 4]`` float32, contiguous.
        clock: raw value of the time field at ``poses[0]``, and poses a raw unit; None: ``poses[0]`` is every point's.
    """

    data: torch.Tensor
    layout: CloudLayout
    poses: torch.Tensor
    clock: tuple[float, float] | None


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

    axes = [find(axis, ('float32', 'float64')) for axis in AXES]
    others = [find(name) for name in dict.fromkeys(names) if name not in AXES]
    return PointPlan(
        fields=(*axes, *others),
        time=None if time is None else find(time),
        swap=is_bigendian != _HOST_IS_BIGENDIAN,
        min_range2=_float32(min_range * min_range),
        max_range2=_float32(max_range * max_range),
    )


# --- voxelize


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


@dataclass(frozen=True)
class BoxPlan:
    """A box of voxels.

    Attributes:
        shape: voxels along x y z.
        lower: lower corner, m (float32).
        inverse_size: 1 / size, 1/m (float32).
        size: edges of a voxel, m (double).
    """

    shape: tuple[int, int, int]
    lower: tuple[float, ...]
    inverse_size: tuple[float, ...]
    size: tuple[float, ...]


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


@dataclass(frozen=True, eq=False)
class HardPlan:
    """Settings of a voxelization to points: ``columns`` are the numbers, in ``points.fields``, of what a row holds."""

    points: PointPlan
    box: BoxPlan
    columns: tuple[int, ...]
    max_points: int


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
    box = _box_plan(grid)
    if not (0 < quantum < math.inf and 1 / quantum < math.inf):
        raise ValueError(f'quantum = {quantum}: must be positive and finite')
    if not 1 <= len(channels) <= MAX_CHANNELS:
        raise ValueError(f'channels = {channels}: needs 1 to {MAX_CHANNELS}')
    names = []
    for channel in channels:
        kind, _, name = channel.partition(':')
        if channel in ('count', 'occupancy', 'density'):
            continue
        if kind not in ('mean', 'max', 'min') or not name:
            raise ValueError(
                f'channels has {channel!r}: must be count, occupancy, density, mean:<field>, max:<field> or min:<field>'
            )
        names.append(name)
    points = point_plan(fields, is_bigendian, tuple(names), time, min_range, max_range)

    parsed, num_sums, num_maxima = [], 0, 0
    for channel in channels:
        kind, _, name = channel.partition(':')
        if not name:
            parsed.append(Channel(kind))
        elif kind == 'mean':
            parsed.append(Channel('mean_offset' if name in AXES else 'mean', points.index(name), num_sums))
            num_sums += 1
        else:
            parsed.append(Channel(kind, points.index(name), num_maxima))
            num_maxima += 1
    return VoxelPlan(
        points=points,
        box=box,
        quantum=quantum,
        inverse_quantum=1 / quantum,
        inverse_volume=1 / math.prod(grid.size),
        channels=tuple(parsed),
        num_sums=num_sums,
        num_maxima=num_maxima,
    )


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
    box = _box_plan(grid)
    if not 1 <= len(names) <= MAX_CHANNELS:
        raise ValueError(f'fields = {names}: needs 1 to {MAX_CHANNELS}')
    if not 1 <= max_points <= MAX_VOXELS:
        raise ValueError(f'max_points = {max_points}: must be 1 to {MAX_VOXELS}')
    points = point_plan(fields, is_bigendian, names, time, min_range, max_range)
    return HardPlan(points, box, tuple(points.index(name) for name in names), max_points)


def _box_plan(grid: VoxelGrid) -> BoxPlan:
    lower, size = as_floats('grid.lower', grid.lower), as_floats('grid.size', grid.size)
    shape = as_ints('grid.shape', grid.shape)
    for name in ('lower', 'size', 'shape'):
        if len(getattr(grid, name)) != 3:
            raise ValueError(f'grid.{name} = {getattr(grid, name)}: needs three numbers, of x, y and z')
    if not all(0 < edge < math.inf and _float32(1 / edge) < math.inf for edge in size):
        raise ValueError(f'grid.size = {size}: must be positive and finite')
    if not all(math.isfinite(_float32(value)) for value in lower):
        raise ValueError(f'grid.lower = {lower}: must be finite')
    if not all(1 <= voxels <= MAX_AXIS_VOXELS for voxels in shape):
        raise ValueError(f'grid.shape = {shape}: needs 1 to {MAX_AXIS_VOXELS} voxels along an axis')
    if math.prod(shape) > MAX_VOXELS:
        raise ValueError(f'grid.shape = {shape}: needs at most {MAX_VOXELS} voxels')
    return BoxPlan(
        shape=(shape[0], shape[1], shape[2]),
        lower=tuple(_float32(value) for value in lower),
        inverse_size=tuple(_float32(1 / edge) for edge in size),
        size=size,
    )


# --- prepare_image


@dataclass(frozen=True)
class Encoding:
    """How a ROS encoding holds its pixels.

    Attributes:
        dtype: of a value.
        channels: values in a row for each pixel.
        order: where the channels of the result (R G B, or one) are. packed: value of a pixel; bayer: place of R, a G
            and B in a tile of 2 x 2 pixels; yuv422: of the first Y, U and V in the four values of two pixels;
            semi_planar: of nothing, U and V in the two values of 2 x 2 pixels, whose rows follow those of Y.
        layout: packed, bayer, yuv422 or semi_planar.
    """

    dtype: str
    channels: int
    order: tuple[int, ...]
    layout: str = 'packed'

    def rows(self, height: int) -> int:
        """Rows of data that an image of ``height`` pixels has."""
        return height + height // 2 if self.layout == 'semi_planar' else height

    def row_bytes(self, width: int) -> int:
        """Bytes of a row of data that hold pixels."""
        return width * self._pixel_bytes

    @functools.cached_property
    def _pixel_bytes(self) -> int:
        """Bytes that a pixel takes in a row of data; NumPy is asked once."""
        return self.channels * np.dtype(self.dtype).itemsize

    def check(self, name: str, width: int, height: int, step: int, nbytes: int) -> None:
        """Check that an image of this encoding, called ``name``, lies inside ``nbytes`` bytes, rows ``step`` apart.

        Raises:
            DataError: ``empty_image``, ``bad_image_size``, ``step_too_small`` or ``data_too_short``.
        """
        if width < 1 or height < 1:
            raise DataError(Reason.EMPTY_IMAGE, f'an image of {width} x {height} pixels')
        if max(width, height) > MAX_PIXELS:
            raise DataError(
                Reason.BAD_IMAGE_SIZE, f'{width} x {height} pixels: must be at most {MAX_PIXELS} along an axis'
            )
        if self.layout == 'bayer' and min(width, height) < 3:
            raise DataError(Reason.BAD_IMAGE_SIZE, f'{width} x {height} pixels {name}: needs 3 x 3 at the least')
        if self.layout in ('yuv422', 'semi_planar') and width % 2:
            raise DataError(Reason.BAD_IMAGE_SIZE, f'{width} x {height} pixels {name}: the width must be even')
        if self.layout == 'semi_planar' and height % 2:
            raise DataError(Reason.BAD_IMAGE_SIZE, f'{width} x {height} pixels {name}: the height must be even')
        row, rows = self.row_bytes(width), self.rows(height)
        if step < row:
            raise DataError(Reason.STEP_TOO_SMALL, f'step {step} < {row} bytes of {width} pixels {name}')
        if nbytes < step * rows:
            of = f'height {height}' if rows == height else f'{rows} rows of height {height}'
            raise DataError(Reason.DATA_TOO_SHORT, f'{nbytes} bytes < step {step} x {of}')


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
    **{
        f'bayer_{pattern}{bits}': Encoding(f'uint{bits}', 1, order, 'bayer')
        for bits in (8, 16)
        for pattern, order in (('rggb', (0, 1, 3)), ('bggr', (3, 1, 0)), ('gbrg', (2, 0, 1)), ('grbg', (1, 0, 2)))
    },
    **dict.fromkeys(('yuv422', 'uyvy'), Encoding('uint8', 2, (1, 0, 2), 'yuv422')),
    **dict.fromkeys(('yuv422_yuy2', 'yuyv'), Encoding('uint8', 2, (0, 1, 3), 'yuv422')),
    'nv12': Encoding('uint8', 1, (0, 0, 1), 'semi_planar'),
    'nv21': Encoding('uint8', 1, (0, 1, 0), 'semi_planar'),
}
RESIZE_METHODS = ('bilinear', 'nearest', 'area')


def encoding_of(name: str) -> Encoding:
    """Return the encoding that ROS calls ``name``.

    Raises:
        DataError: ``unknown_encoding``.
    """
    if not isinstance(name, str) or name not in ENCODINGS:
        raise DataError(Reason.UNKNOWN_ENCODING, f'encoding {name!r}: must be one of {", ".join(ENCODINGS)}')
    return ENCODINGS[name]


@dataclass(frozen=True, eq=False)
class ImagePlan:
    """Settings of an image's preparation; multiply, add and pad are rounded to float32, one a channel of the result.

    Attributes:
        encoding: how the source holds a pixel.
        swap: the source's bytes are not in this machine's order.
        width, height: of the source, px.
        out_width, out_height: of the result, px.
        region: x, y, width, height of the part of the result that the source fills, px; padding lies around it.
        scale: source pixels an output pixel, along x and y (double).
        resize: bilinear, nearest or area.
        multiply, add: result = pixel * multiply + add.
        pad: the padding's value in the result.
    """

    encoding: Encoding
    swap: bool
    width: int
    height: int
    out_width: int
    out_height: int
    region: tuple[int, int, int, int]
    scale: tuple[float, float]
    resize: str
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
        DataError: ``unknown_encoding``.
        ValueError: a setting is not allowed.
    """
    spec = encoding_of(encoding)
    for name, value in (('width', width), ('height', height), ('out_width', out_width), ('out_height', out_height)):
        if not 1 <= value <= MAX_PIXELS:
            raise ValueError(f'{name} = {value}: must be 1 to {MAX_PIXELS}')
    if resize not in RESIZE_METHODS:
        raise ValueError(f'resize = {resize!r}: must be one of {", ".join(RESIZE_METHODS)}')
    num = len(spec.order)
    for name, values in (('mean', mean), ('std', std)):
        if len(values) < num or not all(math.isfinite(value) for value in values):
            raise ValueError(f'{name} = {values}: needs {num} finite values for {encoding}')
    if not all(value > 0 for value in std):
        raise ValueError(f'std = {std}: must be positive')
    multiply, add, padding = image_factors(scale, mean[:num], std[:num], pad)
    region = image_region(width, height, out_width, out_height, letterbox)
    return ImagePlan(
        encoding=spec,
        swap=is_bigendian != _HOST_IS_BIGENDIAN,
        width=width,
        height=height,
        out_width=out_width,
        out_height=out_height,
        region=region,
        scale=(width / region[2], height / region[3]),
        resize=resize,
        multiply=multiply,
        add=add,
        pad=padding,
    )


def image_factors(
    scale: float, mean: tuple[float, ...], std: tuple[float, ...], pad: float
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """Return multiply, add and pad of an ``ImagePlan``.

    Raises:
        ValueError: one is beyond float32, where a black pixel, 0 times infinity, would not be a number.
    """
    multiply = _fitting(f'scale = {scale}', 'scale / std', [scale / s for s in std])
    add = _fitting(f'mean = {mean}', '-mean / std', [-m / s for m, s in zip(mean, std, strict=True)])
    (pixel,) = _fitting(f'pad = {pad}', 'it', [pad])
    # In double, then rounded, the product and the sum of two float32 are what float32 arithmetic makes of them.
    products = _fitting(f'pad = {pad}', 'pad * scale / std', [pixel * m for m in multiply])
    sums = [product + a for product, a in zip(products, add, strict=True)]
    return multiply, add, _fitting(f'pad = {pad}', '(pad * scale - mean) / std', sums)


def _fitting(setting: str, meaning: str, numbers: list[float]) -> tuple[float, ...]:
    """``numbers`` rounded to float32; ``meaning``: what they are of the ``setting``."""
    rounded = tuple(map(_float32, numbers))
    if not all(map(math.isfinite, rounded)):
        raise ValueError(f'{setting}: {meaning} must be -{MAX_FLOAT32:.7g} to {MAX_FLOAT32:.7g}, is {numbers}')
    return rounded


def image_region(
    width: int, height: int, out_width: int, out_height: int, letterbox: bool
) -> tuple[int, int, int, int]:
    """Part of the result that the source fills, x y width height: all, or in its middle what has its aspect ratio."""
    if not letterbox:
        return 0, 0, out_width, out_height
    ratio = min(out_width / width, out_height / height)
    region_width = min(out_width, max(1, math.floor(width * ratio + 0.5)))
    region_height = min(out_height, max(1, math.floor(height * ratio + 0.5)))
    return (out_width - region_width) // 2, (out_height - region_height) // 2, region_width, region_height


# --- resample, fuse


@dataclass(frozen=True, eq=False)  # told apart by identity, which hashes fast: a small call takes microseconds
class FusePlan:
    """How N streams are read.

    Attributes:
        methods: linear, slerp, nearest or previous, one a stream.
        tolerances_ns: greatest distance of a sample that makes a result valid, ns, one a stream.
        outsides: hold, zero or extrapolate, one a stream.
        sort: stamps may be in any order; else those of each row ascend.
        check: whether they do has to be looked at.
    """

    methods: tuple[str, ...]
    tolerances_ns: tuple[int, ...]
    outsides: tuple[str, ...]
    sort: bool
    check: bool


@functools.lru_cache(maxsize=64)
def fuse_plan(
    methods: tuple[str, ...], tolerances_ns: tuple[int, ...], outsides: tuple[str, ...], unsorted: str
) -> FusePlan:
    """Check how streams are to be read.

    Raises:
        ValueError: a setting is not allowed.
    """
    for i, (method, tolerance_ns, outside) in enumerate(zip(methods, tolerances_ns, outsides, strict=True)):
        stream = f'streams[{i}] ' if len(methods) > 1 else ''
        if method not in METHODS:
            raise ValueError(f'{stream}method = {method!r}: must be one of {", ".join(METHODS)}')
        if not 0 <= tolerance_ns < 1 << 63:
            raise ValueError(f'{stream}tolerance_ns = {tolerance_ns}: must be 0 to 2^63 - 1')
        allowed = OUTSIDES if method == 'linear' else OUTSIDES[:2]
        if outside not in allowed:
            raise ValueError(f'{stream}outside = {outside!r}: must be one of {", ".join(allowed)} for {method}')
    if unsorted not in UNSORTED:
        raise ValueError(f'unsorted = {unsorted!r}: must be one of {", ".join(UNSORTED)}')
    return FusePlan(methods, tolerances_ns, outsides, unsorted == 'sort', unsorted == 'refuse')
