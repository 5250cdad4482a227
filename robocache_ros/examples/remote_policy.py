# SPDX-License-Identifier: Apache-2.0
"""A policy in a process of its own: it acts on the newest frame, and states what it could not keep up with.

    python -m robocache_ros.examples.remote_policy --ros-args -p lidar:=lidar -p imu:=imu

Frames are taken off DDS as fast as they come and wait in a place for one, so that a slow network skips frames instead
of acting on old ones. It publishes ``~/cmd_vel`` (geometry_msgs/Twist), and stops the robot where no frame came for
``max_age`` seconds, a frame is older than that, a stream in it is not valid, it lacks what the network needs, or the
network fails. Each second a status on ``/diagnostics`` counts what became of every frame: driven, stopped by reason,
skipped, missed.

The network is not trained: put yours in its place. On the clock of a bag, set ``use_sim_time``.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections import Counter

import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import Twist
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from robocache_ros.examples.ending import set_by_signals
from robocache_ros.examples.network import Network
from robocache_ros.subscriber import FusedFrame, FusedSubscriber


class Newest:
    """A place for one frame: a newer one takes the place of one that waits.

    Attributes:
        skipped: frames whose place was taken before they were.
    """

    def __init__(self) -> None:
        self.skipped = 0
        self._frame: FusedFrame | None = None
        self._ended = False
        self._changed = threading.Condition()

    def put(self, frame: FusedFrame) -> None:
        """Leave ``frame`` to be taken."""
        with self._changed:
            self.skipped += self._frame is not None
            self._frame = frame
            self._changed.notify()

    def take(self, timeout_s: float) -> FusedFrame | None:
        """Return the newest frame, as soon as there is one; None where none comes within ``timeout_s``."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None or self._ended, timeout_s)
            frame, self._frame = self._frame, None
            return frame

    def end(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._ended = True
            self._changed.notify()


class PolicyNode(Node):  # type: ignore[misc]  # rclpy has no types
    """Drives by the frames of a node, on a thread of its own.

    Parameters: ``frames``, their topic; ``lidar`` and ``imu``, the streams that the network takes; ``max_age`` [s], of
    the newest frame.
    """

    def __init__(self, **options: object) -> None:
        super().__init__('policy', **options)
        self._lidar, self._imu, self._max_age_s = (
            self.declare_parameter(name, default).value
            for name, default in (('lidar', 'lidar'), ('imu', 'imu'), ('max_age', 0.5))
        )
        self.network: torch.nn.Module = Network(self._lidar, self._imu)
        self._newest, self._outcomes, self._reported = Newest(), Counter[str](), Counter[str]()
        self._publisher = self.create_publisher(Twist, '~/cmd_vel', 1)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        topic = self.declare_parameter('frames', '/preprocess/fused').value
        self._frames = FusedSubscriber(self, self._newest.put, topic)
        self.create_timer(1.0, self._report)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name='policy')
        self._thread.start()

    def destroy_node(self) -> None:
        """Stop the robot, and end."""
        self._ending.set()
        self._newest.end()
        self._thread.join()
        self._publisher.publish(Twist())
        super().destroy_node()

    def _run(self) -> None:
        is_fed = False
        while not self._ending.is_set():
            frame = self._newest.take(self._max_age_s)
            if frame is not None and not is_fed:
                self.get_logger().info('the first frame has come')
                is_fed = True
            obstacle = self._obstacle(frame)
            command = Twist()  # stop
            if frame is not None and obstacle is None:
                try:
                    with torch.inference_mode():
                        command.linear.x, command.angular.z = self.network(frame.tensors).tolist()
                except Exception:
                    obstacle = 'failed'
                    self.get_logger().error(traceback.format_exc(), throttle_duration_sec=10.0)
            self._publisher.publish(command)
            self._outcomes[f'stopped.{obstacle}' if obstacle else 'driven'] += 1

    def _obstacle(self, frame: FusedFrame | None) -> str | None:
        """Return what forbids to drive by ``frame``; None: nothing does."""
        if frame is None:
            return 'no_frame'
        if self.get_clock().now().nanoseconds - frame.stamp_ns > self._max_age_s * 1e9:
            return 'too_old'
        if not {f'{self._lidar}.features', self._imu} <= frame.tensors.keys():
            return 'lacks_tensors'
        return None if all(frame.valid.values()) else 'not_valid'

    def _report(self) -> None:
        """Publish the counts, and warn of what was stopped or lost since the last report."""
        counts = Counter(self._outcomes)
        counts.update(skipped=self._newest.skipped, missed=self._frames.missed, bad_payloads=self._frames.bad_payloads)
        new = {name: count for name, count in (counts - self._reported).items() if name != 'driven'}
        self._reported = counts
        status = DiagnosticStatus(name=f'{self.get_name()}: frames', level=DiagnosticStatus.OK, message='driving')
        if new:
            status.level = DiagnosticStatus.WARN
            status.message = ', '.join(f'{count} {name}' for name, count in sorted(new.items()))
        status.values = [KeyValue(key=name, value=str(count)) for name, count in sorted(counts.items())]
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def main() -> int:
    """Run the node until a signal ends it; returns the exit status."""
    ending = set_by_signals()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)  # its own would end rclpy before the robot is stopped
    node, executor = PolicyNode(), SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while not ending.is_set():
            executor.spin_once(timeout_sec=0.1)
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
