# SPDX-License-Identifier: Apache-2.0
"""A consumer in the node's own process gets the frame itself: no byte is copied, nothing is encoded."""

import dataclasses
import threading

import pytest
import rclpy
import torch
from geometry_msgs.msg import Twist
from support import robot as messages
from support.robot import LIDAR, Robot

from robocache_core.frame import FusedFrame
from robocache_ros import encode
from robocache_ros.examples.network import Network
from robocache_ros.examples.policy import PolicyNode
from robocache_ros.local_frames import LocalFrames
from robocache_ros.subscriber import InProcessSubscriber


@pytest.fixture
def robot():
    with Robot(**LIDAR) as made:
        yield made


def test_the_frame_is_the_one_that_was_computed(robot, monkeypatch):
    made, taken = [], []
    robot.bring_up()
    poll = robot.node.pipeline.poll

    def watched(*args, **kwargs):
        frames = poll(*args, **kwargs)
        made.extend((frame, [tensor.data_ptr() for tensor in frame.tensors.values()]) for frame in frames)
        return frames

    monkeypatch.setattr(robot.node.pipeline, 'poll', watched)
    subscriber = InProcessSubscriber(robot.peer, lambda frame: taken.append((frame, threading.get_ident())), robot.node)
    for ms in (0, 100, 200):
        robot.deliver('lidar', messages.cloud(ms))
    robot.until(lambda: len(taken) == 3, 'three frames')
    for (frame, thread), (computed, pointers) in zip(taken, made, strict=True):
        assert frame is computed
        assert [tensor.data_ptr() for tensor in frame.tensors.values()] == pointers
        assert thread == robot.thread.ident  # as a subscription's callback
    assert (subscriber.received, subscriber.missed) == (3, 0)


def test_nothing_is_encoded_for_it(robot, monkeypatch):
    robot.fused.destroy()
    robot.until(lambda: robot.node.count_subscribers('/preprocess/fused') == 0, 'the subscriber to be gone')
    monkeypatch.setattr(encode.payload, 'write', lambda *_: pytest.fail('a frame was encoded'))
    taken = []
    InProcessSubscriber(robot.peer, taken.append, robot.node)
    robot.bring_up()
    robot.deliver('lidar', messages.cloud(0))
    robot.until(lambda: taken, 'a frame')
    assert robot.values('output')['subscribers'] == '1'


def test_it_outlives_the_pipeline_and_ends_when_destroyed(robot):
    taken = []
    subscriber = InProcessSubscriber(robot.peer, taken.append, robot.node)
    for lap in (1, 2):
        robot.bring_up()
        robot.deliver('lidar', messages.cloud(0))
        robot.until(lambda lap=lap: len(taken) == lap, 'a frame')
        robot.node.trigger_deactivate()
        robot.node.trigger_cleanup()
    assert subscriber.missed == 0  # a pipeline that was started again
    subscriber.destroy()
    robot.bring_up()
    robot.deliver('lidar', messages.cloud(0))
    robot.until(lambda: len(robot.frames) == 3, 'the frame over DDS')
    assert len(taken) == 2


class StandIn:
    """A node, and its guard condition, which is served when the test says so."""

    def __init__(self):
        self.local_frames = LocalFrames()
        self.is_triggered = False

    def create_guard_condition(self, callback):
        self.callback = callback
        return self

    def trigger(self):
        self.is_triggered = True

    def serve(self):
        """What an executor does in one round; returns whether there was anything to do."""
        was_triggered, self.is_triggered = self.is_triggered, False
        if was_triggered:
            self.callback()
        return was_triggered

    def destroy_guard_condition(self, condition):
        pass


FRAME = FusedFrame(stamp_ns=1, epoch=0, sequence=0, frame_id='', tensors={'a': torch.zeros(1)}, valid={}, age_ns={})


