# SPDX-License-Identifier: Apache-2.0
"""Who else publishes where only this node should."""

import contextlib
import time

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from std_msgs.msg import UInt8MultiArray, UInt32

from robocache_ros import twins
from robocache_ros.twins import find_twin, look_out

FUSED = '/robot/preprocess/fused'


@pytest.fixture
def node():
    rclpy.init()
    node = rclpy.create_node('preprocess', namespace='/robot')
    node.create_publisher(UInt8MultiArray, '~/fused', 1)
    yield node
    node.destroy_node()
    rclpy.shutdown()


def seen(node, wanted):
    """What is found, once it is ``wanted``, or after a while."""
    end = time.monotonic() + 10
    while (twin := find_twin(node, FUSED)) != wanted and time.monotonic() < end:
        time.sleep(0.01)
    return twin


@pytest.mark.parametrize(
    ('name', 'topic', 'twin'),
    [
        ('other', '~/fused', ''),
        ('other', FUSED, f'{FUSED} has 2 publishers: frames of another node come there too'),
        ('preprocess', '~/fused', f'2 nodes are called /robot/preprocess: each publishes its frames on {FUSED}'),
    ],
)
def test_a_twin_is_found_and_goes(node, name, topic, twin):
    with stranger(name) as other:
        other.create_publisher(UInt8MultiArray, topic, 1)
        end = time.monotonic() + 10
        while len(node.get_node_names()) < 2 and time.monotonic() < end:
            time.sleep(0.01)
        assert seen(node, twin) == twin
    assert seen(node, '') == ''


@pytest.mark.parametrize('mark', ['~/_up_since_5', ''], ids=['older', 'of another program'])
def test_a_namesake_that_was_up_before_is_reported_once(node, monkeypatch, mark):
    monkeypatch.setattr(twins, 'LOOKOUT_S', 4.0)
    found = []
    with stranger('preprocess') as other:
        if mark:
            other.create_publisher(UInt32, mark, 1)
        spin(node, lambda: node.get_node_names().count('preprocess') == 2)
        look_out(node, found.append)
        spin(node, lambda: not looks(node))
    assert len(found) == 1
    assert found[0].startswith('another node is called /robot/preprocess: this one ends.')


def test_of_two_that_look_for_each_other_the_younger_one_ends(node):
    ends = []
    look_out(node, lambda line: ends.append('older'))
    with stranger('preprocess') as other:
        look_out(other, lambda line: ends.append('younger'))
        executor = SingleThreadedExecutor(context=other.context)
        executor.add_node(other)
        end = time.monotonic() + 15
        while not ends:
            assert time.monotonic() < end
            executor.spin_once(timeout_sec=0.1)
            rclpy.spin_once(node, timeout_sec=0.1)
        spin(node, lambda: not looks(node))
        executor.shutdown()
    assert ends == ['younger']


def test_a_namesake_that_comes_later_is_not_looked_for(node, monkeypatch):
    monkeypatch.setattr(twins, 'LOOKOUT_S', 0.4)
    found = []
    look_out(node, found.append)
    spin(node, lambda: not looks(node))
    with stranger('preprocess'):
        spin(node, lambda: node.get_node_names().count('preprocess') == 2)
        assert not found


@contextlib.contextmanager
def stranger(name):
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node(name, namespace='/robot', context=context)
    try:
        yield node
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)


def looks(node):
    return any(not timer.is_canceled() for timer in node.timers)


def spin(node, condition):
    end = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < end
        rclpy.spin_once(node, timeout_sec=0.1)
