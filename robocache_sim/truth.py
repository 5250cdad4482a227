# SPDX-License-Identifier: Apache-2.0
"""The truth about a simulated drive, as files that a test or a plot compares with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from robocache_sim.sensors import SECOND_NS, Robot
from robocache_sim.trajectory import Pose

#: Step of the true poses in truth.npz.
POSE_STEP_NS = 5_000_000


def write_truth(folder: Path, robot: Robot, seconds: float) -> None:
    """Write truth.json, the settings of the world and the sensors, and truth.npz, the robot's pose over time."""
    (folder / 'truth.json').write_text(json.dumps(_settings(robot, seconds), indent=2) + '\n', encoding='utf-8')
    _write_poses(folder / 'truth.npz', robot, seconds)


def _settings(robot: Robot, seconds: float) -> dict[str, Any]:
    trajectory, lidar, imu = robot.world.trajectory, robot.lidar, robot.imu
    return {
        'units': 'm, rad, s; stamps in ns; boxes in map (z up, ground at z = 0); extrinsics: sensor frame in base_link',
        'seed': robot.world.seed,
        'start_ns': trajectory.start_ns,
        'seconds': seconds,
        'scene': {
            'ground_z': 0.0,
            'boxes': [{'name': b.name, 'lower': b.lower, 'upper': b.upper} for b in robot.world.scene.boxes],
        },
        'trajectory': {
            'speed': trajectory.speed,
            'yaw_rate': trajectory.yaw_rate,
            'radius': trajectory.radius,
            'swell': trajectory.swell,
            'swell_rate': trajectory.swell_rate,
        },
        'extrinsics': {sensor.name: _pose(sensor.pose) for sensor in robot.sensors},
        'lidar': {'rings': lidar.rings, 'columns': lidar.columns, 'range_noise': lidar.range_noise},
        'imu': {
            'rate_hz': imu.rate_hz,
            'gyro_bias': imu.gyro_bias.tolist(),
            'accel_bias': imu.accel_bias.tolist(),
            'gyro_noise': imu.gyro_noise,
            'accel_noise': imu.accel_noise,
        },
        'poses': 'truth.npz: base_link in map; stamp_ns [N], position, velocity, acceleration [N, 3], '
        'orientation [N, 4] (x y z w), yaw, yaw_rate [N]',
    }


def _pose(pose: Pose) -> dict[str, list[float]]:
    return {'translation': pose.translation.tolist(), 'quaternion_xyzw': pose.quaternion.tolist()}


def _write_poses(path: Path, robot: Robot, seconds: float) -> None:
    """Write the motion of base_link every ``POSE_STEP_NS``, from the first reading of the IMU to the end."""
    trajectory = robot.world.trajectory
    end_ns = trajectory.start_ns + round(seconds * SECOND_NS)
    stamps_ns = np.arange(robot.imu.stamp_ns(0), end_ns + 1, POSE_STEP_NS)
    motion = trajectory.at(stamps_ns)
    np.savez(
        path,
        stamp_ns=stamps_ns,
        position=motion.position,
        velocity=motion.velocity,
        acceleration=motion.acceleration,
        orientation=motion.pose.quaternion,
        yaw=motion.yaw,
        yaw_rate=motion.yaw_rate,
    )
