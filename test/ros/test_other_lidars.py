# SPDX-License-Identifier: Apache-2.0
"""Livox's CustomMsg and MultiEchoLaserScan as lidars, against NumPy, on a robot that turns; packets by name."""

import dataclasses
import importlib.util
import math

import numpy as np
import pytest
from support import bags, lidars
from support.lidars import LIVOX, livox, multi_echo
from support.live import Live

from robocache_core import DataError, DeskewConfig, LidarConfig, VoxelConfig, payload
from robocache_core.tunable import ConfigError
from robocache_ros import parameters
from robocache_ros.bag_types import types_in
from robocache_ros.bags import BagError, open_bag
from robocache_ros.cdr import deserialize
from robocache_ros.decode import decode_laser_scan, decode_multi_echo
from robocache_ros.decode_livox import check_livox, decode_livox
from robocache_ros.lidar_packets import PACKETS
from robocache_ros.message_types import Definition
from robocache_ros.offline import fused_frames, make_pipeline
from robocache_ros.sources import choice, source_of
from robocache_ros.tools.config_from_bag import config_from_bag
from robocache_ros.tools.inspect.inspection import inspect

MULTI_ECHO = 'sensor_msgs/msg/MultiEchoLaserScan'
COUNT = VoxelConfig(channels=('count', 'max:intensity'))
CONFIG = LidarConfig('lidar', message=LIVOX[0], voxel=COUNT)
PLANAR = LidarConfig('scan', message='MultiEchoLaserScan', voxel=COUNT)


def points_of(scan):
    kinds = {'names': [], 'formats': [], 'offsets': [], 'itemsize': scan.layout.point_step}
    for field in scan.layout.fields:
        for key, value in (('names', field.name), ('formats', field.dtype), ('offsets', field.offset)):
            kinds[key].append(value)
    return np.frombuffer(scan.data.numpy().tobytes(), np.dtype(kinds))


@pytest.fixture(scope='module')
def types(tmp_path_factory):
    """Types of a bag that defines both of Livox's messages."""
    messages = [(0, f'/{i}', livox(0, np.ones((3, 3)), range(3), kind)) for i, kind in enumerate(LIVOX)]
    return types_in(open_bag(bags.write(tmp_path_factory.mktemp('livox') / 'bag', messages)))


def read(message, types, order='<'):
    """A message as it is read of a bag."""
    kind = message.__msgtype__
    return deserialize(bytes(bags.STORE.serialize_cdr(message, kind, little_endian=order == '<')), types(kind))


# ---- Livox -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize('kind', LIVOX)
@pytest.mark.parametrize('num', [1, 2, 1000])
def test_points_of_livox_are_those_that_were_sent(types, kind, order, num):
    rng = np.random.default_rng(num)
    xyz, times = rng.normal(0, 9, (num, 3)).astype(np.float32), rng.integers(0, 99 * bags.MS, num)
    scan = decode_livox(read(livox(5, xyz, times, kind), types, order), CONFIG)
    points = points_of(scan)
    for i, axis in enumerate('xyz'):
        np.testing.assert_array_equal(points[axis], xyz[:, i])
    np.testing.assert_array_equal(points['t_ns'], times)
    np.testing.assert_array_equal(points['intensity'], 7 + np.arange(num) % 3)
    np.testing.assert_array_equal(points['line'], np.arange(num) % 4)
    assert scan.stamp_ns == bags.START_NS + 5 * bags.MS
    assert [field.name for field in scan.layout.fields] == ['x', 'y', 'z', 't_ns', 'intensity', 'tag', 'line']


@pytest.mark.parametrize(
    ('base_ms', 'reference', 'first_ms'),
    [(0, 'auto', 0), (20, 'auto', 20), (-99, 'end', -99), (-(10**9), 'auto', 0), (-(10**9), 'end', -90)],
)
def test_times_count_from_the_base_where_it_is_of_the_clock_of_the_stamp(types, base_ms, reference, first_ms):
    times = np.arange(0, 91, 10) * bags.MS
    message = livox(0, np.ones((10, 3)), times, base_ns=bags.START_NS + base_ms * bags.MS)
    deskew = DeskewConfig(source='imu', time_reference=reference, scan_duration_ns=120 * bags.MS)
    scan = decode_livox(read(message, types), dataclasses.replace(CONFIG, deskew=deskew))
    np.testing.assert_array_equal(points_of(scan)['t_ns'], times + first_ms * bags.MS)


