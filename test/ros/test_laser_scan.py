# SPDX-License-Identifier: Apache-2.0
"""``sensor_msgs/LaserScan`` as a lidar: its points against NumPy, missing returns, deskew, live and from a bag."""

import math
from dataclasses import replace

import numpy as np
import pytest
from sensor_msgs.msg import LaserScan
from std_msgs.msg import Header
from support import bags
from support.live import Live

from robocache_core import (
    DataError,
    DeskewConfig,
    ImuConfig,
    LidarConfig,
    PipelineConfig,
    SyncConfig,
    VoxelConfig,
    backends,
    payload,
)
from robocache_core.deskew import Deskewer
from robocache_core.motion_source import GyroMotion
from robocache_core.time_field import TimeField
from robocache_ros import parameters
from robocache_ros.bags import open_bag
from robocache_ros.decode import decode_laser_scan
from robocache_ros.offline import fused_frames, make_pipeline
from robocache_ros.tools.config_from_bag import config_from_bag

CONFIG = LidarConfig('scan', message='LaserScan', voxel=VoxelConfig(channels=('count', 'max:intensity')))
PLAIN = LidarConfig('scan', message='LaserScan', voxel=VoxelConfig(channels=('count',)))


def message(ranges, **changes):
    header = Header(frame_id='laser')
    header.stamp.sec = 100
    fields = {'angle_min': -2.0, 'angle_increment': 0.01, 'time_increment': 1e-4, 'range_min': 0.1, 'range_max': 30.0}
    return LaserScan(header=header, ranges=list(ranges), **fields | changes)


def points_of(scan):
    kinds = {'names': [], 'formats': [], 'offsets': [], 'itemsize': scan.layout.point_step}
    for field in scan.layout.fields:
        for key, value in (('names', field.name), ('formats', field.dtype), ('offsets', field.offset)):
            kinds[key].append(value)
    return np.frombuffer(scan.data.numpy().tobytes(), np.dtype(kinds))


def test_points_are_those_of_numpy():
    rng = np.random.default_rng(0)
    ranges = rng.uniform(0.1, 30.0, 700).astype(np.float32)
    msg = message(ranges, intensities=list(np.arange(700.0)))
    points = points_of(decode_laser_scan(msg, CONFIG))
    angles = msg.angle_min + msg.angle_increment * np.arange(700)
    np.testing.assert_array_max_ulp(points['x'], (ranges * np.cos(angles)).astype(np.float32), maxulp=1)
    np.testing.assert_array_max_ulp(points['y'], (ranges * np.sin(angles)).astype(np.float32), maxulp=1)
    assert not points['z'].any()
    np.testing.assert_array_equal(points['t_ns'], np.arange(700) * 100_000)
    np.testing.assert_array_equal(points['intensity'], np.arange(700.0))


@pytest.mark.parametrize(('first', 'increment'), [(0.0, -0.0175), (0.0, 2 * math.pi / 360), (3.1, 0.5), (-20.0, 0.3)])
def test_any_angles(first, increment):
    """Clockwise scanners, from 0 to 2 pi, and beyond a turn."""
    msg = message(np.full(360, 2.0), angle_min=first, angle_increment=increment)
    points = points_of(decode_laser_scan(msg, PLAIN))
    angles = msg.angle_min + msg.angle_increment * np.arange(360)
    np.testing.assert_allclose(points['x'], 2 * np.cos(angles), atol=3e-7)
    np.testing.assert_allclose(points['y'], 2 * np.sin(angles), atol=3e-7)


def test_missing_returns_are_no_points():
    ranges = [math.inf, 5.0, math.nan, 0.05, 30.5, -1.0, -math.inf, 0.0, 30.0, 0.1]
    scan = decode_laser_scan(message(ranges, range_min=0.1, range_max=30.0), PLAIN)
    points = points_of(scan)
    np.testing.assert_allclose(np.hypot(points['x'], points['y']), [5.0, 30.0, 0.1], rtol=1e-6)
    assert points['t_ns'].tolist() == [100_000, 800_000, 900_000]


