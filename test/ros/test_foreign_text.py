# SPDX-License-Identifier: Apache-2.0
"""What a stranger writes into a message, and how much of it: no line, table or buffer takes it as it is."""

from __future__ import annotations

import dataclasses
import tracemalloc
from pathlib import Path

import pytest
import yaml
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image, JointState, LaserScan, PointField
from support import sqlite_by_hand
from support.runtime import FRONT, IMU, LIDAR, assert_adds_up, cloud, header, image, imu, make

from robocache_core.config import GROUPS, MessageVectorConfig, PipelineConfig, SyncConfig
from robocache_core.ledger import Reason
from robocache_ros.bags import BagError, open_bag
from robocache_ros.offline import fused_frames
from robocache_ros.poses import SensorPose
from robocache_ros.tools.config_from_bag import config_from_bag
from robocache_ros.tools.replay.verdict import notes

LONG = '\x1b[2J' + 'n' * 1_000_000
JPEG = dataclasses.replace(FRONT, message='compressed')
ARM = MessageVectorConfig('arm', topic='/arm', message='sensor_msgs/msg/JointState', joints=('0',))
RATE = SyncConfig(rate_hz=10.0)
SCAN = dataclasses.replace(LIDAR, message='LaserScan')


def with_fields(*fields: PointField):
    message = cloud(0)
    message.fields = [*message.fields, *fields]
    return message


#: What is written where: the stream, the message, and the reason.
MESSAGES = {
    'frame_id of a cloud': (LIDAR, cloud(0, LONG), 'bad_frame_id'),
    'frame_id of a scan': (SCAN, LaserScan(header=header(0, LONG)), 'bad_frame_id'),
    'frame_id of an image': (FRONT, Image(header=header(0, LONG)), 'bad_frame_id'),
    'frame_id of a compressed image': (JPEG, CompressedImage(header=header(0, LONG)), 'bad_frame_id'),
    'frame_id of a reading': (IMU, imu(0, LONG), 'bad_frame_id'),
    'frame_id of joints': (ARM, JointState(header=header(0, LONG)), 'bad_frame_id'),
    'names of joints': (ARM, JointState(header=header(0), name=[LONG, '\x1b[2J'] * 50), 'wrong_joints'),
    '100,000 joints': (ARM, JointState(header=header(0), name=[*map(str, range(100_000))]), 'wrong_joints'),
    'encoding': (FRONT, image(0, LONG), 'unknown_encoding'),
    'format': (JPEG, CompressedImage(header=header(0), format=LONG), 'unknown_encoding'),
    'format of no image': (JPEG, CompressedImage(header=header(0), format='jpeg' + LONG), 'decode_failed'),
    'name of a field': (LIDAR, with_fields(PointField(name=LONG, datatype=7, count=1)), 'bad_layout'),
    'type of a field': (LIDAR, with_fields(PointField(name='\x1b[2J', datatype=77)), 'bad_layout'),
    'end of a field': (
        LIDAR,
        with_fields(PointField(name='\x1b[2J', offset=99, datatype=7)),
        'field_beyond_point_step',
    ),
    '10,000 fields': (LIDAR, with_fields(*[PointField(name='f', datatype=7)] * 10_000), 'bad_layout'),
}


@pytest.mark.parametrize('where', MESSAGES)
def test_it_is_shown_escaped_and_cut(where: str) -> None:
    stream, message, reason = MESSAGES[where]
    group = next(group for group, kind in GROUPS.items() if isinstance(stream, kind))
    config = PipelineConfig(**{group: (stream,)}, **({} if not stream.reads_window else {'sync': RATE}))
    bench = make(config)
    bench.put(stream.name, message)
    bench.work()
    assert bench.runtime.pipeline.ledger[stream.name].counts().dropped == {reason: 1}
    (line,) = bench.log.of('warning')
    assert line.isprintable()
    assert len(line) < 1200
    assert all(len(value.value) < 2000 for status in bench.report().values() for value in status.values)
    assert_adds_up(bench.runtime)


def held_after(change, config: PipelineConfig, num: int) -> int:
    """Bytes that Python holds after ``num`` clouds more, each changed by ``change(message, i)``."""
    bench = make(config)

    def send(begin: int, end: int) -> None:
        for i in range(begin, end):
            message = cloud(100 * i)
            change(message, i)
            bench.put('lidar', message)
            bench.work()
            bench.frames.clear()

    send(0, 200)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        send(200, 200 + num)
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def rename_frame(message, i: int) -> None:
    message.header.frame_id = f'{i:0200d}'


