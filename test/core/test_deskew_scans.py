# SPDX-License-Identifier: Apache-2.0
"""Deskew on truth: simulated walls become flat, and the real IMU's rotation is applied with the right sign."""

import dataclasses

import numpy as np
import pytest
import torch
from support import recorded

from robocache_core import ops
from robocache_core.config import DeskewConfig, ImuConfig
from robocache_core.deskew import Deskewer, pose_table
from robocache_core.motion import motion_from_gyro, motion_from_odometry
from robocache_core.motion_source import GyroMotion
from robocache_core.samples import CloudLayout, LidarScan, PointField
from robocache_core.units import MS, SECOND
from robocache_sim.samples import lidar_scan
from robocache_sim.sensors import Imu, robot
from robocache_sim.trajectory import Pose

FLAT = 0.02  # m


def deskewed(scan, table=None, transform=None):
    """Points ``[N, 3]`` in the target frame at the target time, in double, and which of them are returns."""
    points, valid = ops.deskew_points(
        scan.data, scan.layout, transform=transform, deskew=table, min_range=0.1, max_range=200.0
    )
    return points.double().numpy(), valid.numpy()


# ---- simulated: the scene and the motion are known -------------------------------------------------------------------

#: Scans while the speeds are at their means, and at their greatest (1.4 times the mean).
SCANS = (13, 25)


class Drive:
    """A robot under way, one scan without noise, and the true motion around it."""

    def __init__(self, index, *, speed, yaw_rate, mount=None):
        self.robot = robot(speed=speed, yaw_rate=yaw_rate, lidar_rings=32)
        lidar = dataclasses.replace(self.robot.lidar, range_noise=0.0, dropout=0.0)
        imu = self.robot.imu if mount is None else Imu(self.robot.world, pose=mount)
        self.scan = lidar_scan(lidar, index)
        self.lidar, self.imu = lidar, imu
        trajectory = self.robot.world.trajectory
        around = [i for i in range(1200) if -20 * MS < imu.stamp_ns(i) - self.scan.stamp_ns < 120 * MS]
        self.stamps = np.array([imu.stamp_ns(i) for i in around])
        self.rates = np.array([imu.read(i).angular_velocity for i in around])
        self.truth = trajectory.at(self.stamps)
        self.at_target = trajectory.at(np.array([self.scan.stamp_ns]))
        sensor = np.eye(4)
        sensor[:3, :3], sensor[:3, 3] = lidar.pose.rotation, lidar.pose.translation
        self.sensor = torch.from_numpy(sensor).float()
        self.deskewer = Deskewer(DeskewConfig(), GyroMotion(ImuConfig('imu'), (0.0, 0.0, 0.0)))
        _, self.field = self.deskewer.timed(self.scan)
        self.instants = self.deskewer.instants_ns(self.field, self.scan.stamp_ns)

    def table(self, poses):
        return pose_table(self.field, self.scan.stamp_ns, self.instants, poses, self.sensor)

    def by_odometry(self):
        """From the true poses, 200 a second."""
        pose = self.truth.pose
        return motion_from_odometry(self.stamps, pose.translation, pose.quaternion, self.instants, self.scan.stamp_ns)

    def by_gyro(self, *, sign=1.0, velocity=None):
        """From the noisy gyro, less its bias."""
        rates = sign * (self.rates - self.imu.gyro_bias)
        return motion_from_gyro(
            self.stamps, rates, self.instants, self.scan.stamp_ns, imu=self.imu.pose.rotation, velocity=velocity
        )

    @property
    def velocity(self):
        """True velocity at the readings, in base_link, m/s."""
        return (np.swapaxes(self.truth.pose.rotation, -1, -2) @ self.truth.velocity[..., None])[..., 0]

    def off_surface(self, table=None):
        """Distance of every point to the nearest surface of the scene, m."""
        points, valid = deskewed(self.scan, table, None if table else self.sensor)
        in_map = self.at_target.pose.apply(points[valid])
        return self.robot.world.scene.distance_to_surface(in_map)

    def bulge(self, table=None):
        """Greatest distance of a wall's points from the plane that fits them best, m, for each long wall."""
        points, valid = deskewed(self.scan, table, None if table else self.sensor)
        columns = np.tile(self.lidar.column_ns, self.lidar.rings)
        local, _ = deskewed(self.scan)
        truth = (self.robot.world.trajectory.at(self.scan.stamp_ns + columns).pose @ self.lidar.pose).apply(local)
        bulges = []
        for y in (-8.0, 8.0):
            wall = points[valid & (np.abs(truth[:, 1] - y) < 1e-4) & (truth[:, 2] > 0.1)]
            assert len(wall) > 500
            centred = wall - wall.mean(axis=0)
            normal = np.linalg.svd(centred, full_matrices=False)[2][2]
            bulges.append(np.abs(centred @ normal).max())
        return bulges


@pytest.mark.parametrize('index', SCANS)
def test_walls_are_flat_with_odometry_truth(index):
    drive = Drive(index, speed=5.0, yaw_rate=2.0)
    assert drive.at_target.yaw_rate[0] >= 1.9
    assert np.linalg.norm(drive.at_target.velocity) >= 4.9
    table = drive.table(drive.by_odometry())
    assert drive.off_surface(table).max() < FLAT
    assert max(drive.bulge(table)) < FLAT
    assert np.quantile(drive.off_surface(), 0.9) > 10 * FLAT
    assert max(drive.bulge()) > 5 * FLAT