def test_a_range_limit_may_be_infinite():
    scan = decode_laser_scan(message([1.0, math.inf, 1e6], range_max=math.inf), PLAIN)
    assert scan.layout.num_points == 2


@pytest.mark.parametrize(
    ('msg', 'reason', 'text'),
    [
        (message([]), 'empty_cloud', 'no ranges'),
        (message([1.0] * 4, intensities=[1.0] * 3), 'bad_layout', '3 intensities for 4 ranges'),
        (message([1.0], angle_min=math.nan), 'bad_layout', 'must be finite'),
        (message([1.0], angle_increment=math.inf), 'bad_layout', 'must be finite'),
        (message([1.0] * 100, time_increment=0.03), 'bad_layout', 'shorter than 2.1 s'),
        (message([1.0], range_min=2.0, range_max=2.0), 'bad_layout', 'less than range_max'),
        (message([1.0], range_max=math.nan), 'bad_layout', 'less than range_max'),
        (message([1.0] * 3), 'missing_field', "no field 'intensity'"),
    ],
)
def test_an_impossible_scan_is_refused_by_name(msg, reason, text):
    with pytest.raises(DataError, match=text) as error:
        decode_laser_scan(msg, CONFIG)
    assert error.value.reason == reason


@pytest.mark.parametrize(
    ('changes', 'text'),
    [
        ({'time_increment': 0.0}, 'time_increment is 0 s: the driver does not say when each ray was taken'),
        ({'time_increment': -1e-4}, 'time_increment is -0.0001 s'),
        (
            {'time_increment': 2e-4},
            '721 rays with a time_increment of 0.0002 s take 0.144 s, more than deskew.scan_dur',
        ),
    ],
)
def test_a_scan_that_does_not_say_its_times_is_refused_only_where_it_is_deskewed(changes, text):
    msg = message([1.0] * 721, **changes)
    with pytest.raises(DataError, match=text) as error:
        decode_laser_scan(msg, replace(PLAIN, deskew=DeskewConfig(source='imu')))
    assert error.value.reason == 'unknown_time_field'
    assert decode_laser_scan(msg, PLAIN).layout.num_points == 721


@pytest.mark.parametrize(
    ('settings', 'field'),
    [
        ({}, TimeField('t_ns', 1, False, 0, 0)),
        ({'time_reference': 'start'}, TimeField('t_ns', 1, False, 0, 0)),
        ({'time_reference': 'end'}, TimeField('t_ns', 1, False, 0, -100 * bags.MS)),
    ],
)
@pytest.mark.parametrize('num_returns', [1, 2, 15, 700])
def test_its_times_are_those_of_the_message_however_few_returns_it_has(settings, field, num_returns):
    ranges = np.full(900, math.inf)
    ranges[-num_returns:] = 5.0
    config = DeskewConfig(source='imu', **settings)
    scan = decode_laser_scan(message(ranges), replace(PLAIN, deskew=config))
    assert Deskewer(config, GyroMotion(ImuConfig('imu'), (0.0, 0.0, 0.0))).timed(scan) == (scan, field)


def test_with_a_stamp_at_its_end_times_count_back_from_the_last_ray():
    ranges = np.full(900, math.inf)
    ranges[[0, 450, 898]] = 5.0
    msg = message(ranges)  # 89.9 ms, less than deskew.scan_duration
    scan = decode_laser_scan(msg, replace(PLAIN, deskew=DeskewConfig(source='imu', time_reference='end')))
    assert points_of(scan)['t_ns'].tolist() == [-89_900_000, -44_900_000, -100_000]


