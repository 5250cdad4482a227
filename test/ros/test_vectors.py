# SPDX-License-Identifier: Apache-2.0
"""Vectors: numbers of messages by their paths, live and from a bag."""

import numpy as np
import pytest
from support import bags
from support.live import Live

from robocache_core import payload
from robocache_ros import parameters
from robocache_ros.offline import fused_frames, make_pipeline

T = bags.T


def vector(*xyz):
    return T['geometry_msgs/msg/Vector3'](*map(float, xyz))


def twist(ms):
    return T['geometry_msgs/msg/Twist'](vector(ms, 0, -ms), vector(0, 1, 2))


def twist_stamped(ms):
    return T['geometry_msgs/msg/TwistStamped'](bags.header(ms, 'base_link'), twist(ms))


def with_scans(message, **stream):
    """Parameters of a lidar, the trigger, and a vector stream beside it."""
    return {
        'lidars': ['lidar'],
        'lidar.topic': '/points',
        'lidar.voxel.channels': ['count'],
        'vectors': ['state'],
        'state.topic': '/state',
        'state.message': message,
    } | {f'state.{name}': value for name, value in stream.items()}


def bag_of(path, make, *, period_ms=7, end_ms=1000):
    scans = bags.every(100, '/points', bags.cloud, end_ms)
    return bags.write(path / 'bag', scans + bags.every(period_ms, '/state', make, end_ms))


def frames_of(bag, values):
    config, _ = parameters.from_dict(values, warn=pytest.fail)
    return list(fused_frames(bag, config, make_pipeline(config)))


def test_the_numbers_of_a_message_at_the_stamps_of_scans(tmp_path):
    values = with_scans('geometry_msgs/msg/TwistStamped', fields=['twist.linear.z', 'twist.linear.x'])
    frames = frames_of(bag_of(tmp_path, twist_stamped), values)
    assert len(frames) == 10
    for frame in frames:
        ms = (frame.stamp_ns - bags.START_NS) / bags.MS
        np.testing.assert_allclose(frame.tensors['state'].numpy(), [[-ms, ms]], rtol=1e-6)
        assert frame.tensors['state.valid'].tolist() == [True]
        assert frame.columns == {'state': ('twist.linear.z', 'twist.linear.x')}
        assert frame.stamped_by_arrival == ()


def test_live_and_offline_give_the_same_bits(tmp_path):
    bag, values = bag_of(tmp_path, twist_stamped), with_scans('geometry_msgs/msg/TwistStamped')
    live, offline = Live(bag, values), frames_of(bag, values)
    assert len(live.frames) >= 9
    assert [payload.digest(frame) for frame in live.frames] == [
        payload.digest(frame) for frame in offline[: len(live.frames)]
    ]
