# SPDX-License-Identifier: Apache-2.0
"""Bags of the simulated robot: topics, types, stamps, record order, and the same bytes from the same seed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from robocache_ros import parameters
from robocache_ros.bags import open_bag
from robocache_ros.offline import fused_frames
from robocache_ros.tools import simulate, simulation
from robocache_ros.tools.config_from_bag import config_from_bag
from robocache_ros.tools.recording import recorded_messages
from robocache_sim.arm import Arm
from robocache_sim.odometry import WheelOdometry
from robocache_sim.sensors import GRAVITY, robot
from robocache_sim.truth import write_truth

STORE = get_typestore(Stores.ROS2_JAZZY)
LEAD_NS = 200_000_000


def stamp_ns(message) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def read_bag(path: Path) -> list[tuple[str, int, bytes]]:
    with Reader(path) as reader:
        return [(connection.topic, record_ns, bytes(data)) for connection, record_ns, data in reader.messages()]


@pytest.fixture(scope='module')
def bags(tmp_path_factory) -> dict[str, Path]:
    """One second of the same robot in both storages."""
    folder = tmp_path_factory.mktemp('bags')
    for storage in ('mcap', 'sqlite3'):
        assert simulate.main([str(folder / storage), '--seconds', '1', '--lidar-rings', '8', '--storage', storage]) == 0
    return {storage: folder / storage for storage in ('mcap', 'sqlite3')}


def test_same_seed_same_bytes(tmp_path):
    def digest(name: str, seed: int) -> str:
        command = [str(tmp_path / name), '--seconds', '0.4', '--lidar-rings', '8', '--seed', str(seed)]
        assert simulate.main(command) == 0
        sha = hashlib.sha256()
        for topic, record_ns, data in read_bag(tmp_path / name):
            sha.update(f'{topic} {record_ns} {len(data)} '.encode() + data)
        return sha.hexdigest() + (tmp_path / name / 'truth.json').read_text()

    assert digest('a', 5) == digest('b', 5)
    assert digest('c', 6) != digest('a2', 5)


def test_both_storages_hold_the_same_messages(bags):
    mcap, sqlite3 = (read_bag(path) for path in bags.values())
    assert len(mcap) > 200
    assert sorted(mcap) == sorted(sqlite3)
    assert (bags['mcap'] / 'mcap.mcap').is_file()
    assert (bags['sqlite3'] / 'sqlite3.db3').is_file()


def test_counts_stamps_and_record_order(bags):
    messages = read_bag(bags['mcap'])
    truth = json.loads((bags['mcap'] / 'truth.json').read_text())
    with Reader(bags['mcap']) as reader:
        types = {connection.topic: connection.msgtype for connection in reader.connections}
        assert reader.message_count == len(messages)
    counts = {topic: sum(topic == t for t, _, _ in messages) for topic in types}
    assert counts == {
        '/tf_static': 1,
        '/imu/data': 240,
        '/lidar/points': 10,
        '/camera/front/image_raw/compressed': 15,
        '/camera/front/camera_info': 15,
        '/camera/rear/image_raw/compressed': 15,
        '/camera/rear/camera_info': 15,
    }
    records = [record_ns for _, record_ns, _ in messages]
    assert records == sorted(records)
    assert messages[0][0] == '/tf_static'

    periods_ns = {'/imu/data': 5_000_000, '/lidar/points': 100_000_000}
    first_ns = {'/imu/data': truth['start_ns'] - LEAD_NS, '/lidar/points': truth['start_ns']}
    taken_ns = {'/lidar/points': 100_000_000}  # a scan leaves when it is complete
    for topic in counts.keys() - {'/tf_static'}:
        own = [(record_ns, stamp_ns(STORE.deserialize_cdr(data, types[topic]))) for t, record_ns, data in messages
               if t == topic]  # fmt: skip
        stamps = [stamp for _, stamp in own]
        period_ns = periods_ns.get(topic, 66_666_667)
        assert all(abs(b - a - period_ns) <= 1 for a, b in pairwise(stamps)), topic
        assert stamps[0] == first_ns.get(topic, stamps[0])
        delays_ns = [record_ns - stamp - taken_ns.get(topic, 0) for record_ns, stamp in own]
        assert min(delays_ns) > 0
        assert max(delays_ns) < 30_000_000
        assert len(set(delays_ns)) == len(delays_ns), 'delays vary'


@pytest.mark.parametrize('depth', ['raw', 'compressedDepth'])
def test_a_depth_camera_sees_the_scene(tmp_path, depth):
    path = tmp_path / 'bag'
    assert simulate.main([str(path), '--seconds', '0.4', '--without', 'lidar,camera', '--depth', depth]) == 0
    bag = open_bag(path)
    made = config_from_bag(bag)
    assert made.parameters['depths'] == ['front_depth']
    config, _ = parameters.from_dict(made.parameters, warn=pytest.fail)
    config = dataclasses.replace(config, depths=(dataclasses.replace(config.depths[0], max_depth=9.9),))
    frames = list(fused_frames(path, config))
    assert len(frames) >= 5
    camera = robot(depth=True).depths[0]
    for index, frame in enumerate(frames):
        stamp, origin, direction = camera.rays(index)
        assert frame.stamp_ns == stamp
        true = camera.world.scene.cast(origin, direction).distance
        depth, valid = frame.tensors['front_depth'][0].numpy(), frame.tensors['front_depth.valid'][0].numpy()
        assert abs(valid.mean() - 0.98 * (true < 9.9).mean()) < 0.01
        error = (depth - true)[valid] / true[valid] ** 2
        assert abs(error.std() - camera.range_noise) < 0.1 * camera.range_noise
        assert abs(error.mean()) < 0.1 * camera.range_noise
    transforms = next(bag.messages({'/tf_static'}))
    assert b'front_depth' in bytes(transforms[2])


def test_messages_describe_their_data(bags):
    with Reader(bags['mcap']) as reader:
        first = {}
        for connection, _, data in reader.messages():
            first.setdefault(connection.topic, STORE.deserialize_cdr(bytes(data), connection.msgtype))
        latched = next(c for c in reader.connections if c.topic == '/tf_static').ext.offered_qos_profiles
    assert [qos.durability.name for qos in latched] == ['TRANSIENT_LOCAL']

    cloud = first['/lidar/points']
    assert (cloud.width, cloud.height, cloud.point_step, cloud.row_step) == (1024, 8, 32, 32768)
    assert cloud.data.nbytes == 8 * 32768
    assert not cloud.is_dense
    assert not cloud.is_bigendian
    assert [(f.name, f.offset, f.datatype, f.count) for f in cloud.fields] == [
        ('x', 0, 7, 1), ('y', 4, 7, 1), ('z', 8, 7, 1), ('intensity', 16, 7, 1), ('t', 20, 6, 1), ('ring', 24, 4, 1),
    ]  # fmt: skip
    assert cloud.data.tobytes() == robot(lidar_rings=8).lidar.read(0).points.tobytes()

    imu = first['/imu/data']
    assert imu.orientation_covariance[0] >= 0
    assert imu.header.frame_id == 'imu'
    assert abs(imu.linear_acceleration.z - GRAVITY) < 0.5

    jpeg = first['/camera/front/image_raw/compressed']
    pixels = cv2.imdecode(jpeg.data, cv2.IMREAD_COLOR)
    true = robot().cameras[0].read(0).pixels
    assert jpeg.format.endswith('jpeg compressed bgr8')
    assert pixels.shape == true.shape
    assert np.abs(pixels.astype(int) - true).mean() < 4

    info = first['/camera/rear/camera_info']
    assert (info.width, info.height, info.k[0], info.header.frame_id) == (640, 480, 400.0, 'rear')

    truth = json.loads((bags['mcap'] / 'truth.json').read_text())
    transforms = first['/tf_static'].transforms
    assert [t.child_frame_id for t in transforms] == ['lidar', 'imu', 'front', 'rear'] == list(truth['extrinsics'])
    for transform in transforms:
        true_pose = truth['extrinsics'][transform.child_frame_id]
        t, q = transform.transform.translation, transform.transform.rotation
        assert [t.x, t.y, t.z] == true_pose['translation']
        assert [q.x, q.y, q.z, q.w] == true_pose['quaternion_xyzw']
        assert transform.header.frame_id == 'base_link'


def test_truth_beside_the_bag(bags, tmp_path):
    write_truth(tmp_path, robot(lidar_rings=8), 1.0)
    for name in ('truth.json', 'truth.npz'):
        assert (bags['sqlite3'] / name).read_bytes() == (tmp_path / name).read_bytes()


@pytest.mark.parametrize(
    ('camera', 'topic'),
    [('raw', '/camera/front/image_raw'), ('png', '/camera/front/image_raw/compressed')],
)
def test_other_cameras(camera, topic):
    simulated = robot(lidar_rings=2)
    messages = list(recorded_messages(simulated, 0.15, camera))
    assert any(m.topic == '/imu/data' for m in messages)
    images = [m.message for m in messages if m.topic == topic]
    true = simulated.cameras[0].read(0).pixels
    if camera == 'raw':
        assert (images[0].encoding, images[0].step, images[0].data.nbytes) == ('bgr8', 1920, 921600)
        pixels = images[0].data.reshape(480, 640, 3)
    else:
        pixels = cv2.imdecode(images[0].data, cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(pixels, true)


PARTS = {'tf': '/tf_static', 'lidar': '/lidar/points', 'imu': '/imu/data', 'camera': '/camera/front/camera_info'}


@pytest.mark.parametrize('without', ['tf', 'lidar', 'imu', 'camera', 'tf,camera', 'tf,lidar,camera', 'tf,lidar,imu'])
def test_a_bag_without_a_part_gives_frames_all_the_same(tmp_path, without):
    assert simulate.main([str(tmp_path / 'bag'), '--seconds', '1', '--lidar-rings', '2', '--without', without]) == 0
    left_out = without.split(',')
    bag = open_bag(tmp_path / 'bag')
    assert {part for part, topic in PARTS.items() if topic in bag.topics} == PARTS.keys() - set(left_out)
    config, _ = parameters.from_dict(config_from_bag(bag).parameters, warn=pytest.fail)
    assert len(list(fused_frames(tmp_path / 'bag', config))) >= 7


def test_a_second_lidar_and_wheel_odometry_on_request(tmp_path):
    """What is recorded is a configuration with which both lidars are deskewed by the odometry."""
    options = ['--seconds', '0.8', '--lidar-rings', '8', '--without', 'camera', '--odometry', '--rear-lidar', '0.05']
    assert simulate.main([str(tmp_path / 'bag'), *options]) == 0
    bag = open_bag(tmp_path / 'bag')
    counts = {name: topic.count for name, topic in bag.topics.items()}
    assert (counts['/lidar/points'], counts['/lidar_rear/points'], counts['/odom'], counts['/tf']) == (8, 7, 50, 50)
    starts = {topic: next(stamp_ns(bag.deserialize(topic, raw)) for _, _, raw in bag.messages({topic}))
              for topic in ('/lidar/points', '/lidar_rear/points')}  # fmt: skip
    assert starts['/lidar_rear/points'] - starts['/lidar/points'] == 50_000_000
    made = config_from_bag(bag).parameters
    made['odom'] |= {'required': True}
    for lidar in ('lidar', 'lidar_rear'):
        made[lidar] = made.get(lidar, {}) | {'deskew': {'source': 'odom'}}
    config, _ = parameters.from_dict(made)
    frames = list(fused_frames(tmp_path / 'bag', config))
    assert len(frames) >= 6
    assert all(frame.valid == {'lidar': True, 'lidar_rear': True, 'imu': True, 'odom': True} for frame in frames[:-1])


def test_joint_states_and_clocks_of_all_on_request(tmp_path):
    """The arm's clock is a second ahead, and that of the wheels half a second behind."""
    options = ['--seconds', '1', '--without', 'camera,imu', '--lidar-rings', '2', '--joints', '--odometry']
    assert simulate.main([str(tmp_path / 'bag'), *options, '--clocks', 'arm=1,odom=-0.5']) == 0
    bag, arm = open_bag(tmp_path / 'bag'), Arm(robot().world)
    found = [bag.deserialize('/joint_states', raw) for _, _, raw in bag.messages({'/joint_states'})]
    assert len(found) == 120
    for index in (0, 57, 119):
        message, (position, velocity, _) = found[index], arm.truth(arm.stamp_ns(index))
        assert stamp_ns(message) == arm.stamp_ns(index) + 1_000_000_000
        assert message.name == list(arm.joints)
        np.testing.assert_allclose(message.position, position, atol=arm.resolution)
        np.testing.assert_allclose(message.velocity, velocity)
        before, after = (arm.truth(arm.stamp_ns(index) + ns)[0] for ns in (-1_000_000, 1_000_000))
        np.testing.assert_allclose((after - before) / 0.002, velocity, atol=1e-5)
    odometry = next(bag.deserialize('/odom', raw) for _, _, raw in bag.messages({'/odom'}))
    assert stamp_ns(odometry) == WheelOdometry(robot().world).stamp_ns(0) - 500_000_000
    made = config_from_bag(bag).parameters
    assert made['joint_states']['joints'] == list(arm.joints)


