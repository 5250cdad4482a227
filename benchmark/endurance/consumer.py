# SPDX-License-Identifier: Apache-2.0
"""A consumer of the fused frames; reports once a second what it got and what the node says of its queues and its GPU.

python -m benchmark.endurance.consumer NAME [SLOW_S]      SLOW_S: what it does with each frame takes so long
"""

from __future__ import annotations

import sys
import threading
import time

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor
from std_msgs.msg import UInt32

from benchmark.node import subject
from robocache_ros.subscriber import FusedFrame, FusedSubscriber


class Seconds:
    """What a second saw."""

    def __init__(self, slow_s: float) -> None:
        self._slow_s = slow_s
        self._latencies_ms: list[float] = []
        self._depth = self._keep_every = 0
        self._device_bytes: int | None = None

    def frame(self, frame: FusedFrame) -> None:
        self._latencies_ms.append((time.time_ns() - frame.stamp_ns) / 1e6)
        time.sleep(self._slow_s)

    def depth(self, message: UInt32) -> None:
        self._depth = max(self._depth, message.data)

    def backpressure(self, message: DiagnosticStatus) -> None:
        values = {pair.key: pair.value for pair in message.values}
        self._keep_every = max(self._keep_every, int(values['keep_every']))

    def diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            if 'memory.allocated' in values:
                self._device_bytes = int(values['memory.allocated']) + int(values['memory.scratch'])

    def report(self, missed: int) -> None:
        """Say what was seen since the last report."""
        latencies, depth, keep_every = sorted(self._latencies_ms), self._depth, self._keep_every
        self._latencies_ms, self._depth, self._keep_every = [], 0, 0
        subject.say(
            'second',
            frames=len(latencies),
            median_ms=round(latencies[len(latencies) // 2], 1) if latencies else None,
            worst_ms=round(latencies[-1], 1) if latencies else None,
            depth=depth,
            keep_every=keep_every,
            missed=missed,
            device_bytes=self._device_bytes,
        )


def main() -> None:
    """Receive until stdin ends."""
    node = subject.start(sys.argv[1])
    seconds = Seconds(float(sys.argv[2]) if len(sys.argv) > 2 else 0.0)
    fused = FusedSubscriber(node, seconds.frame)
    node.create_subscription(UInt32, '/preprocess/queue_depth', seconds.depth, 10)
    node.create_subscription(DiagnosticStatus, '/preprocess/backpressure', seconds.backpressure, 10)
    node.create_subscription(DiagnosticArray, '/diagnostics', seconds.diagnostics, 10)
    node.create_timer(1.0, lambda: seconds.report(fused.missed))
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    over = threading.Event()

    def read() -> None:
        subject.hear()
        over.set()
        executor.create_task(lambda: None)

    threading.Thread(target=read, daemon=True).start()
    while not over.is_set():
        executor.spin_once()
    rclpy.shutdown()


if __name__ == '__main__':
    main()
