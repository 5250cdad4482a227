# SPDX-License-Identifier: Apache-2.0
"""Registration of depth images in NumPy."""

from __future__ import annotations

import numpy as np
import torch

from robocache_core.backends.reference.arrays import Array
from robocache_core.backends.reference.depth import metres_of
from robocache_core.ops.registration import RegistrationPlan
from robocache_core.rectify import distorted

#: A distance that no patch has: what is not covered.
_NO_PATCH = np.uint32(0x7F7F7F7F).view(np.float32)


@np.errstate(all='ignore')
def register_depth(
    plan: RegistrationPlan,
    data: torch.Tensor,
    step: int,
    corners: torch.Tensor,
    transform: torch.Tensor,
    depth: torch.Tensor,
    valid: torch.Tensor,
) -> None:
    """Write ``depth [1, out_height, out_width]``, m, and ``valid``; ``data`` holds rows ``step`` bytes apart.

    ``corners [3, height + 1, width + 1] float32``: rays of the corners of the image's pixels; ``transform [4, 4]``:
    pose of the depth camera in the frame of the result.
    """
    metres = metres_of(plan.image.values, data, step, plan.image.width, plan.image.height)
    left, top, width, height = plan.image.region
    u, v, z, is_seen = _projected(plan, _corners_of(corners.numpy()), metres, transform.numpy())
    first_x, last_x, in_columns = _reach(u, left, left + width, plan.most_half[0])
    first_y, last_y, in_rows = _reach(v, top, top + height, plan.most_half[1])
    middle = ((z[0] + z[1]) + (z[2] + z[3])) * np.float32(0.25)
    there = (metres > 0) & is_seen & in_columns & in_rows & (middle < _NO_PATCH)
    nearest = np.full((plan.image.out_height, plan.image.out_width), _NO_PATCH)
    _cover(nearest, middle[there], first_x[there], last_x[there], first_y[there], last_y[there])
    valid.numpy()[0] = nearest < _NO_PATCH
    depth.numpy()[0] = np.where(nearest < _NO_PATCH, nearest, np.float32(0))


def _corners_of(rays: Array) -> Array:
    """``[3, 4, H, W]``: the rays of the four corners of each pixel, from those ``[3, H + 1, W + 1]`` of all corners."""
    return np.stack([rays[:, :-1, :-1], rays[:, :-1, 1:], rays[:, 1:, :-1], rays[:, 1:, 1:]], axis=1)


def _projected(plan: RegistrationPlan, rays: Array, metres: Array, pose: Array) -> tuple[Array, Array, Array, Array]:
    """Where corners are in the result, u, v, px, and z, m, each ``[4, H, W]``; and of which patches all are seen."""
    a, b, c = rays
    x, y, z = (metres * ((row[0] * a + row[1] * b) + row[2] * c) + row[3] for row in pose[:3])
    inverse = np.float32(1) / z
    x, y = x * inverse, y * inverse
    info = plan.camera_model.info
    is_seen: Array = ((z > 0) & (x * x + y * y <= np.float32(plan.camera_model.most_r2))).all(axis=0)
    if any(info.d):
        x, y = distorted(info, x, y)
    fx, skew, cx, _, fy, cy, *_ = (np.float32(element) for element in info.k)
    return (fx * x + skew * y) + cx, fy * y + cy, z, is_seen


def _reach(at: Array, begin: int, end: int, most_half: float) -> tuple[Array, Array, Array]:
    """First and last pixel of [begin, end) along an axis that patches with corners ``at [4, H, W]`` cover; if any."""
    low = _least(_least(at[0], at[1]), _least(at[2], at[3]))
    high = _greatest(_greatest(at[0], at[1]), _greatest(at[2], at[3]))
    middle = (low + high) * np.float32(0.5) + np.float32(0.5)
    half = _greatest((high - low) * np.float32(0.5) - np.float32(0.25), np.float32(0))
    half = _least(half, np.float32(most_half))
    start, stop = middle - half, middle + half
    first, behind = np.float32(begin), np.float32(end)
    last = behind - np.float32(0.5)
    inside: Array = (stop >= first) & (start < behind)
    found = [_least(_greatest(each, first), last).astype(np.int64) for each in (start, stop)]
    return found[0], found[1], inside


def _least(a: Array, b: Array | np.float32) -> Array:
    least: Array = np.where(a < b, a, b)  # of NaN it is b, as it is compiled
    return least


def _greatest(a: Array, b: Array | np.float32) -> Array:
    greatest: Array = np.where(a > b, a, b)
    return greatest


def _cover(nearest: Array, metres: Array, left: Array, right: Array, top: Array, bottom: Array) -> None:
    """Put patches at ``metres [P]`` into ``nearest [H, W]``: where several are, the least of them."""
    for down in range(int((bottom - top).max(initial=-1)) + 1):
        for along in range(int((right - left).max(initial=-1)) + 1):
            reaches = (top + down <= bottom) & (left + along <= right)
            np.minimum.at(nearest, (top[reaches] + down, left[reaches] + along), metres[reaches])