def test_messages_are_made_as_they_are_asked_for():
    endless = recorded_messages(robot(lidar_rings=2), 1e6, without=['camera'])
    topics = {next(endless).topic for _ in range(100)}
    assert topics == {'/tf_static', '/imu/data', '/lidar/points'}


def test_existing_folders_are_kept(tmp_path, capsys):
    out = tmp_path / 'bag'
    command = [str(out), '--seconds', '0.1', '--lidar-rings', '2', '--without', 'camera']
    assert simulate.main(command) == 0
    before = (out / 'metadata.yaml').read_bytes()
    assert simulate.main([*command, '--seed', '1']) == 2
    assert 'exists' in capsys.readouterr().err
    assert (out / 'metadata.yaml').read_bytes() == before
    assert simulate.main([*command, '--seconds', '0.2', '--overwrite']) == 0
    assert (out / 'metadata.yaml').read_bytes() != before

    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'thesis.tex').write_text('all of it')
    assert simulate.main([str(tmp_path / 'mine'), '--seconds', '0.1', '--overwrite']) == 2
    assert 'not a bag' in capsys.readouterr().err
    assert (tmp_path / 'mine' / 'thesis.tex').read_text() == 'all of it'


def test_nothing_is_left_of_a_bag_that_failed(tmp_path):
    def fail(done: float) -> None:
        if done > 0.05:
            raise RuntimeError('the disk is full')

    with pytest.raises(RuntimeError, match='the disk is full'):
        simulation.write_bag(tmp_path / 'bag', robot(lidar_rings=2), seconds=1.0, without=['camera'], progress=fail)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    'option',
    [
        ['--seconds', '0'],
        ['--imu-rate', 'nan'],
        ['--seed', '-1'],
        ['--camera', 'gif'],
        ['--without', 'radar'],
        ['--without', 'lidar,imu,camera'],
    ],
)
def test_bad_options_are_refused(tmp_path, option, capsys):
    with pytest.raises(SystemExit) as refused:
        simulate.main([str(tmp_path / 'bag'), *option])
    assert refused.value.code == 2
    assert option[0] in capsys.readouterr().err
    assert not (tmp_path / 'bag').exists()


def test_messages_from_a_time_on_are_those_of_the_whole_recording() -> None:
    whole = robot(depth=True, scanner=True, rear_phase_ns=30_000_000, lidar_rings=4)
    parts = {'odometry': WheelOdometry(whole.world), 'arm': Arm(whole.world)}
    middle_ns = whole.world.trajectory.start_ns + 450_000_000

    def stamped(begin_ns: int) -> list[tuple[str, int, bytes]]:
        return [
            (topic, stamp_ns(message), bytes(STORE.serialize_cdr(message, message.__msgtype__)))
            for _, topic, message in recorded_messages(whole, 0.9, begin_ns=begin_ns, **parts)
            if topic not in ('/tf', '/tf_static')
        ]

    late = stamped(middle_ns)
    assert late == [each for each in stamped(0) if each[1] >= middle_ns]
    assert len({topic for topic, *_ in late}) == 12
