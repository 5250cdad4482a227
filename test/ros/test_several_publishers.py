# SPDX-License-Identifier: Apache-2.0
"""Several publishers on a stream's topic: named by what their messages show, live and in a bag."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.serialization import serialize_message
from rosbags.rosbag2.metadata import parse_qos
from support import bags, mcap_by_hand, vectors
from support.foreign_bags import raw_of
from support.runtime import LIDAR, cloud, make

from robocache_core.config import PipelineConfig
from robocache_ros import parameters
from robocache_ros.cdr import header_frames
from robocache_ros.message import Deserialized, Serialized
from robocache_ros.offline import fused_frames

CLOUDS = PipelineConfig(lidars=(LIDAR,))
ODOMETRY, _ = parameters.from_dict(
    {
        'vectors': ['odom'],
        'odom': {'topic': '/odom', 'message': 'nav_msgs/msg/Odometry', 'window_size': 1},
        'sync': {'rate_hz': 10.0},
    }
)
#: Instants of messages, ms: of one sender, and of a second one that sends as often.
ONE, OTHER = list(range(0, 4000, 40)), list(range(17, 4000, 40))
BOTH = sorted(ONE + OTHER)


def said_live(frames, instants, num_publishers=1):
    bench = make(CLOUDS)
    bench.types['/lidar'] = ['sensor_msgs/msg/PointCloud2'] * num_publishers
    before_ms = 0
    for number, ms in enumerate(instants):
        message = cloud(ms)
        message.header.frame_id = frames[number % len(frames)]
        bench.clock.advance((ms - before_ms) / 1000)
        bench.put('lidar', message)
        bench.work()
        before_ms = ms
    status = bench.report()['input lidar']
    return status.level, status.message


IN_TURN = "its messages are of 'lidar' and 'other' in turn"


@pytest.mark.parametrize(
    ('frames', 'instants', 'num_publishers', 'said'),
    [
        (['lidar', 'other'], BOTH, 2, f'{IN_TURN}: /lidar has 2 publishers: give each a topic of its own'),
        (['lidar', 'other'], ONE, 1, f'{IN_TURN}: give each sender on /lidar a topic of its own'),
        (['lidar'], [0, 3, 40, 51, 80, 99, 120, 147, 160, 195, 200, 243, 280, 300], 2,
         'its stamps are not evenly spaced, and /lidar has 2 publishers: give each a topic of its own'),
        (['lidar'], ONE, 2, ''),
        (['lidar'] * 90 + ['other'] * 10, ONE, 1, ''),
    ],
    ids=['frames of two', 'frames of one relay', 'stamps of two', 'one is silent', 'started again'],
)  # fmt: skip
def test_several_senders_are_named_live(frames, instants, num_publishers, said):
    level, message = said_live(frames, instants, num_publishers)
    assert (level, message) == (DiagnosticStatus.WARN, said) if said else level == DiagnosticStatus.OK


def odometry(child):
    return lambda ms: dataclasses.replace(vectors.odometry(ms), child_frame_id=child)


def warnings_of(path, config):
    frames = fused_frames(path, config)
    list(frames)
    return [each for each in frames.warnings if 'publishers' in each or 'in turn' in each]


def messages(one, other):
    return [(ms, '/odom', odometry(one)(ms)) for ms in ONE] + [(ms, '/odom', odometry(other)(ms)) for ms in OTHER]


QOS = parse_qos(
    '- history: 3\n  depth: 0\n  reliability: 1\n  durability: 2\n  deadline: {sec: 1, nsec: 0}\n'
    '  lifespan: {sec: 1, nsec: 0}\n  liveliness: 1\n  liveliness_lease_duration: {sec: 1, nsec: 0}\n'
    '  avoid_ros_namespace_conventions: false\n'
)
SEVERAL = '/odom has 2 publishers: give each a topic of its own'


def test_frames_of_odometry_that_alternate_are_named_in_a_bag(tmp_path: Path) -> None:
    path = bags.write(tmp_path / 'bag', messages('base_link', 'camera_pose'))
    assert warnings_of(path, ODOMETRY) == [
        "odom: its messages are of 'sensor' to 'base_link' and 'sensor' to 'camera_pose' in turn: give each sender on "
        '/odom a topic of its own'
    ]


def test_messages_of_two_in_turn_are_not_said_to_be_missing_without_a_word_of_that(tmp_path: Path) -> None:
    sent = [
        (ms + late, '/odom', odometry(child)(ms + late)) for late, child in ((0, 'base'), (14, 'eye')) for ms in ONE
    ]
    path = bags.write(tmp_path / 'bag', sent)
    missing, in_turn = sorted(warnings_of(path, ODOMETRY))
    assert 'messages of odom were not recorded, as its stamps show; but its messages are of' in missing
    assert in_turn == f'odom: {missing.partition("; but ")[2]}'


def test_stamps_of_two_publishers_are_named_in_a_bag(tmp_path: Path) -> None:
    path = bags.write(tmp_path / 'bag', messages('base_link', 'base_link'), qos=QOS * 2)
    (said,) = warnings_of(path, ODOMETRY)
    assert said.endswith(SEVERAL)


def test_stamps_of_two_connections_are_named_in_a_bag(tmp_path: Path) -> None:
    path = tmp_path / 'bag.mcap'
    channels = [mcap_by_hand.Channel('/odom', 'nav_msgs/msg/Odometry')] * 2
    sent = sorted([(ms, 0) for ms in ONE] + [(ms, 1) for ms in OTHER])
    mcap_by_hand.write(
        path,
        channels,
        [(key, bags.START_NS + ms * bags.MS, raw_of(vectors.odometry(ms))) for ms, key in sent],
    )
    (said,) = warnings_of(path, ODOMETRY)
    assert said.endswith(SEVERAL)


def test_one_publisher_is_not_named_in_a_bag(tmp_path: Path) -> None:
    path = bags.write(tmp_path / 'bag', bags.every(40, '/odom', vectors.odometry, 4000), qos=QOS)
    assert warnings_of(path, ODOMETRY) == []


@pytest.mark.parametrize('frame', ['', 'a', 'abcd', 'x' * 255])
def test_frames_are_read_in_place(frame):
    message = cloud(0)
    message.header.frame_id = frame
    raw = serialize_message(message)
    assert header_frames(raw, 1) == (frame.encode(),)
    assert header_frames(raw[:14], 1) == header_frames(b'', 1) == ()
    odom = raw_of(dataclasses.replace(vectors.odometry(0), header=bags.header(0, frame), child_frame_id='base'))
    assert header_frames(odom, 2) == (frame.encode(), b'base')


@pytest.mark.parametrize('frame', ['lidar', 'x' * 256, 'x' * 5000, 'é' * 200])
def test_frames_are_compared_by_as_much_of_them_whatever_the_message_is(frame):
    message = cloud(0)
    message.header.frame_id = frame
    expected = (frame.encode()[:256],)
    assert Serialized(serialize_message(message)).frames(1) == Deserialized(message).frames(1) == expected
