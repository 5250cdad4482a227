# SPDX-License-Identifier: Apache-2.0
"""Rays of a depth camera: the point that a pixel sees at a distance of 1 m, from its CameraInfo.

A raw image has the camera matrix K and the distortion of the lens, which is undone; a rectified one has P and R. As in
``rectify``, there are no library functions, so that the rays have the same bits wherever they are made.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from robocache_core.rectify import Array, CameraTables, check_info, decoded_info, distorted, inverse_of
from robocache_core.samples import CameraFrame, CameraInfo

#: Steps of the search for the ray that the lens bends to a pixel, and how near the last one begins to it, x / z.
_STEPS, _CLOSE = 20, 1e-7
#: Step of the differences that stand for derivatives, x / z.
_NEAR = 1e-6
#: Pixels that are computed at once, as many as keep to the caches and take little memory.
_AT_ONCE = 1 << 14


class RaySource(CameraTables):
    """Gives the images of one depth camera, which may change in size, the rays of their pixels.

    Args:
        is_rectified: whether the images are rectified already.
        info_topic: where the calibration comes from, for messages.
    """

    def __init__(self, *, is_rectified: bool, info_topic: str) -> None:
        super().__init__(info_topic)
        self._is_rectified = is_rectified

    def make(self, info: CameraInfo, frame: CameraFrame) -> torch.Tensor:
        return rays_of(
            decoded_info(info, frame.reduction),
            width=frame.width,
            height=frame.height,
            is_rectified=self._is_rectified,
        )

    def with_table(self, frame: CameraFrame, table: torch.Tensor) -> CameraFrame:
        return dataclasses.replace(frame, rays=table)


def rays_of(info: CameraInfo, *, width: int, height: int, is_rectified: bool = False) -> torch.Tensor:
    """Make the rays that ``ops.DepthLayout`` takes.

    Args:
        info: the camera's calibration; of an image of another size it is taken for that image scaled.
        width: of the image, px.
        height: of the image, px.
        is_rectified: whether the image is rectified: P and R instead of K and the distortion.

    Returns:
        ``[height, width, 3]`` float32: x, y, z in the camera's optical frame, m, of each pixel at a distance of 1 m
        along the optical axis (that of the rectified camera, where the image is); NaN where the lens shows nothing.

    Raises:
        DataError: as ``rectify_map``, but for padding.
    """
    check_info(info, width, height)
    u = ((np.arange(width) + 0.5) * (info.width / width) - 0.5)[None, :]
    v = ((np.arange(height) + 0.5) * (info.height / height) - 0.5)[:, None]
    result = np.empty((height, width, 3), dtype=np.float32)
    num_rows = max(1, _AT_ONCE // width)
    with np.errstate(over='ignore', invalid='ignore'):
        for top in range(0, height, num_rows):
            part = result[top : top + num_rows]
            (_rectified if is_rectified else _raw)(info, u, v[top : top + num_rows], part)
            part[~np.isfinite(part).all(axis=-1)] = np.nan
    return torch.from_numpy(result)


def _rectified(info: CameraInfo, u: Array, v: Array, out: Array) -> None:
    """Write the rays ``[V, U, 3]`` of pixels of a rectified image at ``u [1, U]``, ``v [V, 1]``."""
    rows = inverse_of(np.array(info.p).reshape(3, 4)[:, :3], np.array(info.r).reshape(3, 3))
    for axis, row in enumerate(rows):
        out[..., axis] = row[0] * u + row[1] * v + row[2]


def _raw(info: CameraInfo, u: Array, v: Array, out: Array) -> None:
    """As ``_rectified``, of a raw image."""
    fx, skew, cx, _, fy, cy, *_ = info.k
    y = np.broadcast_to((v - cy) / fy, out.shape[:2])
    x = np.broadcast_to((u - cx - (skew * y if skew else 0.0)) / fx, out.shape[:2])
    out[..., 0], out[..., 1] = undistorted(info, x, y) if any(info.d) else (x, y)
    out[..., 2] = 1


def undistorted(info: CameraInfo, x: Array, y: Array) -> tuple[Array, Array]:
    """Return the rays x / z, y / z that the lens of ``info`` bends to ``x, y``; NaN where there is none.

    Newton's method. A ray behind a fold of the model, where it turns the image over, is none.
    """
    wanted = np.stack([x, y]).reshape(2, -1)
    rays, is_found = wanted.copy(), np.zeros(wanted.shape[1], dtype=bool)
    searched = np.arange(wanted.shape[1])
    for _ in range(_STEPS):
        error, (xx, yx), (xy, yy) = _with_slopes(info, rays[:, searched])
        error -= wanted[:, searched]
        determinant = xx * yy - xy * yx
        is_near = np.abs(error).max(axis=0) < _CLOSE
        is_found[searched] = is_near & (determinant > 0) & (xx + yy > 0)
        steps = np.stack([error[0] * yy - error[1] * xy, error[1] * xx - error[0] * yx]) / determinant
        rays[:, searched] -= steps
        searched = searched[~is_near]
        if not searched.size:
            break
    rays[:, ~is_found] = np.nan
    return rays[0].reshape(x.shape), rays[1].reshape(x.shape)


def _with_slopes(info: CameraInfo, rays: Array) -> tuple[Array, Array, Array]:
    """Where the lens bends ``rays [2, N]`` to, and how that changes with x, and with y; each ``[2, N]``."""
    x, y = rays
    here = np.stack(distorted(info, x, y))
    right, below = np.stack(distorted(info, x + _NEAR, y)), np.stack(distorted(info, x, y + _NEAR))
    return here, (right - here) / _NEAR, (below - here) / _NEAR