def test_a_consumer_that_is_slow_misses_the_oldest_frames_and_knows():
    node, taken = StandIn(), []
    subscriber = InProcessSubscriber(node, taken.append, node, depth=2)
    for sequences in (range(3), range(3, 7)):
        for sequence in sequences:
            node.local_frames.hand_over(dataclasses.replace(FRAME, sequence=sequence))
        while node.serve():
            pass
    assert [frame.sequence for frame in taken] == [1, 2, 5, 6]
    assert (subscriber.received, subscriber.missed) == (4, 2)


def test_a_frame_at_a_time_whatever_waits_and_whatever_the_callback_raises():
    """The executor's other callbacks get their turn between two frames."""
    node, taken = StandIn(), []

    def take(frame):
        taken.append(frame.sequence)
        if frame.sequence == 1:
            raise ValueError('the consumer failed')

    InProcessSubscriber(node, take, node)
    for sequence in range(3):
        node.local_frames.hand_over(dataclasses.replace(FRAME, sequence=sequence))
    assert node.serve()
    assert taken == [0]
    with pytest.raises(ValueError, match='the consumer failed'):
        node.serve()
    assert node.serve()
    assert not node.serve()
    assert taken == [0, 1, 2]


def test_what_waits_when_it_is_destroyed_is_let_go():
    node, taken = StandIn(), []
    subscriber = InProcessSubscriber(node, taken.append, node)
    node.local_frames.hand_over(FRAME)
    subscriber.destroy()
    assert node.serve()
    assert taken == []


def test_a_queue_without_room_is_refused():
    node = StandIn()
    with pytest.raises(ValueError, match='depth = 0: must be at least 1'):
        InProcessSubscriber(node, print, node, depth=0)
    assert len(node.local_frames) == 0


def test_a_consumer_whose_node_is_gone_costs_nobody_a_frame(robot):
    gone, taken = rclpy.create_node('gone'), []
    InProcessSubscriber(gone, print, robot.node)
    InProcessSubscriber(robot.peer, taken.append, robot.node)
    robot.bring_up()
    gone.destroy_node()
    for ms in (0, 100, 200):
        robot.deliver('lidar', messages.cloud(ms))
    robot.until(lambda: len(taken) == len(robot.frames) == 3, 'all frames, both ways')
    assert robot.node.runtime.metrics.failures == 0
    assert len(robot.node.local_frames) == 1


def test_consumers_come_and_go_while_frames_are_handed_over():
    local, taken = LocalFrames(), []
    second = taken.append

    def first(frame):
        local.remove(first)
        local.add(second)

    local.add(first)
    local.hand_over(FRAME)
    assert taken == []
    local.hand_over(FRAME)
    assert taken == [FRAME]
    assert len(local) == 1


# ---- the example ----------------------------------------------------------------------------------------------------


def test_the_example_drives_and_stops_where_a_stream_is_not_valid():
    with Robot(**LIDAR | {'imus': ['imu'], 'imu__window_size': 1, 'imu__required': False}) as robot:
        robot.bring_up()
        policy = PolicyNode(robot.node, 'lidar', 'imu')
        commands = []
        robot.peer.create_subscription(Twist, '/policy/cmd_vel', commands.append, 10)
        robot.executor.add_node(policy)
        robot.until(lambda: policy.count_subscribers('/policy/cmd_vel') == 1, 'the subscription')
        for ms in (0, 10):
            robot.publish('/imu', messages.imu(ms))
        robot.deliver('lidar', messages.cloud(0))
        robot.until(lambda: len(commands) == 1, 'a command')
        assert 0 < abs(commands[0].linear.x) <= 1
        for ms in (1000, 2000, 3000):  # of which the IMU says nothing
            robot.deliver('lidar', messages.cloud(ms))
        robot.until(lambda: len(commands) > 1, 'another one')
        assert commands[1] == Twist()
        robot.executor.remove_node(policy)
        policy.destroy_node()
        assert len(robot.node.local_frames) == 0


@pytest.mark.parametrize('num_voxels', [0, 1, 7])
def test_the_network_takes_any_number_of_voxels(num_voxels):
    network = Network('lidar', 'imu')
    out = network({'lidar.features': torch.ones(num_voxels, 5), 'imu': torch.zeros(10, 6)})
    assert out.shape == (2,)
    assert out.isfinite().all()