@pytest.mark.parametrize(
    ('settings', 'text'),
    [
        ({'time_unit': 'us'}, 'more than deskew.scan_duration'),
        ({'time_reference': 'absolute'}, 'does not fit deskew.time_reference = absolute'),
        ({'time_field': 'stamps'}, "there is no field 'stamps'"),
    ],
)
def test_settings_that_contradict_the_message_are_refused(settings, text):
    config = DeskewConfig(source='imu', **settings)
    scan = decode_laser_scan(message([5.0] * 900), replace(PLAIN, deskew=config))
    with pytest.raises(DataError, match=text):
        Deskewer(config, GyroMotion(ImuConfig('imu'), (0.0, 0.0, 0.0))).timed(scan)


def test_an_unset_stamp_is_refused():
    msg = message([1.0])
    msg.header.stamp.sec = 0
    with pytest.raises(DataError) as error:
        decode_laser_scan(msg, PLAIN)
    assert error.value.reason == 'zero_stamp'


# ---- a robot that turns in a square room ----------------------------------------------------------------------------

YAW_RATE, HALF, RAYS, PERIOD_MS = 1.0, 4.0, 720, 100
SCAN_S = 0.09


def laser_scan(ms, *, sees=True, intensities=True):
    """What a scanner sees of walls at 4 m while it turns: a ray each 0.125 ms."""
    step_s = SCAN_S / RAYS
    angles = -math.pi + 2 * math.pi / RAYS * np.arange(RAYS)
    heading = YAW_RATE * (ms / 1000 + step_s * np.arange(RAYS)) + angles
    ranges = HALF / np.maximum(np.abs(np.cos(heading)), np.abs(np.sin(heading))) if sees else np.full(RAYS, np.inf)
    return bags.T['sensor_msgs/msg/LaserScan'](
        bags.header(ms, 'base_link'), -math.pi, math.pi, 2 * math.pi / RAYS, step_s, 0.1, 0.1, 20.0,
        ranges.astype(np.float32), np.full(RAYS if intensities else 0, 7.0, np.float32),
    )  # fmt: skip


def turning(ms):
    make = bags.T
    none = make['geometry_msgs/msg/Quaternion'](0.0, 0.0, 0.0, 1.0)
    rate, force = (make['geometry_msgs/msg/Vector3'](0.0, 0.0, z) for z in (YAW_RATE, 9.8))
    zeros = np.zeros(9)
    return make['sensor_msgs/msg/Imu'](bags.header(ms, 'base_link'), none, zeros, rate, zeros, force, zeros)


def node_parameters(**changes):
    return {
        'lidars': ['scan'],
        'imus': ['imu'],
        'target_frame': 'base_link',
        'scan.message': 'LaserScan',
        'scan.deskew.source': 'imu',
        'scan.voxel.size': [0.05, 0.05, 0.5],
        'scan.voxel.lower': [-8.0, -8.0, -0.25],
        'scan.voxel.upper': [8.0, 8.0, 0.25],
        'scan.voxel.channels': ['count', 'mean:x', 'mean:y', 'max:intensity'],
        'imu.window_size': 2,
    } | changes


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    scans = bags.every(PERIOD_MS, '/scan', laser_scan, 1500)
    readings = bags.every(5, '/imu', turning, 1700)
    return bags.write(tmp_path_factory.mktemp('room') / 'bag', scans + readings)


def distances_from_walls(frame):
    """How far the mean of a voxel's points is from the nearest wall, as the robot stands at the target time.

    But for voxels in a corner, whose points are of two walls.
    """
    grid_lower, size = np.array([-8.0, -8.0]), 0.05
    centre = grid_lower + (frame.tensors['scan.coords'].numpy()[:, [2, 1]] + 0.5) * size
    points = centre + frame.tensors['scan.features'].numpy()[:, 1:3]
    yaw = YAW_RATE * (frame.stamp_ns - bags.START_NS) / 1e9
    x = math.cos(yaw) * points[:, 0] - math.sin(yaw) * points[:, 1]
    y = math.sin(yaw) * points[:, 0] + math.cos(yaw) * points[:, 1]
    in_corner = np.minimum(np.abs(x), np.abs(y)) > HALF - 0.1
    assert in_corner.sum() < 0.05 * x.size
    return np.abs(np.maximum(np.abs(x), np.abs(y)) - HALF)[~in_corner]


