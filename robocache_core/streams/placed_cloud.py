# SPDX-License-Identifier: Apache-2.0
"""A scan or a depth image on the device, and where its points are at the target time."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from robocache_core.deskew import Deskewer, moved
from robocache_core.device import Device
from robocache_core.ops import DepthLayout, PoseTable
from robocache_core.samples import CloudLayout, LidarScan

if TYPE_CHECKING:
    from robocache_core.buffer import Entry
    from robocache_core.sensor_poses import SensorPoses
    from robocache_core.target import Pick
    from robocache_core.time_field import TimeField


@dataclass(frozen=True)
class PlacedCloud:
    """The bytes of a cloud, and the pose of its points in the target frame at the target time.

    Attributes:
        data: ``[nbytes]`` uint8, on the device.
        layout: of ``data``; of a depth image, whose pixels are points, its own.
        transform: ``[4, 4]`` float32, on the host, of all points; None: the sensor's frame is the target frame.
        deskew: instead, a pose for each point, by its time.
        readings: of the source of motion, that were used.
    """

    data: torch.Tensor
    layout: CloudLayout | DepthLayout
    transform: torch.Tensor | None = None
    deskew: PoseTable | None = None
    readings: list[Entry] = field(default_factory=list)


def place(
    scan: LidarScan,
    times: TimeField | None,
    sensor: torch.Tensor | None,
    target_ns: int,
    deskewer: Deskewer | None,
    around: Sequence[Entry],
    mounts: SensorPoses,
    device: Device,
) -> PlacedCloud:
    """Upload a scan, and its pose table where it is deskewed.

    Args:
        scan: what is uploaded.
        times: of its points; None: they have none.
        sensor: pose ``[4, 4]`` of the lidar in the target frame at the scan's stamp; None: they are the same.
        target_ns: the target time.
        deskewer: undoes the motion; None: the robot stands still.
        around: readings of the source of motion around the scan and the target time.
        mounts: of the frames of the readings.
        device: where to.

    Raises:
        DataError: ``no_motion``, ``gpu_memory_lost``.
    """
    if deskewer is None or not scan.layout.num_points:
        return PlacedCloud(device.upload(scan.data), scan.layout, sensor)
    if deskewer.moves_whole:
        transform, readings = moved(deskewer.source, scan.stamp_ns, target_ns, around, sensor, mounts)
        return PlacedCloud(device.upload(scan.data), scan.layout, transform, readings=readings)
    data = device.upload(scan.data)  # while the host computes poses
    if times is None:
        return PlacedCloud(data, scan.layout, sensor)
    table, readings = deskewer.pose_table(times, scan.stamp_ns, target_ns, around, sensor, mounts)
    device.record_stage('deskew')
    deskew = dataclasses.replace(table, poses=device.upload(table.poses))
    return PlacedCloud(data, scan.layout, deskew=deskew, readings=readings)


def scan_of(pick: Pick) -> LidarScan:
    """Return the scan that a target takes."""
    scan = pick.entries[0].sample
    assert isinstance(scan, LidarScan)
    return scan
