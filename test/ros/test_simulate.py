# SPDX-License-Identifier: Apache-2.0
"""The simulator: what its sensors say agrees with the truth, and its bags are what they claim to be."""

from __future__ import annotations

import hashlib
import json
import math
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from robocache_ros.tools import simulate
from robocache_ros.tools.recording import recorded_messages
from robocache_sim.samples import camera_frame, imu_sample, lidar_scan
from robocache_sim.sensors import GRAVITY, POINT, Robot, Scan, robot
from robocache_sim.trajectory import Pose

STORE = get_typestore(Stores.ROS2_JAZZY)
LEAD_NS = 200_000_000


def points_in_lidar(scan: Scan) -> tuple[np.ndarray, np.ndarray]:
    """The returns of a scan ``[N, 3]``, m, and their times ``[N]``, ns."""
    points = scan.points[scan.points['intensity'] > 0]
    return np.stack([points[axis] for axis in 'xyz'], -1).astype(float), scan.stamp_ns + points['t'].astype(np.int64)


def off_the_surfaces(outfit: Robot, xyz: np.ndarray, stamps_ns: np.ndarray) -> np.ndarray:
    """Distance to the scene of points of the lidar, placed by the true pose at ``stamps_ns``."""
    pose = outfit.world.trajectory.at(stamps_ns).pose @ outfit.lidar.pose
    return outfit.world.scene.distance_to_surface(pose.apply(xyz))


def stamp_ns(message) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def read_bag(path: Path) -> list[tuple[str, int, bytes]]:
    with Reader(path) as reader:
        return [(connection.topic, record_ns, bytes(data)) for connection, record_ns, data in reader.messages()]


@pytest.fixture(scope='module')
def moving() -> Robot:
    return robot(seed=3, speed=2.0, lidar_rings=32)


@pytest.fixture(scope='module')
def bags(tmp_path_factory) -> dict[str, Path]:
    """One second of the same robot in both storages."""
    folder = tmp_path_factory.mktemp('bags')
    for storage in ('mcap', 'sqlite3'):
        assert simulate.main([str(folder / storage), '--seconds', '1', '--lidar-rings', '8', '--storage', storage]) == 0
    return {storage: folder / storage for storage in ('mcap', 'sqlite3')}


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
    outfit = robot(speed=0.0, yaw_rate=0.0, lidar_rings=32)
    xyz, _ = points_in_lidar(outfit.lidar.read(5))
    place = Pose.planar(np.array([0.0, -4.5, 0.0]), 0.0) @ outfit.lidar.pose
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
    outfit = robot(speed=0.0, yaw_rate=0.0, lidar_rings=16)
    points = outfit.lidar.read(0).points
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
    outfit = robot(speed=0.0, yaw_rate=0.0)
    camera = outfit.cameras[0]
    pixels = camera.read(0).pixels
    pillar = next(box for box in outfit.world.scene.boxes if box.name == 'pillar_a')
    wall = next(box for box in outfit.world.scene.boxes if box.name == 'wall_east')
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
    outfit = robot(speed=0.0, yaw_rate=0.0)
    front, rear = (camera.read(0).pixels for camera in outfit.cameras)
    # The southern wall is near; it hides the sky to the right of who looks east, to the left of who looks west.
    sky = front[0, 0]
    assert np.all(rear[0, -1] == sky)
    assert np.all(front[60, 0] == sky)
    assert not np.all(front[60, -1] == sky)
    assert np.all(rear[60, -1] == sky)
    assert not np.all(rear[60, 0] == sky)


def test_samples_are_the_same_bytes(moving):
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


def test_messages_say_what_they_hold(bags):
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


def test_truth_beside_the_bag(bags):
    truth = json.loads((bags['sqlite3'] / 'truth.json').read_text())
    poses = np.load(bags['sqlite3'] / 'truth.npz')
    stamps_ns = poses['stamp_ns']
    assert stamps_ns[0] <= truth['start_ns'] - LEAD_NS
    assert stamps_ns[-1] >= truth['start_ns'] + 10**9
    motion = robot().world.trajectory.at(stamps_ns)
    np.testing.assert_array_equal(poses['position'], motion.position)
    np.testing.assert_array_equal(poses['yaw'], motion.yaw)
    half = poses['yaw'] / 2
    np.testing.assert_allclose(poses['orientation'][:, 2:], np.stack([np.sin(half), np.cos(half)], -1), atol=1e-12)
    assert {box['name'] for box in truth['scene']['boxes']} > {'wall_east', 'wall_south', 'kiosk'}
    assert len(truth['imu']['gyro_bias']) == len(truth['imu']['accel_bias']) == 3


@pytest.mark.parametrize(
    ('camera', 'topic'),
    [('raw', '/camera/front/image_raw'), ('png', '/camera/front/image_raw/compressed'), ('none', None)],
)
def test_other_cameras(camera, topic):
    outfit = robot(lidar_rings=2)
    messages = list(recorded_messages(outfit, 0.15, camera))
    assert any(m.topic == '/imu/data' for m in messages)
    images = [m.message for m in messages if m.topic == topic]
    if camera == 'none':
        assert not any(m.topic.startswith('/camera') for m in messages)
        return
    true = outfit.cameras[0].read(0).pixels
    if camera == 'raw':
        assert (images[0].encoding, images[0].step, images[0].data.nbytes) == ('bgr8', 1920, 921600)
        pixels = images[0].data.reshape(480, 640, 3)
    else:
        pixels = cv2.imdecode(images[0].data, cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(pixels, true)


def test_messages_are_made_as_they_are_asked_for():
    endless = recorded_messages(robot(lidar_rings=2), 1e6, 'none')
    topics = {next(endless).topic for _ in range(100)}
    assert topics == {'/tf_static', '/imu/data', '/lidar/points'}


def test_existing_folders_are_kept(tmp_path, capsys):
    out = tmp_path / 'bag'
    command = [str(out), '--seconds', '0.1', '--lidar-rings', '2', '--camera', 'none']
    assert simulate.main(command) == 0
    before = (out / 'metadata.yaml').read_bytes()
    assert simulate.main([*command, '--seed', '1']) == 1
    assert 'exists' in capsys.readouterr().err
    assert (out / 'metadata.yaml').read_bytes() == before
    assert simulate.main([*command, '--seconds', '0.2', '--overwrite']) == 0
    assert (out / 'metadata.yaml').read_bytes() != before

    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'thesis.tex').write_text('all of it')
    assert simulate.main([str(tmp_path / 'mine'), '--seconds', '0.1', '--overwrite']) == 1
    assert 'not a bag' in capsys.readouterr().err
    assert (tmp_path / 'mine' / 'thesis.tex').read_text() == 'all of it'


def test_nothing_is_left_of_a_bag_that_failed(tmp_path):
    def fail(done: float) -> None:
        if done > 0.05:
            raise RuntimeError('the disk is full')

    with pytest.raises(RuntimeError, match='the disk is full'):
        simulate.write_bag(tmp_path / 'bag', robot(lidar_rings=2), seconds=1.0, camera='none', progress=fail)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('option', [['--seconds', '0'], ['--imu-rate', 'nan'], ['--seed', '-1'], ['--camera', 'gif']])
def test_bad_options_are_refused(tmp_path, option, capsys):
    with pytest.raises(SystemExit) as refused:
        simulate.main([str(tmp_path / 'bag'), *option])
    assert refused.value.code == 2
    assert option[0] in capsys.readouterr().err
    assert not (tmp_path / 'bag').exists()
