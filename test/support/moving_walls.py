# SPDX-License-Identifier: Apache-2.0
"""The grid of a simulated robot that drives and turns, against the walls of its scene."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from support.cameras import straight_info

from robocache_core.config import DepthConfig as Depth
from robocache_core.config import (
    DeskewConfig,
    EgoMotionConfig,
    GridConfig,
    ImuConfig,
    LidarConfig,
    MessageVectorConfig,
    PipelineConfig,
    VoxelConfig,
)
from robocache_core.frame import FusedFrame
from robocache_core.pipeline import Pipeline
from robocache_core.units import MS
from robocache_sim.odometry import WheelOdometry
from robocache_sim.samples import depth_frame, imu_sample, lidar_scan, odometry_sample
from robocache_sim.sensors import DepthCamera, Robot

SIZE, LOWER, UPPER = 0.2, (-20.1, -20.1, -1.1), (20.1, 20.1, 5.1)
VOXEL = VoxelConfig(size=(SIZE,) * 3, lower=LOWER, upper=UPPER, channels=('count', 'mean:x', 'mean:y', 'mean:z'))


def pose_of(sensor) -> tuple[float, ...]:
    return (*sensor.pose.translation.tolist(), *sensor.pose.quaternion.tolist())


def settings(moving: Robot, names: tuple[str, ...], source: str, **changes) -> PipelineConfig:
    """Lidars and depth cameras in one grid, moved by ``source``; a depth image is the one before the target."""
    sensors = {each.name: each for each in (*moving.lidars, *moving.depths)}
    lidars = [LidarConfig(n, extrinsics=pose_of(sensors[n]), deskew=DeskewConfig(source=source), required=False)
              for n in names if not isinstance(sensors[n], DepthCamera)]  # fmt: skip
    depths = [Depth(n, topic=f'/{n}/image_rect', extrinsics=pose_of(sensors[n]), deskew=EgoMotionConfig(source=source),
                    required=False, read='previous', width=80, height=60)
              for n in names if isinstance(sensors[n], DepthCamera)]  # fmt: skip
    config = PipelineConfig(
        lidars=tuple(lidars),
        depths=tuple(depths),
        grids=(GridConfig('all', names, VOXEL),),
        vectors=(MessageVectorConfig('odom', message='nav_msgs/msg/Odometry'),),
        imus=(ImuConfig('imu', extrinsics=pose_of(moving.imu)),),
        target_frame='base_link',
    )
    return dataclasses.replace(config, **changes)


def samples(moving: Robot, names: tuple[str, ...], slip: float = 0.03) -> list[tuple[str, object]]:
    """What the sensors ``names``, the wheels and the IMU measured in the second second, by stamp."""
    odometry, found = WheelOdometry(moving.world, slip=slip), []
    start = moving.world.trajectory.start_ns
    for each, make in ((odometry, odometry_sample), (moving.imu, imu_sample)):
        found += [(each.name, make(each, i)) for i in range(500) if 1000 * MS < each.stamp_ns(i) - start < 1700 * MS]
    for sensor in (*moving.lidars, *moving.depths):
        make = depth_frame if isinstance(sensor, DepthCamera) else lidar_scan
        indices = [i for i in range(30) if 1180 * MS < sensor.stamp_ns(i) - start < 1460 * MS]
        found += [(sensor.name, make(sensor, i)) for i in indices if sensor.name in names]
    return sorted(found, key=lambda each: each[1].stamp_ns)


def frame_at(moving: Robot, config: PipelineConfig, ms: int, found: list[tuple[str, object]]) -> FusedFrame:
    """The frame of the target ``ms`` after the start."""
    pipeline = Pipeline(config, on_host=lambda: True)
    for camera in moving.depths:
        if camera.name in pipeline.streams:
            pipeline.set_camera_info(camera.name, straight_info(camera.width, camera.height, camera.focal))
    for name, sample in found:
        if name not in pipeline.streams:
            continue
        pipeline.receive(name)
        pipeline.push(name, sample)
    target_ns = moving.world.trajectory.start_ns + ms * MS
    return next(frame for frame in pipeline.poll() if frame.stamp_ns == target_ns)


def error_and_stray(moving: Robot, frame: FusedFrame, at_least: int = 3) -> tuple[float, float]:
    """The error of 98 % of the means, m, and the part of the voxels that no surface goes through.

    Of voxels with ``at_least`` so many points.
    """
    sure = frame.tensors['all.counts'] >= at_least
    features = frame.tensors['all.features'][sure]
    centres = (frame.tensors['all.coords'][sure].flip(1).double() + 0.5) * SIZE + torch.tensor(LOWER)
    pose = moving.world.trajectory.at(np.array([frame.stamp_ns])).pose

    def distance(points):
        return moving.world.scene.distance_to_surface(pose.apply(points.numpy()))

    error = np.quantile(distance(centres + features[:, 1:]), 0.98)
    return float(error), float((distance(centres) > SIZE * 3**0.5 / 2 + 0.03).mean())
