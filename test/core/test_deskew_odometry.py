# SPDX-License-Identifier: Apache-2.0
"""Deskew by odometry: turning and driving, of wheels that slip too, against the truth of the simulated robot."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from support import driving
from support.driving import T0, Robot, assert_ledger

from robocache_core.buffer import Entry
from robocache_core.config import (
    DeskewConfig,
    ImuConfig,
    LidarConfig,
    MessageVectorConfig,
    PipelineConfig,
    SyncConfig,
    VoxelConfig,
)
from robocache_core.ledger import Account
from robocache_core.motion_source import OdometryMotion
from robocache_core.pipeline import Pipeline
from robocache_core.samples import CloudLayout, LidarScan, PointField, VectorSample
from robocache_core.sensor_poses import SensorPoses
from robocache_core.tunable import ConfigError
from robocache_core.units import MS, SECOND
from robocache_sim.odometry import WheelOdometry
from robocache_sim.samples import imu_sample, lidar_scan, odometry_sample
from robocache_sim.sensors import robot

IDENTITY = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
ODOM = MessageVectorConfig('odom', message='nav_msgs/msg/Odometry')
POSE = MessageVectorConfig('odom', message='geometry_msgs/msg/PoseStamped')
DESKEW = DeskewConfig(source='odom', time_unit='ns', time_reference='start')
LAYOUT = CloudLayout(
    (*(PointField(axis, 4 * i, 'float32') for i, axis in enumerate('xyz')), PointField('t', 12, 'uint32')), 2, 1, 16, 32
)


def config(odom=ODOM, deskew=DESKEW, **changes):
    lidar = driving.lidar(deskew=deskew, extrinsics=IDENTITY)
    return PipelineConfig(**{'lidars': (lidar,), 'vectors': (odom,), 'target_frame': 'base_link'} | changes)


def scan(stamp_ns):
    """A point 2.5 m ahead at the begin and at the end of the scan."""
    points = np.zeros(2, [('xyz', '<f4', 3), ('t', '<u4')])
    points['xyz'], points['t'] = (2.5, 0.5, 0.5), (0, 99 * MS)
    return LidarScan(stamp_ns, 'lidar', torch.from_numpy(points.view(np.uint8)), LAYOUT)


def reading(stamp_ns, offset=0.0, child='base_link'):
    """The robot drives to its left, by 1 m in 99 ms."""
    row = [7.0, -3.0 + (stamp_ns - T0) / (99 * MS) + offset, 0.0, 0.0, 0.0, 0.0, 1.0]
    return VectorSample(stamp_ns, 'odom', torch.tensor([*row, *(0.0,) * 6]), child)


ROBOT = Robot(lidar=scan, odom=reading)


def readings(first, last, *args):
    return [('odom', ms, *args) for ms in range(first, last + 1, 10)]


def coords(frame):
    return sorted(frame.tensors['lidar.coords'].tolist())  # z y x


# ---- the pipeline --------------------------------------------------------------------------------------------------


def test_driving_is_undone():
    """The voxel of the point at the end of the scan is a metre further to the left."""
    pipeline = Pipeline(config())
    assert ROBOT.feed(pipeline, *readings(0, 100), ('lidar', 100), *readings(110, 190)) == []
    assert pipeline.behind() == {'odom': 10 * MS}
    (frame,) = ROBOT.feed(pipeline, ('odom', 200))
    assert coords(frame) == [[4, 4, 6], [4, 5, 6]]
    assert_ledger(pipeline)


def test_a_scan_without_times_is_moved_to_the_target_as_a_whole():
    """All of it is of its stamp, here 99 ms before the target: the robot was a metre to the right."""
    pipeline = Pipeline(config(deskew=DeskewConfig(source='odom', time_field='none'), sync=SyncConfig(rate_hz=10.0)))
    frames = ROBOT.feed(pipeline, *readings(0, 100), ('lidar', 101), *readings(110, 210), ('lidar', 301))
    assert [(frame.stamp_ns - T0) // MS for frame in frames] == [100, 200]
    assert [coords(frame) for frame in frames] == [[[4, 4, 6]], [[4, 3, 6]]]
    assert_ledger(pipeline)


@pytest.mark.parametrize(
    ('jump', 'text'),
    [
        (50.0, 'the robot would move by 50.1 m in 0.01 s, faster than 100 m/s: the odometry was reset, or its pose'),
        (0.6, 'the robot would move by 0.701 m in 0.01 s, 0.239 m more than the steps around allow: the odometry was'),
    ],
)
@pytest.mark.parametrize('at', [110, 200], ids=['first step', 'last'])
def test_odometry_that_is_reset_or_corrected_within_a_scan_is_no_motion(at, jump, text):
    refused = []
    pipeline = Pipeline(config())
    pipeline.on_refused = lambda *refusal: refused.append(refusal)
    before, after = readings(0, at - 10), readings(at, 200, jump)
    assert ROBOT.feed(pipeline, *before[:11], ('lidar', 100), *before[11:], *after) == []
    assert pipeline.targets.counts().dropped == {'no_motion:lidar': 1}
    ((_, _, found),) = refused
    assert found.startswith(f'odom: {text}')
    assert_ledger(pipeline)


@pytest.mark.parametrize(('dtype', 'num_frames'), [('float32', 0), ('float64', 1)])
def test_odometry_too_far_from_its_origin_for_float32_is_no_motion(dtype, num_frames):
    """As that of a robot in UTM coordinates: float32 has steps of half a metre there."""
    refused = []
    odom = dataclasses.replace(ODOM, dtype=dtype)
    far = Robot(lidar=scan, odom=lambda stamp_ns: of_utm(stamp_ns, odom.values_dtype))
    pipeline = Pipeline(config(odom))
    pipeline.on_refused = lambda *refusal: refused.append(refusal)
    frames = far.feed(pipeline, *readings(0, 100), ('lidar', 100), *readings(110, 200))
    assert len(frames) == num_frames
    assert [coords(frame) for frame in frames] == [[[4, 4, 6], [4, 5, 6]]] * num_frames
    assert [text for _, _, text in refused] == [
        'odom: it is 5000007 m from its origin, where float32 has steps of 0.5 m: set odom.dtype: float64'
    ] * (1 - num_frames)
    assert_ledger(pipeline)


def of_utm(stamp_ns, dtype):
    near = reading(stamp_ns)
    return dataclasses.replace(near, values=near.values.to(dtype) + torch.tensor([5e6] + [0.0] * 12, dtype=dtype))


def test_odometry_of_a_body_whose_place_is_unknown_is_dropped():
    pipeline = Pipeline(config())
    ROBOT.feed(pipeline, *readings(0, 20, 0.0, 'base_footprint'))
    assert pipeline.ledger['odom'].counts().dropped == {'no_transform': 3}
    pipeline.set_pose('odom', 'base_footprint', torch.eye(4))
    assert (
        len(ROBOT.feed(pipeline, *readings(30, 100, 0.0, 'base_footprint'), ('lidar', 100), *readings(110, 200))) == 1
    )


def test_a_pose_that_names_no_body_is_that_of_the_target_frame():
    row = Robot(lidar=scan, odom=lambda stamp_ns: VectorSample(stamp_ns, 'map', reading(stamp_ns).values[:7]))
    pipeline = Pipeline(config(POSE))
    (frame,) = row.feed(pipeline, *readings(0, 100), ('lidar', 100), *readings(110, 200))
    assert coords(frame) == [[4, 4, 6], [4, 5, 6]]


# ---- against NumPy ---------------------------------------------------------------------------------------------------


def homogeneous(rotation, translation):
    matrix = np.tile(np.eye(4), (len(rotation), 1, 1))
    matrix[:, :3, :3], matrix[:, :3, 3] = rotation, translation
    return matrix


def test_motion_of_a_body_on_a_mount_is_that_of_products_of_matrices():
    scipy = pytest.importorskip('scipy.spatial.transform', reason='SciPy is the oracle here')
    random = np.random.default_rng(5)
    stamps = T0 + np.arange(0, 200, 20, dtype=np.int64) * MS
    turns = scipy.Rotation.from_rotvec(np.cumsum(random.normal(0, 0.05, (10, 3)), axis=0))
    places = np.cumsum(random.normal(0, 0.1, (10, 3)), axis=0)
    mount = (1.0, -2.0, 0.5, *scipy.Rotation.from_euler('xyz', (0.3, -0.2, 2.0)).as_quat().tolist())
    odom = dataclasses.replace(ODOM, dtype='float64', extrinsics=mount)
    rows = np.hstack([places, turns.as_quat(), np.zeros((10, 6))])
    samples = [VectorSample(int(t), 'odom', torch.from_numpy(row)) for t, row in zip(stamps, rows, strict=True)]
    instants, target = T0 + np.arange(35, 135, dtype=np.int64) * MS, T0 + 90 * MS + 123_456
    around = [Entry(sample, Account()) for sample in samples]
    motion, used = OdometryMotion(odom).poses(instants, target, around, SensorPoses())

    times = np.append(instants, target)
    slerp = scipy.Slerp((stamps - T0) / SECOND, turns)((times - T0) / SECOND)
    lerp = np.stack([np.interp(times - T0, stamps - T0, places[:, i]) for i in range(3)], -1)
    on_body = np.eye(4)
    on_body[:3, :3], on_body[:3, 3] = scipy.Rotation.from_quat(mount[3:]).as_matrix(), mount[:3]
    in_odom = homogeneous(slerp.as_matrix(), lerp) @ np.linalg.inv(on_body)  # of the target frame
    expected = np.linalg.inv(in_odom[-1]) @ in_odom[:-1]
    # The mount goes through float32.
    assert np.abs(motion - expected[:, :3]).max() < 1e-6
    assert [entry.sample.stamp_ns - T0 for entry in used] == [t * MS for t in range(20, 160, 20)]


@pytest.mark.parametrize('slip', [0.0, 0.05])
def test_wheels_integrate_to_where_they_say(slip):
    """The closed form of the odometry is the sum of its own twists, and without slip the true path."""
    world = robot(speed=2.0, yaw_rate=-0.7, seed=3).world
    odometry = WheelOdometry(world, rate_hz=2000.0, slip=slip)
    read = [odometry.read(i) for i in range(400, 4401)]
    position, turned = read[0].pose.translation, read[0].pose.rotation
    for one, two in itertools.pairwise(read):
        step = (two.stamp_ns - one.stamp_ns) / SECOND
        middle = (one.pose.rotation @ one.linear + two.pose.rotation @ two.linear) / 2
        position = position + middle * step
    assert position == pytest.approx(read[-1].pose.translation, abs=1e-5)
    truth = world.trajectory.at(np.array([world.trajectory.start_ns, read[-1].stamp_ns])).pose
    drift = np.linalg.norm(turned.T @ (truth.translation[1] - truth.translation[0]) - read[-1].pose.translation)
    assert drift < 1e-9 if slip == 0 else drift > 0.02


def pose_of(sensor):
    return (*sensor.pose.translation.tolist(), *sensor.pose.quaternion.tolist())


#: By source: motion that is taken for the truth, and the greatest error of 98 % of the means on walls, m.
SOURCES = {
    'none': (None, None),
    'imu': ('gyro', None),
    'odom without slip': (0.0, 0.02),
    'odom with slip': (0.05, 0.03),
}


def test_simulated_walls_stand_in_their_voxels_only_after_deskew_by_odometry():
    """A robot that drives at 6 m/s and turns at 1.3 rad/s: the gyroscope alone leaves the driving in the scan."""
    moving = robot(speed=6.0, yaw_rate=6.0 / 4.5, lidar_rings=32)
    size, lower = 0.2, (-20.1, -20.1, -1.1)
    voxel = VoxelConfig(
        size=(size,) * 3, lower=lower, upper=(20.1, 20.1, 5.1), channels=('count', 'mean:x', 'mean:y', 'mean:z')
    )
    target = moving.world.trajectory.start_ns + 13 * moving.lidar.period_ns
    errors = {}
    for name, (motion, _) in SOURCES.items():
        is_odometry = isinstance(motion, float)
        bias = tuple(moving.imu.gyro_bias.tolist()) if motion == 'gyro' else (0.0, 0.0, 0.0)
        deskew = DeskewConfig(source=name.split()[0], gyro_bias=bias)
        cloud = LidarConfig('lidar', voxel=voxel, extrinsics=pose_of(moving.lidar), deskew=deskew)
        streams = {'imus': (ImuConfig('imu', extrinsics=pose_of(moving.imu)),)}
        if is_odometry:
            streams = {'vectors': (ODOM,)}
        pipeline = Pipeline(PipelineConfig(lidars=(cloud,), target_frame='base_link', **streams), on_host=lambda: True)
        source, make = (moving.imu, imu_sample)
        if is_odometry:
            source, make = WheelOdometry(moving.world, slip=motion), odometry_sample
        stream = 'odom' if is_odometry else 'imu'
        for i in (j for j in range(400) if -150 * MS < source.stamp_ns(j) - target < 130 * MS):
            pipeline.receive(stream)
            pipeline.push(stream, make(source, i))
        pipeline.receive('lidar')
        pipeline.push('lidar', lidar_scan(moving.lidar, 13))
        (frame,) = pipeline.poll()
        tensors = frame.tensors
        centres = (tensors['lidar.coords'].flip(1).double() + 0.5) * size + torch.tensor(lower)
        means = (centres + tensors['lidar.features'][:, 1:4]).numpy()[tensors['lidar.features'][:, 0].numpy() >= 5]
        in_map = moving.world.trajectory.at(np.array([target])).pose.apply(means)
        errors[name] = float(np.quantile(moving.world.scene.distance_to_surface(in_map), 0.98))
    for name, (_, most) in SOURCES.items():
        assert most is None or errors[name] < most, errors
    assert errors['imu'] > 4 * errors['odom with slip'], errors
    assert errors['none'] > errors['imu'], errors


# ---- settings --------------------------------------------------------------------------------------------------------

TWIST = MessageVectorConfig('odom', message='geometry_msgs/msg/TwistStamped')


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            {'vectors': ()},
            r"source = 'odom': must be none or name an IMU .* \(there is none\)",
        ),
        ({'odom': TWIST}, r'odom.fields = \[\]: must have position.x y z and orientation.x y z w of one pose'),
        ({'odom': dataclasses.replace(ODOM, stamp='arrival')}, "odom.stamp = 'arrival': must be header"),
        ({'deskew': dataclasses.replace(DESKEW, gyro_bias=(0.1, 0.0, 0.0))}, r'gyro_bias = .*: is of an IMU'),
        (
            {'lidars': (driving.lidar(deskew=DESKEW),), 'target_frame': ''},
            r'odom.extrinsics = \(\): must be the pose of the body whose pose the odometry gives in the frame of lidar',
        ),
    ],
)
def test_settings_that_do_not_fit_each_other(changes, message):
    with pytest.raises(ConfigError, match=message):
        config(**changes)


def test_times_of_points_that_have_none_are_refused():
    with pytest.raises(ConfigError, match='time_field = none: time_unit and time_reference must be auto'):
        dataclasses.replace(DESKEW, time_field='none')


def test_the_pose_of_other_fields_is_found():
    fields = ('twist.twist.linear.x', 'pose.pose.orientation.x', 'pose.pose.orientation.y', 'pose.pose.orientation.z')
    fields += ('pose.pose.orientation.w', 'pose.pose.position.x', 'pose.pose.position.y', 'pose.pose.position.z')
    assert dataclasses.replace(ODOM, fields=fields).pose_columns == (5, 6, 7, 1, 2, 3, 4)
    assert ODOM.pose_columns == POSE.pose_columns == tuple(range(7))
    assert TWIST.pose_columns == ()
