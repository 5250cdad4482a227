# SPDX-License-Identifier: Apache-2.0
"""The cheapest way to know that a frame's messages are all there: they have the very same stamp."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.node import Node

from benchmark.node.topics import (
    FRAME_DEPTH,
    FRAME_TOPICS,
    IMU_DEPTH,
    IMU_TOPICS,
    Arrival,
    sensor_data,
    stamp_ns,
)

#: Frames that may wait for their messages.
_WAITING = 32


class ExactFrames:
    """Subscribes to all topics on ``node``, and calls ``on_frame(stamp_ns, arrival of the last message)``.

    The IMU is received, and nothing is done with it.
    """

    def __init__(self, node: Node, on_frame: Callable[[int, Arrival], None]) -> None:
        self._on_frame = on_frame
        self._waiting: dict[int, dict[str, Any]] = {}
        self.subscriptions = [
            node.create_subscription(message, topic, self._take(topic), sensor_data(FRAME_DEPTH))
            for topic, message in FRAME_TOPICS.items()
        ]
        self.subscriptions += [
            node.create_subscription(message, topic, lambda message: None, sensor_data(IMU_DEPTH))
            for topic, message in IMU_TOPICS.items()
        ]

    def _take(self, topic: str) -> Callable[[Any, Any], None]:
        def callback(message: Any, info: Any) -> None:
            called_ns, stamp = time.time_ns(), stamp_ns(message)
            frame = self._waiting.setdefault(stamp, {})
            frame[topic] = message
            if len(frame) == len(FRAME_TOPICS):
                del self._waiting[stamp]
                self._on_frame(stamp, Arrival.of(info, called_ns))
            elif len(self._waiting) > _WAITING:
                del self._waiting[min(self._waiting)]

        return callback
