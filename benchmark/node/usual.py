# SPDX-License-Identifier: Apache-2.0
"""The node that people write themselves: an approximate synchronizer, then all the work in its callback.

The three images are prepared on threads of their own, as OpenCV lets others run meanwhile. The result stays in the
process, as tensors.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from rclpy.node import Node

from benchmark.node import subject, usual_work
from benchmark.node.approximate import ApproximateSets
from benchmark.node.records import Records
from benchmark.node.topics import (
    CAMERA_TOPICS,
    FRAME_DEPTH,
    FRAME_TOPICS,
    IMU_DEPTH,
    IMU_TOPICS,
    Arrival,
    sensor_data,
    stamp_ns,
)

try:
    import message_filters

    SETS_BY = 'message_filters ApproximateTimeSynchronizer'
except ImportError:
    message_filters = None
    SETS_BY = 'an approximate match by the rule of message_filters, which is not installed'

#: Half of the time between two frames at 40 Hz is more.
_SLOP_NS = 10_000_000


class Usual:
    """Subscribes on ``node``; the tensors of the last frame are in ``tensors``."""

    def __init__(self, node: Node) -> None:
        self.records = Records()
        self.how = f'{SETS_BY}; {usual_work.POINTS_BY}'
        self.tensors: dict[str, Any] = {}
        self._window = usual_work.ImuWindow()
        self._threads = ThreadPoolExecutor(len(CAMERA_TOPICS))
        self._arrival: Arrival | None = None
        self.subscriptions = self._synchronize(node)
        self.subscriptions += [
            node.create_subscription(message, topic, self._on_imu, sensor_data(IMU_DEPTH))
            for topic, message in IMU_TOPICS.items()
        ]

    def _synchronize(self, node: Node) -> list[Any]:
        if message_filters is not None:
            inputs = [
                message_filters.Subscriber(node, message, topic, qos_profile=sensor_data(FRAME_DEPTH))
                for topic, message in FRAME_TOPICS.items()
            ]
            self._sets = message_filters.ApproximateTimeSynchronizer(inputs, FRAME_DEPTH, _SLOP_NS * 1e-9)
            self._sets.registerCallback(self._on_set)
            return [each.sub for each in inputs]
        sets = ApproximateSets(tuple(FRAME_TOPICS), FRAME_DEPTH, _SLOP_NS, self._on_set)
        return [
            node.create_subscription(message, topic, self._add_to(sets, topic), sensor_data(FRAME_DEPTH))
            for topic, message in FRAME_TOPICS.items()
        ]

    def _add_to(self, sets: ApproximateSets, topic: str) -> Callable[[Any, Any], None]:
        def callback(message: Any, info: Any) -> None:
            self._arrival = Arrival.of(info, time.time_ns())
            sets.add(topic, message)

        return callback

    def _on_imu(self, message: Any) -> None:
        self._window.add(stamp_ns(message), message)

    def _on_set(self, cloud: Any, *images: Any) -> None:
        pending = [self._threads.submit(usual_work.image, message) for message in images]
        coords, features, counts = usual_work.voxels(cloud)
        window = self._window.at(stamp_ns(cloud))
        prepared: list[torch.Tensor] = [each.result() for each in pending]
        if window is None:
            return
        self.tensors = {'lidar': (coords, features, counts), 'images': prepared, 'imu': window}
        self.records.add(stamp_ns(cloud), time.time_ns(), self._arrival)


def main() -> None:
    """Work until the end."""
    node = subject.start('usual')
    usual = Usual(node)
    subject.serve(
        [node],
        is_matched=lambda: subject.have_publishers(usual.subscriptions),
        is_done=usual.records.has,
        result=lambda: usual.records.result() | {'how': usual.how},
    )


if __name__ == '__main__':
    main()