def frames_of(bag, **changes):
    config, _ = parameters.from_dict(node_parameters(**changes), warn=pytest.fail)
    return list(fused_frames(bag, config, make_pipeline(config)))


def test_deskewed_points_are_on_the_walls(bag):
    deskewed, plain = frames_of(bag), frames_of(bag, **{'scan.deskew.source': 'none'})
    assert len(deskewed) >= 13
    for frame in deskewed:
        assert frame.tensors['scan.counts'].sum() == RAYS
        assert distances_from_walls(frame).max() < 0.003
    assert min(distances_from_walls(frame).max() for frame in plain) > 0.2


def test_live_and_offline_give_the_same_bits(bag):
    live, offline = Live(bag, node_parameters()), frames_of(bag)
    assert len(live.frames) >= 13
    assert [payload.digest(frame) for frame in live.frames] == [
        payload.digest(frame) for frame in offline[: len(live.frames)]
    ]
    assert live.counts['scan'].dropped == {'missing:imu': 1}  # the window of the first scan begins before the readings


def test_a_scan_without_a_return_is_an_empty_frame_and_no_fault(tmp_path):
    """Open ground: that nothing is there is knowledge too."""
    scans = [(ms, '/scan', laser_scan(ms, sees=ms != 300)) for ms in range(0, 800, 100)]
    bag = bags.write(tmp_path / 'bag', scans + bags.every(5, '/imu', turning, 1000))
    frames = {frame.stamp_ns - bags.START_NS: frame for frame in frames_of(bag)}
    empty = frames[300 * bags.MS]
    assert empty.valid['scan']
    assert empty.tensors['scan.counts'].numel() == 0
    assert frames[400 * bags.MS].tensors['scan.counts'].sum() == RAYS


@pytest.mark.parametrize('intensities', [True, False])
def test_a_configuration_is_proposed_for_it(tmp_path, intensities):
    scans = bags.every(100, '/front/scan', lambda ms: laser_scan(ms, intensities=intensities), 1000)
    bag = bags.write(tmp_path / 'bag', scans)
    made = config_from_bag(open_bag(bag))
    config, _ = parameters.from_dict(made.parameters, warn=pytest.fail)
    (lidar,) = config.lidars
    assert (lidar.name, lidar.message) == ('front', 'LaserScan')
    assert ('max:intensity' in lidar.voxel.channels) == intensities
    frames = list(fused_frames(bag, config, make_pipeline(config)))
    assert len(frames) >= 8


def test_a_cloud_comes_before_a_planar_scan(tmp_path):
    """The first lidar is the trigger, and without a common frame the only one."""
    clouds = bags.every(100, '/velodyne/points', bags.cloud, 1000)
    scans = bags.every(50, '/a/scan', laser_scan, 1000)
    made = config_from_bag(open_bag(bags.write(tmp_path / 'bag', clouds + scans)))
    assert made.parameters['lidars'] == ['velodyne']
    assert made.parameters['sync'] == {'trigger': 'velodyne'}
    assert any('/a/scan' in note for note in made.notes)


def test_every_backend_gives_the_same_bits(bag):
    found = []
    for name in backends.NAMES:
        with backends.use(name):
            found.append([payload.digest(frame) for frame in frames_of(bag)])
    assert found[0] == found[1]


def test_the_stream_s_message_type():
    assert LidarConfig('a').message_type == 'sensor_msgs/msg/PointCloud2'
    assert CONFIG.message_type == 'sensor_msgs/msg/LaserScan'
    config = PipelineConfig(lidars=(CONFIG,), imus=(ImuConfig('imu'),), sync=SyncConfig())
    assert config.trigger == 'scan'
