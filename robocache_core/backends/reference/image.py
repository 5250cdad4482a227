# SPDX-License-Identifier: Apache-2.0
"""Preparation of images in NumPy."""

from __future__ import annotations

import numpy as np
import torch

from robocache_core.backends.reference.arrays import Array, round_to
from robocache_core.ops.image import ImagePlan


@np.errstate(all='ignore')
def prepare_image(
    plan: ImagePlan, data: torch.Tensor, step: int, rectify: torch.Tensor | None, out: torch.Tensor
) -> None:
    """Write ``out [C, out_height, out_width]``; ``data`` holds rows ``step`` bytes apart.

    ``rectify [out_height, out_width, 2] float32``: where in the image each pixel of the result is, px.
    """
    pixels = _pixels(plan, data, step)
    left, top, width, height = plan.region
    if rectify is not None:
        image, inside = _sample_rectified(plan, pixels, rectify.numpy())
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
    round_to(result, out)


def _pixels(plan: ImagePlan, data: torch.Tensor, step: int) -> Array:
    """The image, ``[H, W, C] float32``: R G B, or one channel."""
    encoding, dtype = plan.encoding, np.dtype(plan.encoding.dtype)
    if encoding.layout == 'jpeg':
        return _of_planes(plan, data.numpy(), step)[..., list(encoding.order)].astype(np.float32)
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


def _of_planes(plan: ImagePlan, data: Array, step: int) -> Array:
    """R G B of the planes of a JPEG, ``[H, W, 3]``: chroma becomes as large as luma, then both are colours."""
    (across, down), rows = plan.encoding.sampling, plan.encoding.rows(plan.height)
    luma_rows = rows * across * down // (across * down + 2)
    planes = np.split(data[: rows * step], [luma_rows * step, (rows + luma_rows) // 2 * step])
    luma = planes[0].reshape(-1, step)[: plan.height, : plan.width].astype(np.int32)
    blue, red = (_upsampled(plan, plane.reshape(-1, step // across)) - 128 for plane in planes[1:])
    rgb = (91881 * red, -22554 * blue - 46802 * red, 116130 * blue)
    pixels: Array = np.clip(luma[..., None] + (np.stack(rgb, axis=-1) + (1 << 15) >> 16), 0, 255)
    return pixels


def _upsampled(plan: ImagePlan, plane: Array) -> Array:
    """A plane of chroma as large as the image, ``[H, W] int32``: three parts of the nearest, one of the next."""
    (across, down) = plan.encoding.sampling
    values = plane[: -(-plan.height // down), : -(-plan.width // across)].astype(np.int32)
    if down == 2:
        values = _doubled(values)[: plan.height]
    if across == 2:
        values = _doubled(values.T).T[:, : plan.width]
    elif across == 4:
        values = values.repeat(4, axis=1)[:, : plan.width]
    if across != 2 and down != 2:
        return values
    second = (np.arange(plan.width)[None] if across == 2 else np.arange(plan.height)[:, None]) % 2
    return values + 8 - second >> 4 if across == down else values + 1 + second >> 2


def _doubled(values: Array) -> Array:
    """Two rows for each: four times what is between it and the one before, and between it and the one behind."""
    last = len(values) - 1
    rows = np.arange(last + 1)
    before, behind = values[np.maximum(rows - 1, 0)], values[np.minimum(rows + 1, last)]
    return np.stack((3 * values + before, 3 * values + behind), axis=1).reshape(-1, values.shape[1])


def _taps(plan: ImagePlan, size: int, scale: float, source_size: int) -> tuple[Array, Array, Array]:
    """For each of ``size`` pixels the two source pixels (int64) and the fraction (float32) between them."""
    if plan.resize == 'nearest':
        i0 = np.minimum(((np.arange(size) + 0.5) * scale).astype(np.int64), source_size - 1)
        return i0, i0, np.zeros(size, dtype=np.float32)
    return _taps_at(plan, (np.arange(size) + 0.5) * scale - 0.5, source_size)


def _taps_at(plan: ImagePlan, position: Array, source_size: int) -> tuple[Array, Array, Array]:
    """The same for positions along an axis, the centre of pixel i being at i."""
    i0 = np.minimum(np.maximum(position, 0).astype(np.int64), source_size - 1)
    between = (position > 0) & (i0 < source_size - 1)
    fraction = np.where(between, position - i0.astype(position.dtype), 0).astype(np.float32)
    if plan.encoding.dtype == 'uint8':  # so that blends are exact in float32, and in integers
        fraction = (fraction * np.float32(16384) + np.float32(0.5)).astype(np.int32).astype(np.float32) / 16384
    return i0, np.minimum(i0 + 1, source_size - 1), fraction


def _sample_rectified(plan: ImagePlan, pixels: Array, rectify: Array) -> tuple[Array, Array]:
    """The image ``[H, W, C]`` where ``rectify`` says, and which of its pixels ``[H, W]`` are on the source."""
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
