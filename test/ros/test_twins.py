# SPDX-License-Identifier: Apache-2.0
"""Who else publishes where only this node should."""

import time

import pytest
import rclpy
from std_msgs.msg import UInt8MultiArray

from robocache_ros.twins import find_twin

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
    context = rclpy.Context()
    rclpy.init(context=context)
    stranger = rclpy.create_node(name, namespace='/robot', context=context)
    try:
        stranger.create_publisher(UInt8MultiArray, topic, 1)
        end = time.monotonic() + 10
        while len(node.get_node_names()) < 2 and time.monotonic() < end:
            time.sleep(0.01)
        assert seen(node, twin) == twin
    finally:
        stranger.destroy_node()
        rclpy.shutdown(context=context)
    assert seen(node, '') == ''
