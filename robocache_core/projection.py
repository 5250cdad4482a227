# SPDX-License-Identifier: Apache-2.0
"""Where points are in the image of a camera, so that it can be seen whether sensors are aligned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robocache_core.frame import CameraView
from robocache_core.rays import undistorted
from robocache_core.rectify import Array, distorted
from robocache_core.samples import CameraInfo

#: How near the ray of a pixel must be to that of its point, x / z; else it is another one's, as the lens model folds.
_SAME_RAY = 1e-4


@dataclass(frozen=True)
class Projection:
    """The points that an image shows, in the order in which they were given.

    Attributes:
        pixels: ``[M, 2]`` float64: x y, px, the centre of the first pixel at (0, 0).
        depth: ``[M]`` float64: distance along the optical axis of the image, m.
        index: ``[M]`` int64: which of the points.
    """

    pixels: Array
    depth: Array
    index: Array


def project(points: Array, pose: Array, view: CameraView) -> Projection:
    """Find the points that an image shows; what hides a point from the camera is not known.

    Args:
        points: ``[N, 3]``, m; those that are not finite are in no image.
        pose: ``[4, 4]``, of the camera's optical frame in that of the points.
        view: of the image, with its calibration.

    Raises:
        ValueError: the image has no calibration.
    """
    if view.info is None:
        raise ValueError(f'view of {view.frame_id!r}: has no calibration')
    info = view.info
    turned = np.array(view.rotation).reshape(3, 3)
    place = np.asarray(pose, np.float64)
    with np.errstate(over='ignore', invalid='ignore'):
        x, y, depth = turned @ place[:3, :3].T @ (np.asarray(points, np.float64) - place[:3, 3]).T
        index = np.flatnonzero(depth > 0)
        x, y, depth = x[index] / depth[index], y[index] / depth[index], depth[index]
        bent_x, bent_y = distorted(info, x, y) if any(info.d) else (x, y)
        fx, skew, cx, _, fy, cy, *_ = info.k
        pixels = np.stack([fx * bent_x + skew * bent_y + cx, fy * bent_y + cy], axis=1)
        shown = np.flatnonzero(
            (pixels >= -0.5).all(axis=1) & (pixels < (info.width - 0.5, info.height - 0.5)).all(axis=1)
        )
    if any(info.d):
        shown = shown[_is_seen(info, (x[shown], y[shown]), (bent_x[shown], bent_y[shown]))]
    return Projection(pixels[shown], depth[shown], index[shown])


def _is_seen(info: CameraInfo, rays: tuple[Array, Array], bent: tuple[Array, Array]) -> Array:
    """Whether the lens shows each ray where it bends it to: a model that folds there shows another one."""
    found = undistorted(info, *bent)
    is_same: Array = np.abs(np.stack(rays) - np.stack(found)).max(axis=0) < _SAME_RAY
    return is_same
