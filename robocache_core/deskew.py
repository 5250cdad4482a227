# SPDX-License-Identifier: Apache-2.0
"""Pose tables: where the sensor was when it took each point of a scan, seen from where it is at the target time.

``motion`` gives the poses of the target frame; ``pose_table`` puts the sensor's place on the robot behind them.
Everything is computed in double on the host, and rounded to float32 once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from robocache_core import rotation
from robocache_core.buffer import Entry, bracket
from robocache_core.deskew_config import DeskewConfig
from robocache_core.ledger import Reason
from robocache_core.motion import Stamps, motion_from_gyro
from robocache_core.ops import PoseTable
from robocache_core.rotation import Array
from robocache_core.samples import DataError, LidarScan, PointField, VectorSample
from robocache_core.time_field import TimeField, are_returns, find_time_field, returns_outside, without
from robocache_core.units import MS

if TYPE_CHECKING:
    from robocache_core.sensor_poses import SensorPoses
    from robocache_core.streams.vector import ImuConfig

#: Least number of poses in a table, and greatest step between two, ns.
LEAST_POSES, GREATEST_STEP_NS = 1024, MS // 2

#: Layouts whose time fields are remembered.
MAX_LAYOUTS = 16


class Deskewer:
    """Makes the pose tables of one lidar's scans, and remembers which field of a layout holds the times.

    Args:
        config: how scans are deskewed.
        imu: the stream whose readings give the motion.
    """

    def __init__(self, config: DeskewConfig, imu: ImuConfig) -> None:
        self._config = config
        self._imu = imu
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
            around: readings of the IMU around the scan and the target time.
            sensor: pose ``[4, 4]`` of the lidar in the target frame; None: they are the same.
            poses: of the IMU's frames in the target frame; the same where there is none.

        Returns:
            The table, and the readings that it is made of.

        Raises:
            DataError: ``no_motion``.
        """
        instants = self.instants_ns(field, stamp_ns)
        readings = self.readings(field, stamp_ns, target_ns, around)
        samples = [cast(VectorSample, entry.sample) for entry in readings]
        rows = [sample.values for sample in samples]
        columns = self._imu.columns_of('angular_velocity')
        rates = torch.stack(rows)[:, columns].numpy().astype(np.float64) if rows else np.empty((0, 3))
        mount = poses.get(self._imu, samples[0].frame_id) if samples else None
        motion = motion_from_gyro(
            np.array([sample.stamp_ns for sample in samples], dtype=np.int64),
            rates,
            instants,
            target_ns,
            imu=None if mount is None else mount[:3, :3].numpy().astype(np.float64),
            bias=self._config.gyro_bias,
            tolerance_ns=self._imu.tolerance_ns,
        )
        table = pose_table(field, stamp_ns, instants, motion, sensor)
        if not table.poses.isfinite().all():  # on a GPU this could not be seen without a wait
            raise DataError(Reason.NO_MOTION, 'the readings around the scan give poses that are not finite')
        return table, readings

    def readings(self, field: TimeField, stamp_ns: int, target_ns: int, around: Sequence[Entry]) -> list[Entry]:
        """Return those of the readings ``around`` a scan of which its pose table is made."""
        instants = self.instants_ns(field, stamp_ns)
        first, last = min(target_ns, int(instants[0])), max(target_ns, int(instants[-1]))
        return list(around[bracket([entry.sample.stamp_ns for entry in around], first, last)])

    def timed(self, scan: LidarScan) -> tuple[LidarScan, TimeField | None]:
        """Return the scan without the points whose times are outside of it, and its time field.

        None is the field of a scan without a return: there is nothing to deskew.

        The field is that of the last scan of this layout where it holds for this one too, else it is found again.

        Raises:
            DataError: ``unknown_time_field``.
        """
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
    if sensor is not None:
        extrinsic = sensor.numpy().astype(np.float64)
        columns = [rotation.apply(poses[:, :, :3], extrinsic[:3, i]) for i in range(4)]
        columns[3] += poses[:, :, 3]
        poses = np.stack(columns, axis=-1)
    return PoseTable(
        field=field.name,
        poses=torch.from_numpy(np.ascontiguousarray(poses, dtype=np.float32)),
        first=field.raw_at(stamp_ns, int(instants_ns[0])),
        inverse_step=field.unit_ns / int(instants_ns[1] - instants_ns[0]),
    )
