# SPDX-License-Identifier: Apache-2.0
"""The example of a policy in a process of its own: what it makes of frames that come, come too fast, or do not come."""

import dataclasses
import threading
import time

import pytest
import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import Twist
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.serialization import deserialize_message
from std_msgs.msg import UInt8MultiArray
from support.statuses import values

from robocache_core.frame import FusedFrame
from robocache_ros import encode, qos
from robocache_ros.examples.remote_policy import PolicyNode

FRAME = FusedFrame(
    stamp_ns=0,
    epoch=0,
    sequence=0,
    frame_id='base_link',
    tensors={'lidar.features': torch.ones(7, 5), 'imu': torch.zeros(10, 6)},
    valid={'lidar': True, 'imu': True},
    age_ns={'lidar': 0, 'imu': 0},
)
SPEED = 0.25


class Held(torch.nn.Module):
    """A network that is as slow as the test wants it."""

    def __init__(self):
        super().__init__()
        self.runs, self.asked, self.go_on = [], threading.Semaphore(0), threading.Semaphore(0)

    def forward(self, tensors):
        self.runs.append(tensors['imu'][0, 0].item())
        self.asked.release()
        self.go_on.acquire()
        return torch.tensor([SPEED, 0.0])


class Failing(torch.nn.Module):
    def forward(self, tensors):
        raise RuntimeError('mat1 and mat2 shapes cannot be multiplied')


class Bench:
    """The policy, a publisher of its frames, and what it publishes."""

    def __init__(self, **parameters):
        rclpy.init()
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        self.policy, self.peer = PolicyNode(parameter_overrides=overrides), rclpy.create_node('peer')
        self.policy.network = self.network = Held()
        self.commands, self.statuses = [], []
        self.frames = self.peer.create_publisher(UInt8MultiArray, '/preprocess/fused', qos.reliable(depth=100))
        self.peer.create_subscription(Twist, '/policy/cmd_vel', self.commands.append, 100)
        self.peer.create_subscription(DiagnosticArray, '/diagnostics', self._diagnosed, 100)
        self.executor = SingleThreadedExecutor()
        for node in (self.policy, self.peer):
            self.executor.add_node(node)
        self.until(lambda: self.peer.count_publishers('/policy/cmd_vel') and self.frames.get_subscription_count())

    def _diagnosed(self, message):
        self.statuses += message.status

    def send(self, sequence, *, age_s=0.0, **changes):
        stamp_ns = self.peer.get_clock().now().nanoseconds - int(age_s * 1e9)
        tensors = FRAME.tensors | {'imu': torch.full((10, 6), float(sequence))}
        frame = dataclasses.replace(FRAME, **{'stamp_ns': stamp_ns, 'sequence': sequence, 'tensors': tensors} | changes)
        self.frames.publish(deserialize_message(bytes(encode.encode_fused(frame)), UInt8MultiArray))

    def until(self, done, timeout_s=60.0):
        end = time.monotonic() + timeout_s
        while not done():
            assert time.monotonic() < end, (self.commands, self.statuses)
            self.executor.spin_once(timeout_sec=0.02)

    def counted(self, **counts):
        """Wait for a report that has ``counts``; the first such."""
        wanted = {(name.replace('__', '.'), str(count)) for name, count in counts.items()}

        def found():
            return [status for status in self.statuses if wanted <= values(status).items()]

        self.until(found)
        return found()[0]

    def end_policy(self):
        self.network.go_on.release(1000)
        self.executor.remove_node(self.policy)
        self.policy.destroy_node()

    def close(self):
        if self.policy in self.executor.get_nodes():
            self.end_policy()
        self.executor.shutdown()
        self.peer.destroy_node()
        rclpy.shutdown()


@pytest.fixture
def make_bench():
    made = []

    def make(**parameters):
        made.append(Bench(**parameters))
        return made[0]

    yield make
    for bench in made:
        bench.close()


def test_a_slow_network_acts_on_the_newest_frame_and_counts_those_it_skips(make_bench):
    bench = make_bench(max_age=60.0)
    bench.send(0)
    bench.until(lambda: bench.network.asked.acquire(blocking=False))
    for sequence in range(1, 20):  # while it works on the first
        bench.send(sequence)
        bench.until(lambda n=sequence: bench.policy._frames.received == n + 1)
    bench.network.go_on.release(2)
    bench.counted(driven=2, skipped=18, missed=0)
    assert any('skipped' in status.message and status.level == DiagnosticStatus.WARN for status in bench.statuses)
    assert bench.network.runs == [0.0, 19.0]
    assert [command.linear.x for command in bench.commands] == [SPEED, SPEED]


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        ({'age_s': 61.0}, 'too_old'),
        ({'valid': {'lidar': True, 'imu': False}}, 'not_valid'),
        ({'tensors': {'imu': torch.zeros(10, 6)}}, 'lacks_tensors'),
    ],
    ids=['old', 'not valid', 'without the lidar'],
)
def test_a_frame_that_cannot_be_driven_by_stops_the_robot(make_bench, change, reason):
    bench = make_bench(max_age=60.0)
    bench.send(0, **change)
    status = bench.counted(**{f'stopped__{reason}': 1})
    assert bench.commands == [Twist()]
    assert bench.network.runs == []
    assert (status.level, status.message) == (DiagnosticStatus.WARN, f'1 stopped.{reason}')


def test_a_network_that_fails_stops_the_robot_and_is_said(make_bench):
    bench = make_bench(max_age=60.0)
    bench.policy.network = Failing()
    for sequence in range(2):
        bench.send(sequence)
        bench.until(lambda n=sequence: len(bench.commands) == n + 1)
    assert bench.commands == [Twist(), Twist()]
    assert bench.counted(stopped__failed=2).level == DiagnosticStatus.WARN


def test_where_no_frame_comes_the_robot_is_stopped(make_bench):
    bench = make_bench(max_age=0.05)
    bench.until(lambda: len(bench.commands) > 2)
    assert bench.commands[:3] == [Twist()] * 3
    bench.until(lambda: bench.statuses)
    assert 'stopped.no_frame' in bench.statuses[0].message


def test_what_is_lost_on_the_way_and_what_is_no_frame_is_counted(make_bench):
    bench = make_bench(max_age=60.0)
    bench.network.go_on.release(10)
    bench.send(0)
    bench.send(4)
    bench.frames.publish(UInt8MultiArray(data=b'no frame'))
    assert bench.counted(missed=3, bad_payloads=1).level == DiagnosticStatus.WARN


def test_it_stops_the_robot_when_it_ends(make_bench):
    bench = make_bench(max_age=60.0)
    bench.network.go_on.release()
    bench.send(0)
    bench.until(lambda: bench.commands)
    bench.end_policy()
    bench.until(lambda: len(bench.commands) > 1)
    assert bench.commands[-1] == Twist()
