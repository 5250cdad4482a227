# SPDX-License-Identifier: Apache-2.0
"""A deskewed lidar in the node: the frames that a robot gives live are those that its bag gives offline, to the bit."""

import threading
import time

import pytest
import rclpy
import torch
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.serialization import deserialize_message
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import Imu, PointCloud2

from robocache_core.pipeline import Pipeline
from robocache_ros import parameters
from robocache_ros.node import PreprocessNode
from robocache_ros.offline import fused_frames
from robocache_ros.subscriber import FusedSubscriber
from robocache_ros.tools import simulate
from robocache_sim.sensors import robot

TURNING = {'speed': 0.0, 'yaw_rate': 2.0, 'lidar_rings': 4}
TYPES = {'/lidar/points': PointCloud2, '/imu/data': Imu}


def pose(sensor):
    return [*sensor.pose.translation.tolist(), *sensor.pose.quaternion.tolist()]


def node_parameters(**changes):
    outfit = robot(**TURNING)
    return {
        'lidars': ['lidar'],
        'imus': ['imu'],
        'target_frame': 'base_link',
        'lidar.topic': '/lidar/points',
        'lidar.extrinsics': pose(outfit.lidar),
        'lidar.deskew.source': 'imu',
        'imu.topic': '/imu/data',
        'imu.extrinsics': pose(outfit.imu),
        'imu.window_size': 4,
    } | changes


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    path = tmp_path_factory.mktemp('turning') / 'bag'
    options = ('--speed=0', '--yaw-rate=2', '--lidar-rings=4', '--camera=none', '--seconds=2')
    assert simulate.main([str(path), *options]) == 0
    return path


class Live:
    """The node, a peer that publishes the bag's messages in their order, and the frames that come back."""

    def __init__(self, bag, values):
        self.frames = []
        rclpy.init()
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        self.node = PreprocessNode(parameter_overrides=overrides)
        self.peer = rclpy.create_node('peer')
        fused = FusedSubscriber(self.peer, self.frames.append)
        executor = SingleThreadedExecutor()
        executor.add_node(self.node)
        executor.add_node(self.peer)
        thread = threading.Thread(target=executor.spin)
        thread.start()
        try:
            self.node.trigger_configure()
            self.node.trigger_activate()
            publishers = {topic: self.peer.create_publisher(kind, topic, 100) for topic, kind in TYPES.items()}
            self.until(lambda: all(p.get_subscription_count() for p in publishers.values()), 'the subscriptions')
            self.until(lambda: self.peer.count_publishers('/preprocess/fused'), 'the fused topic')
            sent = self.publish(bag, publishers)
            ledger = self.node.pipeline.ledger
            self.until(lambda: {n: a.counts().received for n, a in ledger.items()} == sent, 'the messages')
            self.until(lambda: len(self.frames) == self.node.pipeline.targets.counts().used, 'the frames')
            self.until(
                lambda: all(a.counts().held == self.node.pipeline.num_held(n) for n, a in ledger.items()), 'the worker'
            )
            self.counts = {name: account.counts() for name, account in ledger.items()}
            self.held = {name: self.node.pipeline.num_held(name) for name in ledger}
        finally:
            executor.shutdown()
            thread.join()
            self.node.release()
            self.node.destroy_node()
            self.peer.destroy_node()
            rclpy.shutdown()
        del fused

    def publish(self, bag, publishers):
        sent = {'lidar': 0, 'imu': 0}
        with AnyReader([bag], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
            for connection, _, raw in reader.messages([c for c in reader.connections if c.topic in TYPES]):
                publishers[connection.topic].publish(deserialize_message(raw, TYPES[connection.topic]))
                name = connection.topic.split('/')[1]
                sent[name] += 1
                # One after the other: two topics have no common order of their own.
                self.until(lambda n=name: self.node.pipeline.ledger[n].counts().received == sent[n], 'a message')
        return sent

    def until(self, condition, what, timeout_s=15.0):
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, f'waited {timeout_s} s for {what}'
            time.sleep(0.0005)


def test_live_and_offline_give_the_same_bits(bag):
    live = Live(bag, node_parameters())
    config, _ = parameters.from_dict(node_parameters(), warn=pytest.fail)
    pipeline = Pipeline(config)
    offline = list(fused_frames(bag, config, pipeline))
    assert len(live.frames) >= 18
    for one, other in zip(live.frames, offline, strict=False):  # offline gives up waiting at the end of the bag
        assert one.stamp_ns == other.stamp_ns
        assert one.tensors.keys() == other.tensors.keys()
        assert all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)
    for name, counts in live.counts.items():
        assert counts.held == live.held[name]
        assert set(counts.dropped) <= {'unselected'}
        assert pipeline.ledger[name].counts().held == pipeline.num_held(name)


def test_deskew_changes_the_frames(bag):
    frames = {}
    for source in ('imu', 'none'):
        config, _ = parameters.from_dict(node_parameters(**{'lidar.deskew.source': source}))
        frames[source] = {frame.stamp_ns: frame for frame in fused_frames(bag, config)}
    common = frames['imu'].keys() & frames['none'].keys()
    assert len(common) >= 18
    assert not any(
        torch.equal(frames['imu'][stamp].tensors['lidar.features'], frames['none'][stamp].tensors['lidar.features'])
        for stamp in common
    )
    assert all(torch.equal(frames['imu'][s].tensors['imu'], frames['none'][s].tensors['imu']) for s in common)


def test_a_refusal_is_logged_with_its_explanation(bag, capfd):
    live = Live(bag, node_parameters(**{'lidar.deskew.time_field': 'stamp'}))
    assert live.frames == []
    assert live.counts['lidar'].dropped['unknown_time_field'] >= 18
    error = capfd.readouterr().err
    assert (
        "message dropped (unknown_time_field): the times of the points are not known: there is no field 'stamp'"
        in error
    )
    assert 'Set deskew.time_field' in error
