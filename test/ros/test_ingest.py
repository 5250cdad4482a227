# SPDX-License-Identifier: Apache-2.0
"""A message comes in: pushed, or counted under a reason and explained, live and offline alike."""

import dataclasses
import logging

import pytest
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo
from support import bags
from support.runtime import (
    BOX,
    FRONT,
    IMU,
    LIDAR,
    START_NS,
    NoPoses,
    assert_adds_up,
    cloud,
    header,
    image,
    imu,
    make,
)

from robocache_core.config import LidarConfig, PipelineConfig, SyncConfig
from robocache_core.units import MS
from robocache_ros import offline
from robocache_ros.message import Serialized
from robocache_ros.poses import BagPoses, SensorPose
from robocache_ros.received import Received
from robocache_ros.sources import SOURCES
from robocache_ros.static_transforms import StaticTransforms
from robocache_ros.transform_buffer import TransformBuffer

IDENTITY = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
PROJECTION = [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]
IN_BASE = PipelineConfig(lidars=(LIDAR,), target_frame='base_link')


class Poses(NoPoses):
    """Knows where one frame is, and counts the questions."""

    def __init__(self):
        self.asked = []

    def pose(self, frame_id, target, stamp_ns):
        self.asked.append((frame_id, target))
        if frame_id != 'lidar':
            return super().pose(frame_id, target, stamp_ns)
        return SensorPose((0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 1.0))


def no_points(ms):
    message = cloud(ms)
    message.width = message.row_step = 0
    message.data = b''
    return message


def take(bench, name, *messages):
    for message in messages:
        bench.runtime.ingest.announce(name)
        bench.runtime.ingest.take(name, Received(Serialized(serialize_message(message)), START_NS))


def explained(bench):
    return {key: (each.message, each.count) for key, each in bench.runtime.drops.explanations.items()}


def test_a_good_message_becomes_a_frame():
    bench = make(PipelineConfig(lidars=(LIDAR,)))
    take(bench, 'lidar', cloud(0))
    (frame,) = bench.runtime.pipeline.poll()
    assert frame.valid == {'lidar': True}
    assert explained(bench) == {}
    assert_adds_up(bench.runtime)


def test_a_bad_message_is_counted_and_explained():
    bench = make(PipelineConfig(lidars=(LIDAR,)))
    take(bench, 'lidar', no_points(0), no_points(100))
    assert bench.runtime.pipeline.ledger['lidar'].counts().dropped == {'empty_cloud': 2}
    text = 'the cloud has no points (width 0, height 1)'
    assert explained(bench) == {('lidar', 'empty_cloud'): (text, 2)}
    assert bench.log.of('warning') == [f'lidar: message dropped (empty_cloud): {text}']
    assert_adds_up(bench.runtime)


def test_an_exception_in_a_search_for_a_pose_costs_one_message():
    """Not those behind it, nor those of other streams."""

    class Broken(Poses):
        def pose(self, frame_id, target, stamp_ns):
            if not self.asked:
                self.asked.append((frame_id, target))
                raise ZeroDivisionError('planted')
            return super().pose(frame_id, target, stamp_ns)

    bench = make(IN_BASE, lambda pipeline: Broken())
    take(bench, 'lidar', cloud(0), cloud(100))
    assert len(bench.runtime.pipeline.poll()) == 1
    assert bench.runtime.pipeline.ledger['lidar'].counts().dropped == {'internal_error': 1}
    (line,) = bench.log.of('error')
    assert line.startswith('lidar: message dropped (internal_error):\nTraceback')
    assert_adds_up(bench.runtime)


def test_an_exception_when_poses_are_forgotten_costs_one_message():
    """That of the message which shows that time has jumped back."""

    class Broken(Poses):
        def clear(self):
            raise ZeroDivisionError('planted')

    bench = make(IN_BASE, lambda pipeline: Broken())
    take(bench, 'lidar', cloud(5000), cloud(5100), cloud(0))
    take(bench, 'lidar', cloud(100))
    assert bench.runtime.pipeline.ledger['lidar'].counts().dropped['internal_error'] == 1
    assert_adds_up(bench.runtime)


