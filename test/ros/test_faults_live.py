# SPDX-License-Identifier: Apache-2.0
"""The tool `faults` between topics."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Imu
from support.robot import START_NS, imu

from robocache_ros.cdr import header_stamp_ns
from robocache_ros.tools.faults import cli
from robocache_ros.tools.faults.kinds import fault_of
from robocache_ros.tools.faults.live import FaultInjector

NUM = 60


@pytest.fixture
def peer() -> Iterator[Node]:
    rclpy.init()
    node = rclpy.create_node('peer')
    yield node
    node.destroy_node()
    rclpy.shutdown()


def passed(peer: Node, faults: list[str], done) -> tuple[list[bytes], list[dict]]:
    """What is published on /out of messages on /in, once ``done`` holds of it and of the list of injections."""
    log, received = io.StringIO(), []
    injector = FaultInjector({'/in': '/out'}, [(text.partition(':')[0], fault_of(text)) for text in faults], 0, log)
    executor = SingleThreadedExecutor()
    for node in (peer, injector):
        executor.add_node(node)
    publisher = peer.create_publisher(Imu, '/in', QoSProfile(depth=NUM, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL))
    peer.create_subscription(Imu, '/out', received.append, QoSProfile(depth=NUM), raw=True)

    def spin(condition) -> None:
        for _ in range(5000):
            if condition():
                return
            executor.spin_once(timeout_sec=0.01)
        raise AssertionError((len(received), log.getvalue()))

    def listed() -> list[dict]:
        return [json.loads(line) for line in log.getvalue().splitlines()]

    spin(lambda: peer.get_publishers_info_by_topic('/out') and publisher.get_subscription_count())
    (output,) = peer.get_publishers_info_by_topic('/out')
    assert output.qos_profile.durability == QoSDurabilityPolicy.TRANSIENT_LOCAL
    spin(lambda: injector.count_subscribers('/out'))
    for ms in range(NUM):
        publisher.publish(imu(ms))
    spin(lambda: done(received, listed()))
    executor.shutdown()
    injector.destroy_node()
    return received, listed()


def test_messages_are_changed_and_listed_between_topics(peer: Node) -> None:
    received, listed = passed(
        peer,
        ['drop:share=0.3', 'skew:by=1'],
        lambda got, listed: len(listed) == NUM and len(got) == NUM + drops(listed),
    )
    assert 5 < -drops(listed) < 40
    lost = {each['number'] for each in listed if each['kind'] == 'drop'}
    assert [header_stamp_ns(raw) for raw in received] == [
        START_NS + 10**9 + ms * 10**6 for ms in range(NUM) if ms not in lost
    ]
    assert all(each['topic'] == '/in' and each['stamp_ns'] == START_NS + each['number'] * 10**6 for each in listed)
    assert isinstance(deserialize_message(received[0], Imu), Imu)


def test_what_is_held_back_comes_without_another_message(peer: Node) -> None:
    received, _ = passed(peer, ['delay:by=0.3'], lambda got, listed: len(got) == NUM)
    assert [header_stamp_ns(raw) for raw in received] == [START_NS + ms * 10**6 for ms in range(NUM)]


def drops(listed: list[dict]) -> int:
    return sum(each['added'] for each in listed)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--live', '/in'], '/in: must be two topics, as /imu/data:=/imu/faulty'),
        (['--live', '/in:=/in', '--fault', 'drop'], '/in:=/in: must be two topics'),
        (['--live', '/in:=/out', 'bag', 'out', '--fault', 'drop'], 'and either BAG and OUT or --live'),
        (['--fault', 'drop', 'bag'], 'and either BAG and OUT or --live'),
        (['--live', '/in:=/out'], 'needs --fault, a kind of drop, pause,'),
    ],
)
def test_arguments_that_are_wrong_are_one_line(arguments, message, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize('joined', ['/a~~b:=/c', '/a:=b//c', '/a:=/b/1x'])
def test_a_topic_that_is_none_of_ros_is_one_line(joined, tmp_path, capsys: pytest.CaptureFixture) -> None:
    log = tmp_path / 'log'
    log.write_text('of an earlier run')
    assert cli.main(['--live', joined, '--fault', 'drop', '--log', str(log)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("faults: '")
    assert "' is no topic of ROS: " in line
    assert log.read_text() == 'of an earlier run'


def test_a_recording_cannot_loop_live(tmp_path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(['--live', '/a:=/b', '--fault', 'loop', '--log', str(tmp_path / 'log')]) == 2
    assert capsys.readouterr().err == 'faults: loop: needs a recording, not --live\n'
