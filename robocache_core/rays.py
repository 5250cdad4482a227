# SPDX-License-Identifier: Apache-2.0
"""Rays of a depth camera: the point that a pixel sees at a distance of 1 m, from its CameraInfo.

A raw image has the camera matrix K and the distortion of the lens, which is undone; a rectified one has P and R. As in
``rectify``, there are no library functions, so that the rays have the same bits wherever they are made.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import torch

from robocache_core.rectify import Array, CameraTables, check_info, decoded_info, distorted, inverse_of
from robocache_core.samples import CameraFrame, CameraInfo

#: Steps of the search for the ray that the lens bends to a pixel, and how near the last one begins to it, x / z.
_STEPS, _CLOSE = 20, 1e-7
#: Step of the differences that stand for derivatives, x / z.
_NEAR = 1e-6
#: Pixels that are computed at once, as many as keep to the caches and take little memory.
_AT_ONCE = 1 << 14
#: Pixels from one to the next of those that are tried first: between some for which there is no ray, there is none.
_APART = 8


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


class CornerSource(RaySource):
    """As ``RaySource``, of the corners of pixels."""

    def make(self, info: CameraInfo, frame: CameraFrame) -> torch.Tensor:
        return corner_rays_of(
            decoded_info(info, frame.reduction),
            width=frame.width,
            height=frame.height,
            is_rectified=self._is_rectified,
        )

    def with_table(self, frame: CameraFrame, table: torch.Tensor) -> CameraFrame:
        return dataclasses.replace(frame, corners=table)


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
    at = _rays_at(info, np.arange(width) + 0.5, np.arange(height) + 0.5, (width, height), is_rectified)
    return torch.from_numpy(at)


def corner_rays_of(info: CameraInfo, *, width: int, height: int, is_rectified: bool = False) -> torch.Tensor:
    """Make the rays that ``ops.register_depth`` takes.

    Arguments and errors as of ``rays_of``.

    Returns:
        ``[3, height + 1, width + 1]`` float32: planes of the x, y and z of rays as those of ``rays_of``, of the corners
        of pixels: pixel (row, column) is between rows ``row`` and ``row + 1``, columns ``column`` and ``column + 1``.
    """
    check_info(info, width, height)
    at = _rays_at(info, np.arange(width + 1.0), np.arange(height + 1.0), (width, height), is_rectified)
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(at, -1, 0)))


def _rays_at(info: CameraInfo, columns: Array, rows: Array, size: tuple[int, int], is_rectified: bool) -> Array:
    """Rays ``[V, U, 3] float32`` of ``columns [U]`` and ``rows [V]`` of an image, whose first pixel is from 0 to 1."""
    u = (columns * (info.width / size[0]) - 0.5)[None, :]
    v = (rows * (info.height / size[1]) - 0.5)[:, None]
    result = np.empty((len(rows), len(columns), 3), dtype=np.float32)
    num_rows = max(1, _AT_ONCE // len(columns))
    with np.errstate(over='ignore', invalid='ignore'):
        is_seen = None if is_rectified or not any(info.d) else _seen(info, u, v)
        for top in range(0, len(rows), num_rows):
            part = slice(top, top + num_rows)
            if is_rectified:
                _rectified(info, u, v[part], result[part])
            else:
                _raw(info, u, v[part], result[part], None if is_seen is None else is_seen[part])
            result[part][~np.isfinite(result[part]).all(axis=-1)] = np.nan
    return result


def _rectified(info: CameraInfo, u: Array, v: Array, out: Array) -> None:
    """Write the rays ``[V, U, 3]`` of pixels of a rectified image at ``u [1, U]``, ``v [V, 1]``."""
    rows = inverse_of(np.array(info.p).reshape(3, 4)[:, :3], np.array(info.r).reshape(3, 3))
    for axis, row in enumerate(rows):
        out[..., axis] = row[0] * u + row[1] * v + row[2]


def _raw(info: CameraInfo, u: Array, v: Array, out: Array, is_seen: Array | None) -> None:
    """As ``_rectified``, of a raw image; ``is_seen [V, U]``: where a ray is searched, None: there is no distortion."""
    x, y = _bent(info, u, v)
    out[..., 2] = 1
    if is_seen is None:
        out[..., 0], out[..., 1] = x, y
        return
    out[..., :2] = np.nan
    out[is_seen, 0], out[is_seen, 1] = undistorted(info, x[is_seen], y[is_seen])


def _bent(info: CameraInfo, u: Array, v: Array) -> tuple[Array, Array]:
    """The rays x / z, y / z, ``[V, U]``, that pixels of a raw image would have without the lens."""
    fx, skew, cx, _, fy, cy, *_ = info.k
    shape = v.shape[0], u.shape[1]
    y = np.broadcast_to((v - cy) / fy, shape)
    return np.broadcast_to((u - cx - (skew * y if skew else 0.0)) / fx, shape), y


def _seen(info: CameraInfo, u: Array, v: Array) -> Array:
    """Where the lens may show something, ``[V, U]``: a search that fails takes many times as long as one that does not.

    Those are the pixels of each square of which a corner has a ray, and that joins the middle of the image: beyond a
    fold of the model a search may end anywhere.
    """
    at_v, at_u = (np.append(np.arange(0, size - 1, _APART), size - 1) for size in (v.shape[0], u.shape[1]))
    rays, _ = undistorted(info, *_bent(info, u[:, at_u], v[at_v]))
    middle = np.abs(v[at_v, 0] - info.k[5]).argmin(), np.abs(u[0, at_u] - info.k[2]).argmin()
    corners = _joined(~np.isnan(rays), middle)
    rows = corners[:-1] | corners[1:] if len(at_v) > 1 else corners
    squares = rows[:, :-1] | rows[:, 1:] if len(at_u) > 1 else rows
    return squares.repeat(_sizes(at_v), axis=0).repeat(_sizes(at_u), axis=1)


def _sizes(at: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Pixels of each square along an axis, of those at which its corners are; the last square has its far corners."""
    return np.diff(np.append(at[:-1], at[-1] + 1)) if len(at) > 1 else np.ones(1, dtype=np.intp)


def _joined(mask: Array, start: tuple[np.intp, np.intp]) -> Array:
    """The part of ``mask [V, U]`` that is joined to ``start``."""
    found, before = np.zeros_like(mask), 0
    found[start] = mask[start]
    while (num := int(np.count_nonzero(found))) > before:
        before = num
        for grown, known in ((found[1:], found[:-1]), (found[:-1], found[1:])):
            grown |= known
        for grown, known in ((found[:, 1:], found[:, :-1]), (found[:, :-1], found[:, 1:])):
            grown |= known
        found &= mask
    return found


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
        searched = searched[~is_near & np.isfinite(steps).all(axis=0)]  # what is not finite stays so
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
