# SPDX-License-Identifier: Apache-2.0
"""The process that gets the result of another: of the relay, or of the node.

python -m benchmark.node.consumer relay|node|ledger
"""

from __future__ import annotations

import struct
import sys
import time
from typing import Any

from benchmark.node import subject
from benchmark.node.records import Records
from benchmark.node.topics import READY_TOPIC, Arrival, reliable


def main() -> None:
    """Receive until the end."""
    {'relay': _of_relay, 'node': _of_node, 'ledger': _of_ledger}[sys.argv[1]]()


def _of_relay() -> None:
    from std_msgs.msg import UInt8MultiArray

    node, records = subject.start('consumer'), Records()

    def on_message(message: Any, info: Any) -> None:
        now_ns = time.time_ns()
        (stamp_ns,) = struct.unpack_from('<q', message.data)
        records.add(stamp_ns, now_ns, Arrival.of(info, now_ns))

    subscription = node.create_subscription(UInt8MultiArray, READY_TOPIC, on_message, reliable())
    subject.serve(
        [node],
        is_matched=lambda: subject.have_publishers([subscription]),
        is_done=records.has,
        result=records.result,
    )


def _of_node() -> None:
    # Here, as it imports torch, which the relay's consumer can do without.
    from benchmark.node.diagnostics import LastDiagnostics
    from robocache_ros.subscriber import FusedFrame, FusedSubscriber

    node, records = subject.start('consumer'), Records()

    def on_frame(frame: FusedFrame) -> None:
        records.add(frame.stamp_ns, time.time_ns())

    FusedSubscriber(node, on_frame)
    last = LastDiagnostics(node)
    subject.serve(
        [node],
        is_matched=lambda: node.count_publishers('/preprocess/fused') == 1 and last.num_subscribers == 1,
        is_done=lambda stamp_ns: records.has(stamp_ns) and last.received_ns > records.complete_ns(stamp_ns),
        result=lambda: records.result() | last.result(),
    )


def _of_ledger() -> None:
    """How many frames came, and what the node counts of its streams once all that was sent has come."""
    from benchmark.node.diagnostics import LastDiagnostics
    from robocache_ros.subscriber import FusedFrame, FusedSubscriber

    node, stamps = subject.start('consumer'), []

    def on_frame(frame: FusedFrame) -> None:
        stamps.append(frame.stamp_ns)

    FusedSubscriber(node, on_frame)
    last = LastDiagnostics(node)
    subject.serve(
        [node],
        is_matched=lambda: node.count_publishers('/preprocess/fused') == 1 and last.num_subscribers == 1,
        is_done=lambda sent_ns: last.received_ns > sent_ns,
        result=lambda: {'frames': len(stamps), 'streams': last.streams()},
    )


if __name__ == '__main__':
    main()
