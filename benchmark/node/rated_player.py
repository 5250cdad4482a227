# SPDX-License-Identifier: Apache-2.0
"""One sensor's driver: publishes the prepared messages of a topic at a rate.

python -m benchmark.node.rated_player TOPIC TYPE --folder FOLDER --rate HZ --seconds S

The stamp of a message is the moment at which it is due; how late it was published is reported.
"""

from __future__ import annotations

import argparse
import time
from array import array
from pathlib import Path

import rclpy

from benchmark.node import subject
from benchmark.node.player import Track, claim_priority, sleep_until
from robocache_ros.message_types import installed


def main(args: list[str] | None = None) -> None:
    """Wait for the subscriber, then for the order to begin; publish, and report how many and how late that was."""
    options = _parser().parse_args(args)
    node = subject.start(f'player_of_{options.topic.strip("/").replace("/", "_")}')
    track = Track(node, options.topic, installed(options.type), options.folder)
    subject.wait_matched(lambda: track.publisher.get_subscription_count() == 1)
    subject.say('ready', priority=claim_priority())
    order = subject.hear()
    if order is not None:
        late_ns = array('q')
        for number in range(round(options.seconds * options.rate)):
            due_ns = order['first_ns'] + round(number * 1e9 / options.rate)
            sleep_until(due_ns)
            late_ns.append(time.time_ns() - due_ns)
            track.publisher.publish(track.stamped(number, due_ns))
        subject.say('sent', late_ns=list(late_ns))
        subject.hear()
    rclpy.shutdown()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m benchmark.node.rated_player', description=__doc__.partition('\n')[0]
    )
    parser.add_argument('topic', help='where to publish')
    parser.add_argument('type', help='full name of its message type, which has a header')
    parser.add_argument('--folder', type=Path, required=True, help='the prepared messages')
    parser.add_argument('--rate', type=float, required=True, help='Hz')
    parser.add_argument('--seconds', type=float, required=True, help='how long')
    return parser


if __name__ == '__main__':
    main()