def test_an_exception_when_a_sample_is_admitted_costs_one_message(monkeypatch):
    """Though others are pushed with it, and wait behind it."""
    bench = make(PipelineConfig(lidars=(LIDAR,)))
    stream = bench.runtime.pipeline._streams['lidar']
    with monkeypatch.context() as patch:
        patch.setattr(stream, 'admit', lambda sample: 1 // 0)
        take(bench, 'lidar', cloud(0))
    take(bench, 'lidar', cloud(100))
    assert len(bench.runtime.pipeline.poll()) == 1
    assert bench.runtime.pipeline.ledger['lidar'].counts().dropped == {'internal_error': 1}
    (line,) = bench.log.of('error')
    assert line.startswith('lidar: the pipeline failed at a message and goes on:\nTraceback')
    assert_adds_up(bench.runtime)


def test_an_exception_in_decode_costs_one_message(monkeypatch):
    bench = make(PipelineConfig(lidars=(LIDAR,)))
    broken = dataclasses.replace(SOURCES[LIDAR.message_type], decode=lambda message, config: 1 // 0)
    with monkeypatch.context() as patch:
        patch.setitem(bench.runtime.ingest.sources, 'lidar', broken)
        take(bench, 'lidar', cloud(0))
    take(bench, 'lidar', cloud(100))
    assert len(bench.runtime.pipeline.poll()) == 1
    assert bench.runtime.pipeline.ledger['lidar'].counts().dropped == {'internal_error': 1}
    (line,) = bench.log.of('error')
    assert line.startswith('lidar: message dropped (internal_error):\nTraceback')
    assert line.strip().endswith('ZeroDivisionError: integer division or modulo by zero')
    assert bench.runtime.metrics.failures == 1
    assert_adds_up(bench.runtime)


def test_a_pose_is_asked_for_once():
    poses = Poses()
    bench = make(IN_BASE, lambda pipeline: poses)
    take(bench, 'lidar', cloud(0), cloud(100), cloud(200))
    assert poses.asked == [('lidar', 'base_link')]
    frames = bench.runtime.pipeline.poll()
    assert [frame.frame_id for frame in frames] == ['base_link'] * 3
    # A point at z 0.5 is 2 m higher in base_link: in the voxel [2, 3) of a grid that begins at -8.
    assert frames[0].tensors['lidar.coords'].tolist() == [[10, 10, 9]]


def test_a_parameter_comes_before_every_other_source():
    poses = Poses()
    lidar = dataclasses.replace(LIDAR, extrinsics=(0.0, 0.0, -2.0, 0.0, 0.0, 0.0, 1.0))
    bench = make(dataclasses.replace(IN_BASE, lidars=(lidar,)), lambda pipeline: poses)
    take(bench, 'lidar', cloud(0), cloud(100, frame_id='base_link'))
    assert poses.asked == []
    assert bench.runtime.pipeline.poll()[0].tensors['lidar.coords'][0, 0] == 6


def test_a_sensor_whose_frame_has_no_name_is_dropped_and_explained():
    poses = Poses()
    bench = make(IN_BASE, lambda pipeline: poses)
    take(bench, 'lidar', cloud(0, frame_id=''))
    text = (
        "the frame of the sensor has no name, its pose in 'base_link' is unknown: set header.frame_id, of odometry "
        'child_frame_id, or set lidar.extrinsics'
    )
    assert explained(bench) == {('lidar', 'no_transform'): (text, 1)}
    assert poses.asked == []
    assert_adds_up(bench.runtime)


def test_a_sensor_that_nobody_knows_is_dropped_and_explained():
    poses = Poses()
    bench = make(IN_BASE, lambda pipeline: poses)
    take(bench, 'lidar', cloud(0, frame_id='mast'))
    assert bench.runtime.pipeline.ledger['lidar'].counts().dropped == {'no_transform': 1}
    assert explained(bench) == {('lidar', 'no_transform'): ('mast in base_link, or set lidar.extrinsics', 1)}
    assert_adds_up(bench.runtime)


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('metres', [1.1e6, 1e300, 1e308])
def test_a_sensor_farther_away_than_any_is_dropped_and_explained(metres):
    """Each transform is finite; two of them together are beyond float32, or beyond a double."""
    tree = StaticTransforms()
    for parent, child in (('base_link', 'mast'), ('mast', 'lidar')):
        tree.add(parent, child, (metres, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    bench = make(IN_BASE, lambda pipeline: BagPoses(TransformBuffer(tree)))
    take(bench, 'lidar', cloud(0))
    assert bench.runtime.pipeline.poll() == []
    assert bench.runtime.pipeline.ledger['lidar'].counts().dropped == {'no_transform': 1}
    (text,) = (message for message, _ in explained(bench).values())
    assert text.startswith("the pose of 'lidar' in 'base_link' is x y z = (")
    assert_adds_up(bench.runtime)


def test_a_sample_that_its_frame_cannot_use_is_explained_too():
    bench = make(PipelineConfig(lidars=(LIDAR,)))
    message = cloud(0)
    message.data = b'\xff' * 12  # NaN
    take(bench, 'lidar', message)
    assert bench.runtime.pipeline.poll() == []
    assert explained(bench) == {('lidar', 'all_non_finite'): ('none of the 1 points is finite', 1)}
    assert_adds_up(bench.runtime)


def test_a_calibration_holds_from_when_it_comes():
    camera = dataclasses.replace(FRONT, rectify=True)
    bench = make(PipelineConfig(cameras=(camera,)))
    info = CameraInfo(header=header(0), width=4, height=4, k=IDENTITY, r=IDENTITY, p=PROJECTION)
    take(bench, 'front', image(0))
    bench.runtime.ingest.calibrate('front', serialize_message(info))
    take(bench, 'front', image(100))
    assert len(bench.runtime.pipeline.poll()) == 1
    assert bench.runtime.pipeline.ledger['front'].counts().dropped == {'no_camera_info': 1}
    assert list(explained(bench)) == [('front', 'no_camera_info')]


# --- offline


def bare(**changes):
    return PipelineConfig(lidars=(LidarConfig('lidar', topic='lidar', voxel=BOX, min_range=0.0),), **changes)


def test_offline_explains_and_goes_on(tmp_path, caplog, monkeypatch):
    clouds = [(ms, '/lidar', bags.cloud(ms)) for ms in range(0, 1000, 100)]
    for ms, _, message in clouds:
        if ms in (200, 300):
            message.height = 0
    bag = bags.write(tmp_path / 'bag', clouds)
    source, calls = SOURCES[LIDAR.message_type], []

    def decode(message, config):
        calls.append(message)
        return 1 // 0 if len(calls) == 5 else source.decode(message, config)

    monkeypatch.setitem(SOURCES, LIDAR.message_type, dataclasses.replace(source, decode=decode))
    with caplog.at_level(logging.WARNING):
        found = offline.fused_frames(bag, bare())
        frames = list(found)
    assert len(frames) == 7
    counts = found.pipeline.ledger['lidar'].counts()
    assert counts.dropped == {'empty_cloud': 2, 'internal_error': 1}
    assert counts.received == counts.used + 3 == 10
    explanations = {key: (each.message, each.count) for key, each in found.explanations.items()}
    assert explanations == {
        ('lidar', 'empty_cloud'): ('the cloud has no points (width 1, height 0)', 2),
        ('lidar', 'internal_error'): ('ZeroDivisionError: integer division or modulo by zero', 1),
    }
    lines = [record.getMessage() for record in caplog.records]
    assert [line.splitlines()[0] for line in lines] == [
        'lidar: message dropped (empty_cloud): the cloud has no points (width 1, height 0)',
        'lidar: message dropped (internal_error):',
        f'{bag}: 3 of 10 messages of lidar, the trigger, were lost: 2 empty_cloud, 1 internal_error',
    ]


def test_offline_takes_poses_from_the_bag(tmp_path):
    clouds = [(ms, '/lidar', bags.cloud(ms)) for ms in range(0, 300, 100)]
    edges = bags.transforms(('base_link', 'lidar', (0.0, 0.0, 2.0), (0.0, 0.0, 0.0, 1.0)))
    known = bags.write(tmp_path / 'known', [*clouds, (500, '/tf_static', edges)])
    frames = list(offline.fused_frames(known, bare(target_frame='base_link')))
    # The point 1 1 1 is at z 3 in base_link.
    assert [frame.tensors['lidar.coords'].tolist() for frame in frames] == [[[11, 9, 9]]] * 3
    unknown = offline.fused_frames(bags.write(tmp_path / 'unknown', clouds), bare(target_frame='base_link'))
    assert list(unknown) == []
    assert unknown.pipeline.ledger['lidar'].counts().dropped == {'no_transform': 3}
    (explanation,) = unknown.explanations.values()
    assert explanation.count == 3
    said = (
        "the pose of 'lidar' in 'base_link' is unknown: neither /tf nor /tf_static of the bag joins them; record them "
        'with the bag, or set lidar.extrinsics'
    )
    assert explanation.message == said
    assert f'no frame: lidar: dropped 3 no_transform ({said})' in unknown.warnings


@pytest.mark.parametrize(
    ('message', 'expected'),
    [
        (bags.imu(0), r'lidar: lidar is sensor_msgs/msg/Imu in the bag, must be .*PointCloud2$'),
        (bags.laser_scan(0), r'must be .*PointCloud2; set lidar.message: LaserScan$'),
    ],
)
def test_offline_refuses_a_topic_of_another_type(tmp_path, message, expected):
    bag = bags.write(tmp_path / 'bag', [(0, '/lidar', message)])
    with pytest.raises(ValueError, match=expected):
        list(offline.fused_frames(bag, bare()))


@pytest.mark.parametrize('interpolation', ['linear', 'nearest', 'previous'])
@pytest.mark.parametrize('length', [2.0, 1.0, 0.1])
def test_orientations_of_any_length_give_a_window_of_unit_rows(interpolation, length):
    """4 ms readings in a 5 ms window: some rows are readings as they are, some lie between two."""
    stream = dataclasses.replace(
        IMU, fields=('orientation',), interpolation=interpolation, window_size=5, window_period_ns=5 * MS
    )
    bench = make(PipelineConfig(imus=(stream,), sync=SyncConfig(rate_hz=10.0)))
    for ms in range(0, 1000, 4):
        message = imu(ms)
        message.orientation.z, message.orientation.w = 0.6 * length, 0.8 * length
        bench.put('imu', message)
    bench.work()
    assert len(bench.frames) > 5
    for frame in bench.frames:
        norms = frame.tensors['imu'].norm(dim=1)
        assert norms.tolist() == pytest.approx([1.0] * 5, abs=1e-6)
