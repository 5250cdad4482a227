# SPDX-License-Identifier: Apache-2.0
"""The points of the scans in a frame, which the frame itself does not hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from robocache_core import ops
from robocache_core.config import LidarConfig
from robocache_core.frame import FusedFrame
from robocache_core.observer import Observer
from robocache_core.streams.placed_cloud import PlacedCloud

Array = npt.NDArray[Any]


class ScanPoints(Observer):
    """Computes the points of each frame, until they are taken.

    Args:
        lidars: of the pipeline that it observes.
    """

    def __init__(self, lidars: Sequence[LidarConfig]) -> None:
        self._lidars = {lidar.name: lidar for lidar in lidars}
        self._points: dict[int, dict[str, Array]] = {}

    def used(self, frame: FusedFrame, scans: Mapping[str, PlacedCloud]) -> None:
        self._points[frame.sequence] = {name: self._points_of(name, scan) for name, scan in scans.items()}

    def take(self, frame: FusedFrame) -> dict[str, npt.NDArray[np.float32]]:
        """Return, once, the points of a frame by lidar: ``[N, 3]``, m, those within the lidar's range.

        They are in the frame's ``frame_id``, each where it was at the target time, as in the voxels.
        """
        return self._points.pop(frame.sequence)

    def _points_of(self, name: str, scan: PlacedCloud) -> Array:
        lidar = self._lidars[name]
        points, valid = ops.deskew_points(
            scan.data,
            scan.layout,
            transform=scan.transform,
            deskew=scan.deskew,
            min_range=lidar.min_range,
            max_range=lidar.max_range,
        )
        return points[valid].cpu().numpy()
