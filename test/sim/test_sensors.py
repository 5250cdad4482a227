# SPDX-License-Identifier: Apache-2.0
"""The readings of the simulated sensors agree with the true motion and the scene."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robocache_sim.sensors import GRAVITY, POINT, Robot, Scan, robot
from robocache_sim.trajectory import Pose


def points_in_lidar(scan: Scan) -> tuple[np.ndarray, np.ndarray]:
    """The returns of a scan ``[N, 3]``, m, and their times ``[N]``, ns."""
    points = scan.points[scan.points['intensity'] > 0]
    return np.stack([points[axis] for axis in 'xyz'], -1).astype(float), scan.stamp_ns + points['t'].astype(np.int64)


def off_the_surfaces(simulated: Robot, xyz: np.ndarray, stamps_ns: np.ndarray) -> np.ndarray:
    """Distance to the scene of points of the lidar, placed by the true pose at ``stamps_ns``."""
    pose = simulated.world.trajectory.at(stamps_ns).pose @ simulated.lidar.pose
    return simulated.world.scene.distance_to_surface(pose.apply(xyz))


@pytest.fixture(scope='module')
def moving() -> Robot:
    return robot(seed=3, speed=2.0, lidar_rings=32)


@pytest.mark.parametrize('index', [0, 17])
def test_points_lie_on_the_surfaces_at_their_own_time(moving, index):
    xyz, stamps_ns = points_in_lidar(moving.lidar.read(index))
    off = off_the_surfaces(moving, xyz, stamps_ns)
    assert off.max() < 6 * moving.lidar.range_noise
    assert 0.3 * moving.lidar.range_noise < off.mean() < moving.lidar.range_noise


def test_scan_is_distorted_by_the_motion(moving):
    scan = moving.lidar.read(17)
    xyz, stamps_ns = points_in_lidar(scan)
    off = off_the_surfaces(moving, xyz, np.full_like(stamps_ns, scan.stamp_ns))
    assert off.max() > 10 * moving.lidar.range_noise


def test_standing_robot_sees_the_walls_where_they_stand():
    simulated = robot(speed=0.0, yaw_rate=0.0, lidar_rings=32)
    xyz, _ = points_in_lidar(simulated.lidar.read(5))
    place = Pose.planar(np.array([0.0, -4.5, 0.0]), 0.0) @ simulated.lidar.pose
    on_map = place.apply(xyz)
    walls = on_map[on_map[:, 2] > 2.3]
    # Above all but the pillars, the container and the walls; south of the last of them, only the walls remain.
    south = walls[walls[:, 1] < -6.5]
    on_south, on_east, on_west = (np.abs(south[:, axis] - at) < 0.1 for axis, at in ((1, -8.0), (0, 12.0), (0, -12.0)))
    assert np.all(on_south | on_east | on_west)
    assert on_south.sum() > 300
    assert on_east.sum() > 20
    assert on_west.sum() > 20


def test_layout_of_a_scan(moving):
    scan = moving.lidar.read(2)
    points, lidar = scan.points, moving.lidar
    assert points.shape == (32, 1024)
    assert POINT.itemsize == 32
    assert scan.stamp_ns == moving.world.trajectory.start_ns + 2 * lidar.period_ns
    assert np.all(np.diff(points['t'].astype(np.int64), axis=1) > 0), 'time goes on with each column'
    assert np.all(points['t'] == points['t'][0]), 'all rays of a column leave at once'
    assert points['t'][0, 0] == 0
    assert points['t'].max() < lidar.period_ns
    assert np.all(points['ring'] == np.arange(32)[:, None])


def test_missing_returns_are_zeros(moving):
    points = moving.lidar.read(2).points
    missing = points['intensity'] == 0
    assert 0.05 < missing.mean() < 0.5  # over the walls, and by chance
    for axis in 'xyz':
        assert not np.any(points[axis][missing])
    ranges = np.sqrt(sum(points[axis].astype(float) ** 2 for axis in 'xyz'))[~missing]
    assert ranges.min() > moving.lidar.min_range - 0.1
    assert ranges.max() < 30
    below = points['intensity'][-1]  # a ray to the ground always returns, but for the dropout
    assert 0 < np.mean(below == 0) < 0.04


def test_upper_rings_look_up_and_the_scan_turns_clockwise():
    simulated = robot(speed=0.0, yaw_rate=0.0, lidar_rings=16)
    points = simulated.lidar.read(0).points
    seen = points['intensity'] > 0
    assert np.all(points['z'][:8][seen[:8]] > 0)
    assert np.all(points['z'][8:][seen[8:]] < 0)
    azimuth = np.unwrap(np.arctan2(points['y'][12], points['x'][12])[seen[12]].astype(float))
    assert np.all(np.diff(azimuth) < 0)


def test_a_reading_does_not_depend_on_those_before_it(moving):
    again = robot(seed=3, speed=2.0, lidar_rings=32)
    later = again.lidar.read(4).points
    moving.lidar.read(0)
    np.testing.assert_array_equal(later, moving.lidar.read(4).points)
    assert not np.array_equal(later, robot(seed=4, speed=2.0, lidar_rings=32).lidar.read(4).points)


@pytest.mark.parametrize('rate', [200.0, 400.0])
def test_gyroscope_integrates_to_the_true_yaw(rate):
    imu = robot(seed=1, speed=2.0, yaw_rate=-0.8, imu_rate=rate).imu
    count = int(4 * rate)
    readings = [imu.read(i) for i in range(count)]
    stamps_ns = np.array([reading.stamp_ns for reading in readings])
    rates = np.stack([reading.angular_velocity for reading in readings]) - imu.gyro_bias
    steps = np.diff(stamps_ns) * 1e-9
    turned = np.sum((rates[1:] + rates[:-1]) / 2 * steps[:, None], axis=0)
    yaw = imu.world.trajectory.at(stamps_ns).yaw
    bound = 5 * imu.gyro_density * math.sqrt(4.0)
    assert abs(yaw[-1] - yaw[0]) > 2
    np.testing.assert_allclose(turned, [0, 0, yaw[-1] - yaw[0]], atol=bound)
    # The bias is there, and it matters.
    assert np.abs(imu.gyro_bias).max() * 4 > bound


def test_accelerometer_integrates_to_the_true_velocity():
    imu = robot(seed=1, speed=2.0, yaw_rate=0.9).imu
    stamps_ns = np.array([imu.stamp_ns(i) for i in range(1000)])
    _, force, orientation = imu.truth(stamps_ns)
    yaw = 2 * np.arctan2(orientation[:, 2], orientation[:, 3])
    pose = Pose.planar(np.zeros((1000, 3)), yaw)
    acceleration = pose.apply(force) - [0, 0, GRAVITY]
    got = np.sum((acceleration[1:] + acceleration[:-1]) / 2 * (np.diff(stamps_ns) * 1e-9)[:, None], axis=0)

    def position(shift_ns: int) -> np.ndarray:
        return (imu.world.trajectory.at(stamps_ns + shift_ns).pose @ imu.pose).translation

    velocity = (position(1000) - position(-1000)) / 2e-6  # of the IMU, not of the robot's centre
    np.testing.assert_allclose(got, velocity[-1] - velocity[0], atol=1e-3)


def test_imu_noise_has_the_stated_deviation():
    imu = robot(speed=0.0, yaw_rate=0.0).imu
    readings = [imu.read(i) for i in range(2000)]
    rates = np.stack([reading.angular_velocity for reading in readings])
    forces = np.stack([reading.linear_acceleration for reading in readings])
    np.testing.assert_allclose(rates.std(axis=0), imu.gyro_noise, rtol=0.1)
    np.testing.assert_allclose(forces.std(axis=0), imu.accel_noise, rtol=0.1)
    np.testing.assert_allclose(rates.mean(axis=0), imu.gyro_bias, atol=imu.gyro_noise / 8)
    np.testing.assert_allclose(forces.mean(axis=0), np.add(imu.accel_bias, [0, 0, GRAVITY]), atol=imu.accel_noise / 8)


def test_camera_sees_a_pillar_where_it_projects():
    simulated = robot(speed=0.0, yaw_rate=0.0)
    camera = simulated.cameras[0]
    pixels = camera.read(0).pixels
    pillar = next(box for box in simulated.world.scene.boxes if box.name == 'pillar_a')
    wall = next(box for box in simulated.world.scene.boxes if box.name == 'wall_east')
    base = Pose.planar(np.array([0.0, -4.5, 0.0]), 0.0)
    to_camera = base @ camera.pose

    def column(x: float, y: float) -> float:
        """Image column of a vertical edge."""
        forward = to_camera.rotation.T @ (np.array([x, y, 1.5]) - to_camera.translation)
        u, _, w = camera.intrinsics @ forward
        return u / w

    left, right = column(pillar.lower[0], pillar.upper[1]), column(pillar.upper[0], pillar.lower[1])
    row = pixels[camera.height // 2 - 40].astype(float)
    plaster, brick = (np.array(box.color) / np.linalg.norm(box.color) for box in (pillar, wall))
    hue = row / np.linalg.norm(row, axis=-1, keepdims=True)
    is_pillar = hue @ plaster > hue @ brick
    columns = np.flatnonzero(is_pillar[: camera.width // 2])  # the right half shows the southern wall, plaster too
    assert columns[0] == math.ceil(left)
    assert columns[-1] == math.floor(right)
    assert np.all(np.diff(columns) == 1)


def test_rear_camera_looks_back():
    simulated = robot(speed=0.0, yaw_rate=0.0)
    front, rear = (camera.read(0).pixels for camera in simulated.cameras)
    # The southern wall is near; it hides the sky to the right when looking east, to the left when looking west.
    sky = front[0, 0]
    assert np.all(rear[0, -1] == sky)
    assert np.all(front[60, 0] == sky)
    assert not np.all(front[60, -1] == sky)
    assert np.all(rear[60, -1] == sky)
    assert not np.all(rear[60, 0] == sky)
