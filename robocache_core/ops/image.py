# SPDX-License-Identifier: Apache-2.0
"""Preparation of images: rectified, resized and normalised in one pass."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from robocache_core import backends
from robocache_core.encodings import MAX_PIXELS, Encoding, encoding_of
from robocache_core.validation import (
    FLOATS,
    as_bool,
    as_float,
    as_floats,
    as_int,
    check_bytes,
    check_dtype,
    check_kind,
    checked_out,
    float32,
)

RESIZE_METHODS = ('bilinear', 'nearest', 'area')

_MAX_FLOAT32 = float(np.finfo(np.float32).max)
_HOST_IS_BIGENDIAN = sys.byteorder == 'big'


def prepare_image(
    data: torch.Tensor,
    *,
    encoding: str,
    width: int,
    height: int,
    step: int,
    out_width: int,
    out_height: int,
    is_bigendian: bool = False,
    resize: str = 'bilinear',
    letterbox: bool = False,
    pad: float = 0.0,
    scale: float = 1.0,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
    rectify: torch.Tensor | None = None,
    dtype: torch.dtype = torch.float32,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Rectify, resize and normalise an image: ``(pixel * scale - mean) / std``, in one pass.

    Bilinear: between the four nearest pixels, their centres at half pixels, edges clamped (as OpenCV's INTER_LINEAR);
    nearest: pixel ``floor((x + 0.5) * width / out_width)``; area: mean over what the output pixel covers, a pixel that
    is partly covered counting by its part. Computed in float32, then rounded to nearest even. Between 8-bit pixels
    fractions are rounded to 2^-14, which moves a result by 1/64 of a step at the most. Values of 32FC1 that are not
    finite stay so where they are read; every NaN becomes the one quiet NaN. As uint8, which is for pixels of 8 bits
    that are not normalised, the same value is rounded to the nearest whole one, that of two which is even.

    Bayer images are demosaiced bilinearly, and YUV is taken as BT.601 of limited range, each rounded to whole values
    before it is resized, as OpenCV's default conversions do it, to the bit.

    Args:
        data: ``[nbytes]`` uint8, the bytes of the image.
        encoding: rgb8, bgr8, rgba8, bgra8, 8UC3 (as bgr8), bayer_{rggb,bggr,gbrg,grbg}{8,16}, yuv422 or uyvy,
            yuv422_yuy2 or yuyv, nv12, nv21, or one channel: mono8, mono16, 8UC1, 16UC1, 32FC1; or one of
            ``JPEG_ENCODINGS``, of planes as ``jpeg_planes.read_planes`` gives them.
        width: of the image, px.
        height: of the image, px.
        step: bytes from a row to the next.
        out_width: of the result, px.
        out_height: of the result, px.
        is_bigendian: byte order of 16 and 32 bit values.
        resize: bilinear, nearest or area.
        letterbox: keep the aspect ratio, centre, and pad; else stretch. With ``rectify`` the map says that.
        pad: pixel value of the padding, before normalisation.
        scale: applied to a pixel first.
        mean: of each channel, R G B; one channel takes the first.
        std: of each channel, R G B; one channel takes the first.
        rectify: ``[out_height, out_width, 2]`` float32, contiguous: the point x y of the image, px, its first pixel's
            centre at (0, 0), that each pixel of the result shows; NaN, or what is off the image: padding
            (``robocache_core.rectify`` makes it). Not with area.
        dtype: float32, float16, bfloat16, or uint8: of an encoding of 8 bits, with scale 1, mean 0, std 1, and a
            whole pad from 0 to 255.
        out: ``[C, out_height, out_width]`` of ``dtype``, contiguous, to be written instead of a new tensor.

    Returns:
        ``[C, out_height, out_width]``, C = 3 (R G B) or 1.

    Raises:
        DataError: ``unknown_encoding``, ``empty_image``, ``bad_image_size`` (Bayer needs 3 x 3 pixels, YUV even sizes),
            ``step_too_small``, ``data_too_short`` (step * height, and half as much again for nv12).
        ValueError, TypeError: an argument is not allowed.
    """
    settings = (
        *(encoding, width, height, step, out_width, out_height, is_bigendian, resize, letterbox),
        *(pad, scale, mean, std, dtype),
    )
    plan, shape = backends.checked_once(_checked_preparation, (data, rectify, out), settings)
    device = data.device
    result = torch.empty(*shape, dtype=dtype, device=device) if out is None else out
    backends.for_device(device).prepare_image(plan, data, int(step), rectify, result)
    return result


