# SPDX-License-Identifier: Apache-2.0
"""Who else publishes where only this node should."""

import contextlib
import time

import pytest
import rclpy
from std_msgs.msg import UInt8MultiArray

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


def test_a_namesake_is_reported_once_while_it_is_looked_for(node):
    found = []
    look_out(node, found.append)
    with stranger('preprocess'):
        spin(node, lambda: found)
        spin(node, lambda: not looks(node))
    assert len(found) == 1
    assert found[0].startswith('another node is called /robot/preprocess: this one ends.')


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