def test_a_few_points_of_another_time_are_left_out_and_many_refused(types):
    """A driver is known whose times grow to half a minute."""
    times = np.linspace(0, 99 * bags.MS, 500).astype(int)
    config = dataclasses.replace(CONFIG, deskew=DeskewConfig(source='imu'))
    times[7] = 3_000_000_000
    points = points_of(decode_livox(read(livox(0, np.ones((500, 3)), times), types), config))
    assert np.flatnonzero(np.isnan(points['x'])).tolist() == [7]
    message = read(livox(0, np.ones((500, 3)), np.arange(500) * 8_000_000), types)
    said = r'0 to 3\.992 s from the stamp, must be from 0 to 0\.1 s: set deskew\.scan_duration'
    with pytest.raises(DataError, match=said):
        decode_livox(message, config)
    assert decode_livox(message, CONFIG).layout.num_points == 500  # not deskewed, times do not matter


@pytest.mark.parametrize(
    ('num', 'changes', 'reason', 'said'),
    [
        (2, {'point_num': 4}, 'bad_layout', 'point_num is 4, and the message has 2 points'),
        (0, {}, 'empty_cloud', 'no points'),
    ],
)
def test_an_impossible_livox_message_is_refused_by_name(types, num, changes, reason, said):
    with pytest.raises(DataError, match=said) as refusal:
        decode_livox(read(livox(0, np.ones((num, 3)), range(num), **changes), types), CONFIG)
    assert refusal.value.reason == reason


@pytest.mark.parametrize('missing', ['timebase', 'points'])
def test_another_message_of_that_name_is_refused(types, missing):
    found = types(LIVOX[0])
    members = {name: kind for name, kind in found.get_fields_and_field_types().items() if name != missing}
    with pytest.raises(
        ConfigError, match=r"is not that of Livox's drivers: (timebase|points\[\]\.offset_time) must be"
    ):
        check_livox(Definition('CustomMsg', members, found.nested))


def test_livox_live_needs_its_package():
    values = {'lidars': ['lidar'], 'lidar.message': LIVOX[0], 'lidar.voxel.channels': ['count']}
    if importlib.util.find_spec('livox_ros_driver2') is not None:
        pytest.skip('livox_ros_driver2 is installed')
    config, _ = parameters.from_dict(values, warn=pytest.fail)
    with pytest.raises(ConfigError, match='livox_ros_driver2/msg/CustomMsg: is not installed'):
        source_of(config.lidars[0])


# ---- several echoes --------------------------------------------------------------------------------------------------

RANGES = [[2.0, 5.0, 9.0], [], [3.0], [40.0, 6.0], [7.0, 7.5]]
STRENGTHS = [[1.0, 8.0, 3.0], [], [2.0], [9.0, 1.0], [4.0, 4.0]]


@pytest.mark.parametrize(
    ('echo', 'found', 'intensities'),
    [
        ('first', [2.0, 3.0, 7.0], [1.0, 2.0, 4.0]),  # 40 m is beyond range_max
        ('last', [9.0, 3.0, 6.0, 7.5], [3.0, 2.0, 1.0, 4.0]),
        ('strongest', [5.0, 3.0, 7.0], [8.0, 2.0, 4.0]),
    ],
)
def test_the_echo_that_is_asked_for_counts(types, echo, found, intensities):
    message = read(multi_echo(0, RANGES, STRENGTHS), types)
    points = points_of(decode_multi_echo(message, dataclasses.replace(PLANAR, echo=echo)))
    np.testing.assert_allclose(np.hypot(points['x'], points['y']), found, rtol=1e-6)
    assert points['intensity'].tolist() == intensities


def test_one_echo_a_ray_is_a_laser_scan(types):
    ranges = np.random.default_rng(0).uniform(0.5, 20, 300).astype(np.float32)
    message = read(multi_echo(0, ranges[:, None], ranges[:, None]), types)
    single = dataclasses.replace(bags.laser_scan(0, 'base_link'), angle_min=-2.0, angle_increment=0.01)
    single = dataclasses.replace(single, time_increment=1e-4, range_max=30.0, ranges=ranges, intensities=ranges)
    expected = decode_laser_scan(read(single, types), PLANAR)
    assert decode_multi_echo(message, PLANAR).data.tolist() == expected.data.tolist()