def _checked_preparation(
    data: torch.Tensor,
    rectify: torch.Tensor | None,
    out: torch.Tensor | None,
    encoding: str,
    width: int,
    height: int,
    step: int,
    out_width: int,
    out_height: int,
    is_bigendian: bool,
    resize: str,
    letterbox: bool,
    pad: float,
    scale: float,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: torch.dtype,
) -> tuple[ImagePlan, tuple[int, int, int]]:
    """Check a call of ``prepare_image``; return its plan and the shape of its result."""
    check_bytes(data)
    check_dtype(dtype, (*FLOATS, torch.uint8))
    width, height, step = as_int('width', width), as_int('height', height), as_int('step', step)
    out_width, out_height = as_int('out_width', out_width), as_int('out_height', out_height)
    check_kind('resize', resize, str)
    encoding_of(encoding).check(encoding, width, height, step, data.numel())
    plan = image_plan(
        encoding,
        width,
        height,
        as_bool('is_bigendian', is_bigendian),
        out_width,
        out_height,
        resize,
        as_bool('letterbox', letterbox) and rectify is None,
        as_float('pad', pad),
        as_float('scale', scale),
        as_floats('mean', mean),
        as_floats('std', std),
    )
    if dtype == torch.uint8:
        check_uint8(plan.encoding, plan.multiply, plan.add, plan.pad)
    if rectify is not None:
        _check_map(rectify, resize, out_width, out_height, data.device)
    shape = (len(plan.multiply), out_height, out_width)
    if out is not None:
        checked_out('out', out, shape, dtype, data.device)
    return plan, shape


def check_uint8(
    encoding: Encoding, multiply: tuple[float, ...], add: tuple[float, ...], pad: tuple[float, ...]
) -> None:
    """Refuse what a result of uint8 cannot be made of.

    Raises:
        ValueError: there is something.
    """
    if encoding.dtype != 'uint8':
        raise ValueError(f'dtype is torch.uint8, and the pixels are {encoding.dtype}: must be of 8 bits')
    if {*multiply} != {1.0} or {*add} != {0.0}:
        raise ValueError(
            f'scale / std = {multiply}, -mean / std = {add}: must be 1 and 0 with torch.uint8, which is not normalised'
        )
    if not all(0 <= value <= 255 and value.is_integer() for value in pad):
        raise ValueError(f'pad = {pad[0]}: must be a whole number from 0 to 255 with torch.uint8')


def _check_map(rectify: torch.Tensor, resize: str, out_width: int, out_height: int, device: torch.device) -> None:
    if resize == 'area':
        raise ValueError("resize = 'area': must be bilinear or nearest with rectify")
    checked_out('rectify', rectify, (out_height, out_width, 2), torch.float32, device)


@dataclass(frozen=True, eq=False)
class ImagePlan:
    """Settings of an image's preparation; multiply, add and pad are rounded to float32, one a channel of the result.

    Attributes:
        encoding: how the source holds a pixel.
        swap: the source's bytes are not in this machine's order.
        width, height: of the source, px.
        out_width, out_height: of the result, px.
        region: x, y, width, height of the part of the result that the source fills, px; the rest is padding.
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


@functools.lru_cache(maxsize=64)
def largest_result(spec: Encoding, scale: float, mean: tuple[float, ...], std: tuple[float, ...], pad: float) -> float:
    """Greatest magnitude of a pixel in the result; 0 where the encoding holds floats, which have no bound."""
    if np.dtype(spec.dtype).kind == 'f':
        return 0.0
    num, brightest = len(spec.order), float(np.iinfo(spec.dtype).max)
    multiply, add, padding = image_factors(scale, mean[:num], std[:num], pad)
    ends = (pixel * m + a for m, a in zip(multiply, add, strict=True) for pixel in (0.0, brightest))
    return max(map(abs, (*ends, *padding)))


def _fitting(setting: str, meaning: str, numbers: list[float]) -> tuple[float, ...]:
    """``numbers`` rounded to float32; ``meaning``: what they are of the ``setting``."""
    rounded = tuple(map(float32, numbers))
    if not all(map(math.isfinite, rounded)):
        raise ValueError(f'{setting}: {meaning} must be -{_MAX_FLOAT32:.7g} to {_MAX_FLOAT32:.7g}, is {numbers}')
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
