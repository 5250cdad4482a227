# SPDX-License-Identifier: Apache-2.0
"""A bare rclpy subscriber of the topics: a frame is complete when all its large messages are there."""

from __future__ import annotations

import time

from benchmark.node import subject
from benchmark.node.exact import ExactFrames
from benchmark.node.records import Records
from benchmark.node.topics import Arrival


def main() -> None:
    """Receive until the end."""
    node, records = subject.start('bare'), Records()

    def on_frame(stamp_ns: int, arrival: Arrival) -> None:
        records.add(stamp_ns, time.time_ns(), arrival)

    frames = ExactFrames(node, on_frame)
    subject.serve(
        [node],
        is_matched=lambda: subject.have_publishers(frames.subscriptions),
        is_done=records.has,
        result=records.result,
    )


if __name__ == '__main__':
    main()