@pytest.mark.parametrize(
    ('ranges', 'strengths', 'echo', 'reason', 'said'),
    [
        (RANGES, [], 'strongest', 'missing_field', 'no intensities, which show the strongest echo: set scan.echo'),
        (RANGES, STRENGTHS[:4], 'first', 'bad_layout', 'not as many intensities as echoes'),
        (RANGES, [[1.0], *STRENGTHS[1:]], 'last', 'bad_layout', 'not as many intensities as echoes'),
        ([], [], 'first', 'empty_cloud', 'no ranges'),
        ([], [], 'strongest', 'empty_cloud', 'no ranges'),
    ],
)
def test_impossible_echoes_are_refused_by_name(types, ranges, strengths, echo, reason, said):
    with pytest.raises(DataError, match=said) as refusal:
        decode_multi_echo(read(multi_echo(0, ranges, strengths), types), dataclasses.replace(PLANAR, echo=echo))
    assert refusal.value.reason == reason


# ---- a robot that turns in a square room ----------------------------------------------------------------------------

YAW_RATE, HALF, RAYS, STEP_NS = 1.0, 4.0, 720, 125_000


def room():
    """Directions of the rays, rad, and when each is taken, ns."""
    return -math.pi + 2 * math.pi / RAYS * np.arange(RAYS), STEP_NS * np.arange(RAYS)


def seen(ms):
    """Ranges of walls at 4 m from a robot that has turned since 0 ms."""
    angles, times = room()
    heading = YAW_RATE * (ms / 1000 + times / 1e9) + angles
    return HALF / np.maximum(np.abs(np.cos(heading)), np.abs(np.sin(heading)))


def livox_of_room(ms, kind=LIVOX[0]):
    angles, times = room()
    ranges = seen(ms)
    return livox(ms, np.stack([ranges * np.cos(angles), ranges * np.sin(angles), 0 * angles], axis=1), times, kind)


def echoes_of_room(ms):
    """Each ray goes through a pane at half the way; the wall is its stronger echo."""
    ranges = [[each / 2, each] for each in seen(ms).tolist()]
    strengths = [[1.0, 7.0]] * RAYS
    return multi_echo(
        ms, ranges, strengths, angle_min=-math.pi, angle_max=math.pi, angle_increment=2 * math.pi / RAYS,
        time_increment=STEP_NS / 1e9,
    )  # fmt: skip


def turning(ms):
    make, zeros = bags.T, np.zeros(9)
    rate, force = (make['geometry_msgs/msg/Vector3'](0.0, 0.0, z) for z in (YAW_RATE, 9.8))
    none = make['geometry_msgs/msg/Quaternion'](0.0, 0.0, 0.0, 1.0)
    return make['sensor_msgs/msg/Imu'](bags.header(ms, 'base_link'), none, zeros, rate, zeros, force, zeros)


ROOMS = {
    LIVOX[0]: (livox_of_room, {}),
    LIVOX[1]: (lambda ms: livox_of_room(ms, LIVOX[1]), {}),
    MULTI_ECHO: (echoes_of_room, {'scan.message': 'MultiEchoLaserScan', 'scan.echo': 'strongest'}),
}


def values(kind, **changes):
    return {
        'lidars': ['scan'], 'imus': ['imu'], 'target_frame': 'base_link', 'scan.message': kind,
        'scan.deskew.source': 'imu', 'scan.voxel.size': [0.05, 0.05, 0.5], 'scan.voxel.lower': [-8.0, -8.0, -0.25],
        'scan.voxel.upper': [8.0, 8.0, 0.25], 'scan.voxel.channels': ['count', 'mean:x', 'mean:y', 'max:intensity'],
        'imu.window_size': 2,
    } | ROOMS[kind][1] | changes  # fmt: skip


@pytest.fixture(scope='module', params=ROOMS)
def recorded(request, tmp_path_factory):
    scans = bags.every(100, '/scan', ROOMS[request.param][0], 500)
    bag = bags.write(tmp_path_factory.mktemp('room') / 'bag', scans + bags.every(5, '/imu', turning, 700))
    return request.param, bag


def frames_of(bag, parameters_):
    config, _ = parameters.from_dict(parameters_, warn=pytest.fail)
    return list(fused_frames(bag, config, make_pipeline(config)))


