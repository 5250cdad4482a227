# SPDX-License-Identifier: Apache-2.0
"""The sensors' drivers: publishes the robot's messages on time, at a multiple of their rates that an order can change.

python -m benchmark.endurance.player
"""

from __future__ import annotations

import json
import sys
import threading
import time

import rclpy

from benchmark.endurance import robot
from benchmark.node import subject
from benchmark.node.topics import sensor_data
from robocache_core.units import SECOND


def main() -> None:
    """Wait for the node, then publish until stdin ends; an order is a line such as ``{"factor": 10}``."""
    node, messages = subject.start('player'), robot.Messages()
    publishers = {
        name: node.create_publisher(kind, f'/{name}', sensor_data(10)) for name, kind in robot.MESSAGE_TYPES.items()
    }
    subject.wait_matched(lambda: all(each.get_subscription_count() for each in publishers.values()))
    orders = _Orders()
    subject.say('ready')
    begin_s = time.monotonic()
    while not orders.over.is_set():
        factor = orders.factor
        for number, (offset_ns, name) in enumerate(robot.second()):
            due_s = begin_s + offset_ns / SECOND / factor
            time.sleep(max(0.0, due_s - time.monotonic()))
            publishers[name].publish(messages.stamped(name, number, time.time_ns()))
        begin_s += 1 / factor
        if factor != orders.factor:
            begin_s = time.monotonic()
    rclpy.shutdown()


class _Orders:
    """Reads stdin on a thread."""

    def __init__(self) -> None:
        self.factor, self.over = 1.0, threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin:
            self.factor = float(json.loads(line)['factor'])
        self.over.set()


if __name__ == '__main__':
    main()
