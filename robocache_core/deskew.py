# SPDX-License-Identifier: Apache-2.0
"""Pose tables: where the sensor was when it took each point of a scan, seen from where it is at the target time.

``motion`` gives the poses of the target frame; ``pose_table`` puts the sensor's place on the robot behind them.
Everything is computed in double on the host, and rounded to float32 once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from robocache_core import rotation
from robocache_core.buffer import Entry
from robocache_core.deskew_config import DeskewConfig
from robocache_core.ledger import Reason
from robocache_core.motion import Stamps
from robocache_core.motion_source import MotionSource, readings_of
from robocache_core.ops import PoseTable
from robocache_core.rotation import Array
from robocache_core.samples import DataError, LidarScan, PointField
from robocache_core.time_field import TimeField, are_returns, find_time_field, returns_outside, without
from robocache_core.units import MS

if TYPE_CHECKING:
    from robocache_core.sensor_poses import SensorPoses

#: Least number of poses in a table, and greatest step between two, ns.
LEAST_POSES, GREATEST_STEP_NS = 1024, MS // 2

#: Layouts whose time fields are remembered.
MAX_LAYOUTS = 16


class Deskewer:
    """Makes the pose tables of one lidar's scans, and remembers which field of a layout holds the times.

    Args:
        config: how scans are deskewed.
        source: gives the motion.
    """

    def __init__(self, config: DeskewConfig, source: MotionSource) -> None:
        self._config = config
        self.source = source
        self._fields: dict[tuple[tuple[PointField, ...], bool], TimeField] = {}

    def pose_table(
        self,
        field: TimeField,
        stamp_ns: int,
        target_ns: int,
        around: Sequence[Entry],
        sensor: torch.Tensor | None,
        poses: SensorPoses,
    ) -> tuple[PoseTable, list[Entry]]:
        """Make the table of a scan.

        Args:
            field: the times of the scan's points, of ``timed``.
            stamp_ns: of the scan.
            target_ns: the target time.
            around: readings of the source around the scan and the target time.
            sensor: pose ``[4, 4]`` of the lidar in the target frame; None: they are the same.
            poses: of the source's frames in the target frame; the same where there is none.

        Returns:
            The table, and the readings that it is made of.

        Raises:
            DataError: ``no_motion``.
        """
        instants = self.instants_ns(field, stamp_ns)
        motion, readings = self.source.poses(instants, target_ns, around, poses)
        return pose_table(field, stamp_ns, instants, motion, sensor), readings

    @property
    def moves_whole(self) -> bool:
        """Whether a scan is moved as a whole, as its points have no times."""
        return self._config.time_field == 'none'

    def readings(
        self, scan: LidarScan, field: TimeField | None, target_ns: int, around: Sequence[Entry]
    ) -> list[Entry]:
        """Return those of the readings ``around`` a scan by which it is moved; ``field``: the times of its points."""
        if self.moves_whole:
            return readings_of(np.array([scan.stamp_ns]), target_ns, around)
        return [] if field is None else readings_of(self.instants_ns(field, scan.stamp_ns), target_ns, around)

    def timed(self, scan: LidarScan) -> tuple[LidarScan, TimeField | None]:
        """Return the scan without the points whose times are outside of it, and its time field.

        None is the field of a scan that is moved as a whole, and of one without a return: there is nothing to deskew.

        The field is that of the last scan of this layout where it holds for this one too, else it is found again.

        Raises:
            DataError: ``unknown_time_field``, ``gpu_memory_lost``.
        """
        if self.moves_whole:
            return scan, None
        key = scan.layout.fields, scan.layout.is_bigendian
        field = self._fields.get(key)
        outside = None if field is None else returns_outside(scan, field, self._config)
        if field is None or outside is None:
            if not are_returns(scan).any():
                return scan, None
            field, outside = find_time_field(scan, self._config)
            self._fields.pop(key, None)
            if len(self._fields) == MAX_LAYOUTS:
                self._fields.pop(next(iter(self._fields)))
            self._fields[key] = field
        return without(scan, outside) if outside.any() else scan, field.of(scan)

    def instants_ns(self, field: TimeField, stamp_ns: int) -> Stamps:
        """Evenly spaced instants ``[P]`` over a scan of stamp ``stamp_ns``, from its begin to its end."""
        duration = self._config.scan_duration_ns
        intervals = max(LEAST_POSES - 1, -(-duration // GREATEST_STEP_NS))
        # Whole nanoseconds, so that the instants are exactly even; rounded down, so that the last, at most 2 µs before
        # the end of the scan, needs no reading after it.
        step = duration // intervals
        return stamp_ns + field.begin_ns + step * np.arange(intervals + 1, dtype=np.int64)


def moved(
    source: MotionSource,
    stamp_ns: int,
    target_ns: int,
    around: Sequence[Entry],
    sensor: torch.Tensor | None,
    poses: SensorPoses,
) -> tuple[torch.Tensor, list[Entry]]:
    """Return where the sensor was at ``stamp_ns``, ``[4, 4] float32`` in the target frame at the target time.

    ``source`` gives the motion. The other arguments and result, and errors, are those of ``Deskewer.pose_table``.
    """
    motion, readings = source.poses(np.array([stamp_ns]), target_ns, around, poses)
    transform = torch.eye(4)
    transform[:3] = _float32(_on_robot(motion, sensor))[0]
    return transform, readings


def pose_table(
    field: TimeField, stamp_ns: int, instants_ns: Stamps, poses: Array, sensor: torch.Tensor | None = None
) -> PoseTable:
    """Table of the poses ``[P, 3, 4]`` at ``instants_ns [P]``, evenly spaced, for a scan of stamp ``stamp_ns``.

    Args:
        field: the times of the points.
        stamp_ns: of the scan.
        instants_ns: at least two.
        poses: of the target frame at each instant, in the target frame at the target time.
        sensor: pose ``[4, 4]`` of the sensor in the target frame; None: they are the same.
    """
    return PoseTable(
        field=field.name,
        poses=_float32(_on_robot(poses, sensor)),
        first=field.raw_at(stamp_ns, int(instants_ns[0])),
        inverse_step=field.unit_ns / int(instants_ns[1] - instants_ns[0]),
    )


def _on_robot(poses: Array, sensor: torch.Tensor | None) -> Array:
    """Poses of the sensor, of those ``[P, 3, 4]`` of the target frame."""
    if sensor is None:
        return poses
    extrinsic = sensor.numpy().astype(np.float64)
    columns = [rotation.apply(poses[:, :, :3], extrinsic[:3, i]) for i in range(4)]
    columns[3] += poses[:, :, 3]
    return np.stack(columns, axis=-1)


def _float32(poses: Array) -> torch.Tensor:
    """Round poses; on a GPU it could not be seen without a wait that they are not finite."""
    with np.errstate(over='ignore'):
        rounded = torch.from_numpy(np.ascontiguousarray(poses, dtype=np.float32))
    if not rounded.isfinite().all():
        raise DataError(Reason.NO_MOTION, 'the readings around the scan give poses that are not finite')
    return rounded
