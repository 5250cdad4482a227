# SPDX-License-Identifier: Apache-2.0
"""The simulated sensors' readings as the core's samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from robocache_core.samples import CameraFrame, CloudLayout, LidarScan, PointField, VectorSample
from robocache_sim.odometry import WheelOdometry
from robocache_sim.sensors import POINT, Camera, DepthCamera, Imu, Lidar


def lidar_scan(lidar: Lidar, index: int) -> LidarScan:
    """Scan ``index``, metres in the lidar's frame, ``height`` = rings, ``width`` = columns."""
    scan = lidar.read(index)
    rings, columns = scan.points.shape
    fields = tuple(PointField(name, offset, kind.name) for name, (kind, offset, *_) in (POINT.fields or {}).items())
    layout = CloudLayout(fields, columns, rings, POINT.itemsize, columns * POINT.itemsize)
    return LidarScan(scan.stamp_ns, lidar.name, _bytes(scan.points), layout)


def camera_frame(camera: Camera, index: int) -> CameraFrame:
    """Image ``index``, ``bgr8``."""
    picture = camera.read(index)
    height, width, _ = picture.pixels.shape
    return CameraFrame(picture.stamp_ns, camera.name, _bytes(picture.pixels), 'bgr8', width, height, 3 * width)


def depth_frame(camera: DepthCamera, index: int) -> CameraFrame:
    """Depth image ``index``, ``16UC1``, mm."""
    picture = camera.read_depth(index)
    height, width = picture.counts.shape
    return CameraFrame(picture.stamp_ns, camera.name, _bytes(picture.counts), '16UC1', width, height, 2 * width)


def imu_sample(
    imu: Imu, index: int, fields: tuple[str, ...] = ('angular_velocity', 'linear_acceleration')
) -> VectorSample:
    """Reading ``index``, with ``fields`` (``orientation`` is the third) in this order."""
    reading = imu.read(index)
    values = np.concatenate([getattr(reading, field) for field in fields])
    return VectorSample(reading.stamp_ns, imu.name, torch.from_numpy(values.astype(np.float32)))


def odometry_sample(odometry: WheelOdometry, index: int) -> VectorSample:
    """Reading ``index`` as a row of an Odometry: pose (position, orientation x y z w) and twist (linear, angular)."""
    reading = odometry.read(index)
    row = np.concatenate([reading.pose.translation, reading.pose.quaternion, reading.linear, reading.angular])
    return VectorSample(reading.stamp_ns, odometry.name, torch.from_numpy(row.astype(np.float32)), 'base_link')


def _bytes(array: npt.NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(array.reshape(-1).view(np.uint8))