def from_walls(frame):
    """How far the mean of each voxel's points is from the nearest wall; but for voxels in a corner."""
    centre = -8.0 + (frame.tensors['scan.coords'].numpy()[:, [2, 1]] + 0.5) * 0.05
    points = centre + frame.tensors['scan.features'].numpy()[:, 1:3]
    yaw = YAW_RATE * (frame.stamp_ns - bags.START_NS) / 1e9
    x = np.abs(math.cos(yaw) * points[:, 0] - math.sin(yaw) * points[:, 1])
    y = np.abs(math.sin(yaw) * points[:, 0] + math.cos(yaw) * points[:, 1])
    return np.abs(np.maximum(x, y) - HALF)[np.minimum(x, y) <= HALF - 0.1]


def test_deskewed_points_are_on_the_walls(recorded):
    kind, bag = recorded
    deskewed, plain = frames_of(bag, values(kind)), frames_of(bag, values(kind, **{'scan.deskew.source': 'none'}))
    assert len(deskewed) >= 4
    for frame in deskewed:
        assert frame.tensors['scan.counts'].sum() == RAYS
        assert from_walls(frame).max() < 0.003
    assert min(from_walls(frame).max() for frame in plain) > 0.2


def test_live_and_offline_give_the_same_bits(recorded):
    kind, bag = recorded
    package = kind.partition('/')[0]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f'{package} is not installed')
    live, offline = Live(bag, values(kind)), frames_of(bag, values(kind))
    assert len(live.frames) >= 3
    assert [payload.digest(each) for each in live.frames] == [
        payload.digest(each) for each in offline[: len(live.frames)]
    ]


def test_a_configuration_is_proposed_and_runs(recorded):
    kind, path = recorded
    bag = open_bag(path)
    config, _ = parameters.from_dict(config_from_bag(bag, types_in(bag)).parameters, warn=pytest.fail)
    (lidar,) = config.lidars
    assert lidar.message_type == kind
    assert 'max:intensity' in lidar.voxel.channels
    assert len(list(fused_frames(path, config, make_pipeline(config)))) >= 4


def test_inspect_looks_into_it(recorded):
    kind, path = recorded
    report = inspect(path)
    topic = report['topics']['/scan']
    assert topic['type'] == kind
    assert topic['is_stamped']
    assert topic['contents']['points'] == {'least': RAYS, 'greatest': RAYS}
    assert topic['streams'] == ['scan']
    assert topic['delay_ms']['p50'] == 0


def test_where_its_package_is_not_installed_replay_leaves_livox_out_by_name(tmp_path):
    scans = bags.every(100, '/livox/lidar', livox_of_room, 500)
    bag = open_bag(bags.write(tmp_path / 'bag', scans + bags.every(100, '/points', bags.cloud, 500)))
    made = config_from_bag(bag)
    if importlib.util.find_spec('livox_ros_driver2') is not None:
        pytest.skip('livox_ros_driver2 is installed')
    assert [note for note in made.notes if note.startswith('left out: /livox/lidar: livox_ros_driver2/msg/CustomMsg')]
    assert made.remarks.left_out['/livox/lidar'].remedy == 'install livox_ros_driver2'


# ---- packets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('kind', PACKETS)
def test_packets_are_named_with_what_to_run(tmp_path, kind):
    packets = bags.every(100, '/packets', lidars.packet(kind), 500)
    path = bags.write(tmp_path / 'bag', packets + bags.every(100, '/points', bags.cloud, 500))
    assert config_from_bag(open_bag(path)).remarks.left_out['/packets'].why == PACKETS[kind]
    assert choice('lidar', 'sensor_msgs/msg/PointCloud2', kind) == PACKETS[kind]  # as the live node says it
    (found,) = [each for each in inspect(path)['findings'] if each['subject'] == '/packets']
    assert (found['code'], found['level'], found['what']) == ('left_out', 'error', PACKETS[kind])
    assert found['remedy']
    config, _ = parameters.from_dict({'lidars': ['lidar'], 'lidar.topic': '/packets'}, warn=pytest.fail)
    with pytest.raises(ValueError, match=f'{kind} in the bag, must be sensor_msgs/msg/PointCloud2; it holds packets'):
        list(fused_frames(path, config, make_pipeline(config)))


def test_a_bag_of_packets_alone_is_refused_with_what_to_run(tmp_path):
    path = bags.write(tmp_path / 'bag', bags.every(100, '/packets', lidars.packet('velodyne_msgs/msg/VelodyneScan')))
    with pytest.raises(BagError, match='velodyne_transform_node'):
        config_from_bag(open_bag(path))
