# SPDX-License-Identifier: Apache-2.0
"""The simulated readings as the core's samples."""

from __future__ import annotations

import numpy as np

from robocache_sim.samples import camera_frame, imu_sample, lidar_scan
from robocache_sim.sensors import robot


def test_samples_are_the_same_bytes():
    moving = robot(seed=3, speed=2.0, lidar_rings=32)
    scan, frame = lidar_scan(moving.lidar, 3), camera_frame(moving.cameras[1], 2)
    scan.layout.validate(scan.data.numel())
    assert scan.data.numpy().tobytes() == moving.lidar.read(3).points.tobytes()
    assert (scan.layout.width, scan.layout.height, scan.layout.point_step) == (1024, 32, 32)
    assert [(f.name, f.offset, f.dtype) for f in scan.layout.fields] == [
        ('x', 0, 'float32'), ('y', 4, 'float32'), ('z', 8, 'float32'),
        ('intensity', 16, 'float32'), ('t', 20, 'uint32'), ('ring', 24, 'uint16'),
    ]  # fmt: skip
    assert frame.data.numel() == frame.step * frame.height == 3 * 640 * 480
    sample, reading = imu_sample(moving.imu, 9, ('orientation', 'angular_velocity')), moving.imu.read(9)
    np.testing.assert_allclose(sample.values.numpy(), [*reading.orientation, *reading.angular_velocity], rtol=1e-6)
