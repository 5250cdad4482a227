# SPDX-License-Identifier: Apache-2.0
"""The node and a consumer in one process, on one executor: the frame itself is handed over.

python -m benchmark.node.in_process PARAMS
"""

from __future__ import annotations

import sys
import time

import rclpy
from rclpy.lifecycle import TransitionCallbackReturn

from benchmark.node import subject
from benchmark.node.diagnostics import LastDiagnostics
from benchmark.node.records import Records
from benchmark.node.topics import FRAME_TOPICS, IMU_TOPICS
from robocache_ros.node import PreprocessNode
from robocache_ros.subscriber import FusedFrame, InProcessSubscriber


def main() -> None:
    """Receive until the end."""
    consumer = subject.start('consumer', ['--ros-args', '--params-file', sys.argv[1]])
    preprocess, records = PreprocessNode(), Records()
    success = TransitionCallbackReturn.SUCCESS
    if preprocess.trigger_configure() != success or preprocess.trigger_activate() != success:
        sys.exit('the node refused its configuration: its log says why')

    def on_frame(frame: FusedFrame) -> None:
        records.add(frame.stamp_ns, time.time_ns())

    InProcessSubscriber(consumer, on_frame, preprocess)
    last = LastDiagnostics(consumer)
    try:
        subject.serve(
            [preprocess, consumer],
            is_matched=lambda: all(preprocess.count_publishers(topic) == 1 for topic in (*FRAME_TOPICS, *IMU_TOPICS)),
            is_done=lambda stamp_ns: records.has(stamp_ns) and last.received_ns > records.complete_ns(stamp_ns),
            result=lambda: records.result() | last.result(),
        )
    finally:
        preprocess.release()
        rclpy.try_shutdown()


if __name__ == '__main__':
    main()
