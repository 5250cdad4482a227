# SPDX-License-Identifier: Apache-2.0
"""The floor of any node between the sensors and a consumer: it computes nothing.

python -m benchmark.node.relay BYTES [BYTES ...]

When a frame's messages are there it publishes a message that is ready, of as many bytes as the node's fused frame; its
first eight are the stamp.
"""

from __future__ import annotations

import array
import itertools
import struct
import sys
import time

from std_msgs.msg import UInt8MultiArray

from benchmark.node import subject
from benchmark.node.exact import ExactFrames
from benchmark.node.records import Records
from benchmark.node.topics import READY_TOPIC, Arrival, reliable


def main() -> None:
    """Relay until the end."""
    node, records = subject.start('relay'), Records()
    publisher = node.create_publisher(UInt8MultiArray, READY_TOPIC, reliable())
    messages = itertools.cycle([_message(int(size)) for size in sys.argv[1:]])

    def on_frame(stamp_ns: int, arrival: Arrival) -> None:
        message = next(messages)
        struct.pack_into('<q', message.data, 0, stamp_ns)
        publisher.publish(message)
        records.add(stamp_ns, time.time_ns(), arrival)

    frames = ExactFrames(node, on_frame)
    subject.serve(
        [node],
        is_matched=lambda: subject.have_publishers(frames.subscriptions) and publisher.get_subscription_count() == 1,
        is_done=records.has,
        result=records.result,
    )


def _message(size: int) -> UInt8MultiArray:
    message = UInt8MultiArray()
    message.data = array.array('B', bytes(size))
    return message


if __name__ == '__main__':
    main()
