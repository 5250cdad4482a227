# SPDX-License-Identifier: Apache-2.0
"""Preparation of depth images in NumPy."""

from __future__ import annotations

import numpy as np
import torch

from robocache_core.backends.reference.arrays import Array
from robocache_core.ops.depth import DepthPlan, DepthValues


@np.errstate(all='ignore')
def prepare_depth(
    plan: DepthPlan,
    data: torch.Tensor,
    step: int,
    rectify: torch.Tensor | None,
    depth: torch.Tensor,
    valid: torch.Tensor,
) -> None:
    """Write ``depth [1, out_height, out_width]``, m, and ``valid``; ``data`` holds rows ``step`` bytes apart.

    ``rectify [out_height, out_width, 2] float32``: where in the image each pixel of the result is, px.
    """
    metres = metres_of(plan.values, data, step, plan.width, plan.height)
    left, top, width, height = plan.region
    result = np.zeros((plan.out_height, plan.out_width), dtype=np.float32)
    if rectify is not None:
        result[:] = _rectified(metres, rectify.numpy())
    elif plan.resize == 'min':
        least = np.where(metres > 0, metres, np.float32(np.inf))
        least = _least_rows(_least_rows(least, height).T, width).T
        result[top : top + height, left : left + width] = np.where(least < np.inf, least, np.float32(0))
    else:
        rows = np.minimum(((np.arange(height) + 0.5) * plan.scale[1]).astype(np.int64), plan.height - 1)
        columns = np.minimum(((np.arange(width) + 0.5) * plan.scale[0]).astype(np.int64), plan.width - 1)
        result[top : top + height, left : left + width] = metres[rows[:, None], columns]
    depth.numpy()[0] = result
    valid.numpy()[0] = result > 0


@np.errstate(all='ignore')
def metres_of(values: DepthValues, data: torch.Tensor, step: int, width: int, height: int) -> Array:
    """The distances of an image ``[H, W] float32``, m; 0 where there is none that is valid."""
    dtype = np.dtype(values.dtype)
    raw = np.ndarray(
        (height, width), dtype.newbyteorder() if values.swap else dtype, data.numpy(), 0, (step, dtype.itemsize)
    )
    metres = (raw.astype(np.float64) * values.unit).astype(np.float32)
    allowed = (metres > 0) & (metres >= np.float32(values.least)) & (metres <= np.float32(values.most))
    valid: Array = np.where(allowed, metres, np.float32(0))
    return valid


def _rectified(metres: Array, rectify: Array) -> Array:
    """The distances ``[H, W]`` where ``rectify`` says; 0 beside the image."""
    half, size = np.float32(0.5), np.array(metres.shape[::-1])
    inside = ((rectify >= -half) & (rectify < size.astype(np.float32) - half)).all(axis=-1)
    at = np.where(inside[..., None], rectify, np.float32(0))
    x, y = np.moveaxis(np.clip((at + half).astype(np.int64), 0, size - 1), -1, 0)
    rectified: Array = np.where(inside, metres[y, x], np.float32(0))
    return rectified


def _least_rows(values: Array, count: int) -> Array:
    """``values [H, ...]`` as ``[count, ...]``: the least of the rows that each covers, if only in part."""
    size = len(values)
    return np.stack([values[i * size // count : -(-(i + 1) * size // count)].min(axis=0) for i in range(count)])