def rename_field(message, i: int) -> None:
    message.fields = [*message.fields, PointField(name=f'{i:0200d}', offset=0, datatype=7, count=1)]


@pytest.mark.parametrize('change', [rename_frame, rename_field])
@pytest.mark.parametrize(
    'lidar',
    [LIDAR, dataclasses.replace(LIDAR, extrinsics=(0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))],
    ids=['no pose', 'its pose'],
)
def test_no_table_grows_with_what_a_sender_makes_up(change, lidar) -> None:
    config = PipelineConfig(lidars=(lidar,), target_frame='base_link' if lidar.extrinsics else '')
    assert held_after(change, config, 2000) < 1_000_000


def test_a_stream_comes_in_a_bounded_number_of_frames() -> None:
    class AnyPose:
        def pose(self, frame_id: str, target: str, stamp_ns: int) -> SensorPose:
            return SensorPose((0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0), moves=False)

    bench = make(PipelineConfig(lidars=(LIDAR,), target_frame='base_link'), lambda pipeline: AnyPose())
    for i in range(100):
        bench.put('lidar', cloud(100 * i, f'frame_{i}'))
        bench.work()
    assert bench.runtime.pipeline.ledger['lidar'].counts().dropped == {Reason.NO_TRANSFORM: 36}
    assert "frame 'frame_64': lidar has come in 64 other frames already" in bench.log.of('warning')[0]
    bench.put('lidar', cloud(10_100, 'frame_3'), cloud(10_200, 'frame_3'))
    bench.work()
    assert len(bench.frames) == 66


def test_the_types_of_publishers_on_a_topic_are_shown_escaped_and_cut() -> None:
    bench = make(PipelineConfig(lidars=(LIDAR,)))
    bench.types['/lidar'] = [LONG, 'sensor_msgs/msg/Imu']
    (found,) = (pair.value for pair in bench.report()['sync'].values if pair.key == 'blocker')
    assert found.startswith(r'lidar: /lidar carries \x1b[2Jnnn')
    assert is_shown(found)


def is_shown(line: str) -> bool:
    return line.isprintable() and len(line) < 1200


#: Ends a line, and would be a parameter of its own.
WILD = '\n/**:\x1b[2J ' + 'n' * 10_000
CLOUD, TEXT = 'sensor_msgs/msg/PointCloud2', 'std_msgs/msg/String'
#: Topics of a bag with their types, and how its messages are serialized.
BAGS = {
    'topics': ([('/points', CLOUD), (WILD, CLOUD)], 'cdr'),
    'topics that cannot be used': ([(WILD, TEXT)], 'cdr'),
    'type of a topic': ([('/lidar', WILD), ('/points', CLOUD)], 'cdr'),
    'type of /tf_static': ([('/lidar', CLOUD), ('/tf_static', WILD)], 'cdr'),
    'serialization': ([('/lidar', CLOUD)], WILD),
}


@pytest.mark.parametrize('where', BAGS)
def test_what_is_said_of_a_bag_is_shown_escaped_and_cut(where: str, tmp_path: Path, caplog) -> None:
    topics, serialization = BAGS[where]
    raw = serialize_message(cloud(0))
    path = sqlite_by_hand.write(tmp_path / 'a.db3', topics, [(0, 10**9, raw)], serialization=serialization)
    said = []
    try:
        said += list(fused_frames(path, PipelineConfig(lidars=(LIDAR,))))[:0]
    except ValueError as error:
        said.append(str(error))
    try:
        made = config_from_bag(open_bag(path))
    except BagError as error:
        said.append(str(error))
    else:
        said += made.notes
        assert list(yaml.safe_load(made.to_yaml('a bag'))) == ['/**/preprocess']
    said += [record.getMessage() for record in caplog.records]
    said += notes({'bag': {'skipped': {name: 'not installed' for name, _ in topics}}})
    assert len(said) > len(topics)
    assert [line for line in said if not is_shown(line)] == []


def test_the_inbox_counts_the_bytes_of_names() -> None:
    narrow = dataclasses.replace(IMU, queue=dataclasses.replace(IMU.queue, max_bytes=2_000_000))
    bench = make(PipelineConfig(imus=(narrow,), sync=RATE))
    bench.put('imu', imu(0, LONG))
    assert bench.runtime.inboxes.levels()['imu'][::2] == (1, pytest.approx(0.5, abs=0.01))
