# SPDX-License-Identifier: Apache-2.0
"""Preparation of depth images: metres and validity, rectified and resized, never blended."""

from __future__ import annotations

import functools
import math
import sys
from dataclasses import dataclass

import numpy as np
import torch

from robocache_core import backends
from robocache_core.encodings import DEPTH_ENCODINGS, MAX_PIXELS, encoding_of
from robocache_core.ledger import Reason
from robocache_core.ops.image import image_region
from robocache_core.samples import DataError
from robocache_core.text import shown
from robocache_core.validation import (
    as_bool,
    as_float,
    as_int,
    check_bytes,
    check_kind,
    check_number_of,
    checked_out,
    float32,
)

RESIZE_METHODS = ('nearest', 'min')

#: Metres of a count, by encoding, as REP 118 has it.
UNITS = {'16UC1': 0.001, '32FC1': 1.0}

_MAX_FLOAT32 = float(np.finfo(np.float32).max)
_HOST_IS_BIGENDIAN = sys.byteorder == 'big'


def prepare_depth(
    data: torch.Tensor,
    *,
    encoding: str,
    width: int,
    height: int,
    step: int,
    out_width: int,
    out_height: int,
    is_bigendian: bool = False,
    unit: float = 0.0,
    min_depth: float = 0.0,
    max_depth: float = math.inf,
    resize: str = 'nearest',
    letterbox: bool = False,
    rectify: torch.Tensor | None = None,
    out: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn a depth image into metres and validity, rectified and resized.

    A value times ``unit``, in double, is rounded to float32. It is valid where that is finite, more than 0, and from
    ``min_depth`` to ``max_depth``. A pixel of the result has the distance of one pixel of the image: that of pixel
    ``floor((x + 0.5) * width / out_width)`` (nearest), or the least valid one of all that it covers, if only in part
    (min). Padding is not valid.

    Args:
        data: ``[nbytes]`` uint8, the bytes of the image.
        encoding: 16UC1 or 32FC1.
        width: of the image, px.
        height: of the image, px.
        step: bytes from a row to the next.
        out_width: of the result, px.
        out_height: of the result, px.
        is_bigendian: byte order of the values.
        unit: metres of a count; 0: 0.001 of 16UC1, 1 of 32FC1.
        min_depth: nearer distances are not valid, m.
        max_depth: farther distances are not valid, m.
        resize: nearest or min.
        letterbox: keep the aspect ratio, centre, and pad; else stretch. With ``rectify`` the map says that.
        rectify: as ``prepare_image`` takes it; the nearest pixel is read. Not with min.
        out: depth ``[1, out_height, out_width]`` float32 and validity ``[1, out_height, out_width]`` bool, contiguous,
            to be written instead of new tensors.

    Returns:
        Depth ``[1, out_height, out_width]`` float32, m along the optical axis, 0 where it is not valid; and validity
        ``[1, out_height, out_width]`` bool.

    Raises:
        DataError: ``unknown_encoding``, ``empty_image``, ``bad_image_size``, ``step_too_small``, ``data_too_short``.
        ValueError, TypeError: an argument is not allowed.
    """
    settings = (
        *(encoding, width, height, step, out_width, out_height, is_bigendian),
        *(unit, min_depth, max_depth, resize, letterbox),
    )
    plan, shape = backends.checked_once(_checked_preparation, (data, rectify, out), settings)
    device = data.device
    depth, valid = new_depth(shape, device) if out is None else out
    backends.for_device(device).prepare_depth(plan, data, int(step), rectify, depth, valid)
    return depth, valid


def _checked_preparation(
    data: torch.Tensor,
    rectify: torch.Tensor | None,
    out: tuple[torch.Tensor, torch.Tensor] | None,
    encoding: str,
    width: int,
    height: int,
    step: int,
    out_width: int,
    out_height: int,
    is_bigendian: bool,
    unit: float,
    min_depth: float,
    max_depth: float,
    resize: str,
    letterbox: bool,
) -> tuple[DepthPlan, tuple[int, int, int]]:
    """Check a call of ``prepare_depth``; return its plan and the shape of its result."""
    check_bytes(data)
    width, height, step = as_int('width', width), as_int('height', height), as_int('step', step)
    out_width, out_height = as_int('out_width', out_width), as_int('out_height', out_height)
    check_kind('resize', resize, str)
    check_depth_encoding(encoding)
    encoding_of(encoding).check(encoding, width, height, step, data.numel())
    values = depth_values(
        encoding,
        as_bool('is_bigendian', is_bigendian),
        as_float('unit', unit),
        as_float('min_depth', min_depth),
        as_float('max_depth', max_depth),
    )
    keep_aspect = as_bool('letterbox', letterbox) and rectify is None
    plan = depth_plan(values, width, height, out_width, out_height, resize, keep_aspect)
    device, shape = data.device, (1, out_height, out_width)
    if rectify is not None:
        if resize == 'min':
            raise ValueError("resize = 'min': must be nearest with rectify")
        checked_out('rectify', rectify, (out_height, out_width, 2), torch.float32, device)
    if out is not None:
        check_depth_out(out, shape, device)
    return plan, shape


def new_depth(shape: tuple[int, int, int], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Make a depth ``[1, H, W]`` float32 and its validity ``[1, H, W]`` bool, which are not written yet."""
    depth = torch.empty(*shape, dtype=torch.float32, device=device)
    return depth, torch.empty(*shape, dtype=torch.bool, device=device)


def check_depth_out(out: tuple[torch.Tensor, torch.Tensor], shape: tuple[int, int, int], device: torch.device) -> None:
    """Check that ``out`` is a depth and its validity, to be written.

    Raises:
        ValueError, TypeError: it is not.
    """
    check_number_of('out', out, ('depth', 'valid'))
    checked_out('out[0] (depth)', out[0], shape, torch.float32, device)
    checked_out('out[1] (valid)', out[1], shape, torch.bool, device)


def check_depth_encoding(encoding: str) -> None:
    """Refuse an encoding whose values are no distances.

    Raises:
        DataError: ``unknown_encoding``.
    """
    if not isinstance(encoding, str) or encoding not in DEPTH_ENCODINGS:
        raise DataError(
            Reason.UNKNOWN_ENCODING, f'encoding {shown(encoding)}: of depth it must be {" or ".join(DEPTH_ENCODINGS)}'
        )


@dataclass(frozen=True)
class DepthValues:
    """How the values of a depth image are read.

    Attributes:
        dtype: of a value, uint16 or float32.
        swap: its bytes are not in this machine's order.
        unit: metres of a count (double).
        least, most: of the distances that are valid, m (float32).
    """

    dtype: str
    swap: bool
    unit: float
    least: float
    most: float


@dataclass(frozen=True, eq=False)
class DepthPlan:
    """Settings of a depth image's preparation.

    Attributes:
        values: how the source's values are read.
        width, height: of the source, px.
        out_width, out_height: of the result, px.
        region: x, y, width, height of the part of the result that the source fills, px.
        scale: source pixels an output pixel, along x and y (double).
        resize: nearest or min.
    """

    values: DepthValues
    width: int
    height: int
    out_width: int
    out_height: int
    region: tuple[int, int, int, int]
    scale: tuple[float, float]
    resize: str


@functools.lru_cache(maxsize=64)
def depth_values(encoding: str, is_bigendian: bool, unit: float, min_depth: float, max_depth: float) -> DepthValues:
    """Check how the values of an image of a depth ``encoding`` are to be read; ``unit`` 0: that of the encoding.

    Raises:
        ValueError: a number is not allowed.
    """
    if not 0 <= unit < math.inf:
        raise ValueError(f'unit = {unit}: must be finite, and 0 or more')
    if not 0 <= min_depth < max_depth:
        raise ValueError(f'min_depth = {min_depth}, max_depth = {max_depth}: needs 0 <= min_depth < max_depth')
    return DepthValues(
        dtype=encoding_of(encoding).dtype,
        swap=is_bigendian != _HOST_IS_BIGENDIAN,
        unit=unit or UNITS[encoding],
        least=float32(min(min_depth, _MAX_FLOAT32)),
        most=float32(min(max_depth, _MAX_FLOAT32)),
    )


@functools.lru_cache(maxsize=64)
def depth_plan(
    values: DepthValues, width: int, height: int, out_width: int, out_height: int, resize: str, letterbox: bool
) -> DepthPlan:
    """Check the settings of a depth image's preparation and compute its constants.

    Raises:
        ValueError: a setting is not allowed.
    """
    for name, value in (('width', width), ('height', height), ('out_width', out_width), ('out_height', out_height)):
        if not 1 <= value <= MAX_PIXELS:
            raise ValueError(f'{name} = {value}: must be 1 to {MAX_PIXELS}')
    if resize not in RESIZE_METHODS:
        raise ValueError(f'resize = {resize!r}: must be one of {", ".join(RESIZE_METHODS)}')
    region = image_region(width, height, out_width, out_height, letterbox)
    return DepthPlan(
        values=values,
        width=width,
        height=height,
        out_width=out_width,
        out_height=out_height,
        region=region,
        scale=(width / region[2], height / region[3]),
        resize=resize,
    )