@pytest.mark.parametrize('index', SCANS)
def test_walls_are_flat_with_gyro_and_known_velocity(index):
    drive = Drive(index, speed=5.0, yaw_rate=2.0)
    table = drive.table(drive.by_gyro(velocity=drive.velocity))
    assert drive.off_surface(table).max() < FLAT
    assert max(drive.bulge(table)) < FLAT


@pytest.mark.parametrize('index', SCANS)
def test_walls_are_flat_with_gyro_alone_where_the_robot_turns_on_the_spot(index):
    drive = Drive(index, speed=0.0, yaw_rate=2.0)
    table = drive.table(drive.by_gyro())
    assert drive.off_surface(table).max() < FLAT
    assert max(drive.bulge(table)) < FLAT
    assert np.quantile(drive.off_surface(), 0.9) > 10 * FLAT
    assert max(drive.bulge()) > 5 * FLAT
    worse = drive.off_surface(drive.table(drive.by_gyro(sign=-1.0)))
    assert np.quantile(worse, 0.9) > 1.5 * np.quantile(drive.off_surface(), 0.9)


def test_gyro_alone_leaves_the_driving():
    """What the docstring says: a gyroscope tells no translation."""
    drive = Drive(13, speed=5.0, yaw_rate=2.0)
    assert np.quantile(drive.off_surface(drive.table(drive.by_gyro())), 0.9) > 5 * FLAT


def test_the_imu_may_lie_on_its_side():
    turned = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    drive = Drive(13, speed=0.0, yaw_rate=2.0, mount=Pose(np.array([-0.15, 0.08, 0.6]), turned))
    assert drive.off_surface(drive.table(drive.by_gyro())).max() < FLAT


# ---- real: an Ouster that drives slowly and nods ---------------------------------------------------------------------

OUSTER_FIELDS = (('x', 0, 'float32'), ('y', 4, 'float32'), ('z', 8, 'float32'), ('t', 20, 'uint32'))
OUSTER_LAYOUT = CloudLayout(tuple(PointField(*field) for field in OUSTER_FIELDS), 1024, 128, 48, 49152)


@pytest.fixture(scope='module')
def ouster():
    return np.load(recorded.payload('ouster_os1_128.npz'))


def ouster_points(ouster, index, target_ns, sign):
    """Points ``[128, 1024, 3]`` of a scan as seen at the target time by the IMU's rotation times ``sign``."""
    stamp = int(ouster['stamp_ns'][index])
    scan = LidarScan(stamp, 'lidar', torch.from_numpy(ouster['cloud'][index].reshape(-1)), OUSTER_LAYOUT)
    deskewer = Deskewer(DeskewConfig(), GyroMotion(ImuConfig('imu'), (0.0, 0.0, 0.0)))
    _, field = deskewer.timed(scan)
    instants = deskewer.instants_ns(field, stamp)
    poses = motion_from_gyro(
        np.concatenate([[stamp - SECOND], ouster['imu_stamp_ns']]),  # the first scan began before the first reading
        sign * np.concatenate([np.zeros((1, 3)), ouster['angular_velocity']]),
        instants,
        target_ns,
        tolerance_ns=2 * SECOND,
    )
    points, _ = deskewed(scan, pose_table(field, stamp, instants, poses))
    return points.reshape(128, 1024, 3)


def disagreement(ouster, index, sign):
    """Median distance, m, between surfaces of scan ``index`` and of the next, which sees each place 100 ms later.

    The points of a pixel in both scans, along the normal of its neighbours, less the one translation that fits best:
    the robot drives, and a gyroscope does not show how fast.
    """
    target = int(ouster['stamp_ns'][index + 1])
    before, after = (ouster_points(ouster, i, target, sign) for i in (index, index + 1))
    raw = ouster_points(ouster, index, target, 0.0)
    around = [np.roll(raw, shift, (0, 1)) for shift in ((0, 1), (0, -1), (2, 0), (-2, 0))]
    with np.errstate(all='ignore'):
        normal = np.cross(around[1] - around[0], around[3] - around[2])
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        distance = np.linalg.norm(raw, axis=-1)
        gap = np.einsum('ijk,ijk->ij', ouster_points(ouster, index + 1, target, 0.0) - raw, normal)
        usable = (distance > 1) & (distance < 60) & (np.abs(gap) < 0.3)
        usable &= np.abs(np.einsum('ijk,ijk->ij', raw, normal)) > 0.2 * distance  # not seen at too sharp an angle
        for other in around:  # flat
            usable &= np.abs(np.einsum('ijk,ijk->ij', other - raw, normal)) < 0.02 * np.maximum(1, distance / 10)
    usable[:2] = usable[-2:] = False
    assert usable.sum() > 5000
    normals, gaps = normal[usable], np.einsum('ij,ij->i', (after - before)[usable], normal[usable])
    weight = np.ones(len(gaps))
    for _ in range(10):
        shift = np.linalg.lstsq(normals * weight[:, None], gaps * weight, rcond=None)[0]
        weight = 1 / np.sqrt(1 + ((gaps - normals @ shift) / 0.02) ** 2)
    return float(np.median(np.abs(gaps - normals @ shift)))


@pytest.mark.parametrize('index', [0, 1])
def test_real_scans_agree_better_by_the_imu_s_rotation_and_worse_by_its_opposite(ouster, index):
    right, none, wrong = (disagreement(ouster, index, sign) for sign in (1.0, 0.0, -1.0))
    assert right < 0.9 * none
    assert wrong > 1.2 * none
