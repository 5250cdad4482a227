# SPDX-License-Identifier: Apache-2.0
"""Stands for a sensor's driver: publishes what a simulated robot's sensor measures, as it measures it.

    python -m robocache_ros.examples.driver lidar --start $(date +%s)

The robot drives through a courtyard, as that of ``simulate``: /lidar/points, /imu/data, /camera/{front,rear}. Drivers
with the same ``--start`` are on one robot.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time

import rclpy
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.signals import SignalHandlerOptions

from robocache_ros.examples.ending import set_by_signals
from robocache_ros.message_types import installed
from robocache_ros.tools.recording import PARTS, TYPESTORE, recorded_messages
from robocache_sim import sensors

#: Lidar rays in a column: few, so that a machine of two cores measures them as they are due.
_RINGS = 16
_YEAR_S = 365 * 86400.0
#: A driver that starts late, or is not given the CPU, does not make up for it.
_OVERDUE_S = 0.2


class Driver(Node):  # type: ignore[misc]  # rclpy has no types
    """Publishes what one sensor of ``robot`` measures; what is overdue is left out, and logged."""

    def __init__(self, sensor: str, robot: sensors.Robot) -> None:
        super().__init__(f'{sensor}_driver')
        self._sensor, self._robot = sensor, robot
        self._made: dict[str, Publisher] = {}

    def drive(self, ending: threading.Event) -> None:
        """Publish each message when it is recorded, by the machine's clock, until ``ending`` is set."""
        while not ending.is_set():
            overdue_s = self._drive(ending)
            if overdue_s:
                self.get_logger().warning(
                    f'{overdue_s:.1f} s of {self._sensor} are overdue, and left out: this machine does not keep up',
                    throttle_duration_sec=10.0,
                )

    def _drive(self, ending: threading.Event) -> float:
        """Publish for a year, the first reading however late; returns by how much a later one is overdue, else 0."""
        without = set(PARTS) - {self._sensor}
        now_ns = time.time_ns()
        since_s = (now_ns - self._robot.world.trajectory.start_ns) / sensors.SECOND_NS
        messages = recorded_messages(self._robot, since_s + _YEAR_S, without=without, begin_ns=now_ns)
        for number, (record_ns, topic, message) in enumerate(messages):
            publisher = self._made.get(topic) or self._make(topic, message.__msgtype__)
            until_due_s = (record_ns - time.time_ns()) / 1e9
            if ending.wait(max(0.0, until_due_s)):
                break
            if number and until_due_s < -_OVERDUE_S:
                return -until_due_s
            publisher.publish(bytes(TYPESTORE.serialize_cdr(message, message.__msgtype__)))
        return 0.0

    def _make(self, topic: str, msgtype: str) -> Publisher:
        self._made[topic] = self.create_publisher(installed(msgtype), topic, 5)
        return self._made[topic]


def main() -> int:
    """Run the driver until a signal ends it; returns the exit status."""
    parser = argparse.ArgumentParser(prog='driver', description='publishes what a simulated sensor measures')
    parser.add_argument('sensor', choices=sorted(set(PARTS) - {'tf'}))
    parser.add_argument('--start', type=float, default=time.time(), help='when the robot sets out, s since 1970 (now)')
    args = parser.parse_args()
    ending = set_by_signals()
    robot = sensors.robot(lidar_rings=_RINGS, start_ns=round(args.start * sensors.SECOND_NS))
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    driver = Driver(args.sensor, robot)
    driver.drive(ending)
    driver.destroy_node()
    rclpy.shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
