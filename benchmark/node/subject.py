# SPDX-License-Identifier: Apache-2.0
"""What the processes of the benchmark share: lines of JSON to the one that started them, and a clean end.

A process says ``ready`` once its subscriptions are matched. It then waits for a line, in which it gets the stamp of the
last frame, and says its ``result`` when that is complete, or after ``DRAIN_S``. It ends when its stdin does.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from robocache_ros.tools.replay.spinner import Spinner

MATCH_S = 30.0
#: After the last frame was sent: how long results are waited for.
DRAIN_S = 4.0


def say(event: str, **values: object) -> None:
    """Report to the process that started this one."""
    print(json.dumps({'event': event, **values}), flush=True)


def hear() -> dict[str, Any] | None:
    """The next order; None where the process that started this one has ended, or wants this one to."""
    line = sys.stdin.readline()
    return json.loads(line) if line else None


def start(name: str, arguments: Sequence[str] = ()) -> Node:
    """Begin with ROS, and these arguments for it."""
    rclpy.init(args=list(arguments), signal_handler_options=SignalHandlerOptions.NO)
    return rclpy.create_node(name)


def serve(
    nodes: Sequence[Node],
    is_matched: Callable[[], bool],
    is_done: Callable[[int], bool],
    result: Callable[[], dict[str, object]],
) -> None:
    """Spin nodes until there is a result, and end ROS.

    Args:
        nodes: have their subscriptions already.
        is_matched: whether all of them have their publisher, and what it publishes its subscriber.
        is_done: whether the frame of this stamp, the last one, is complete.
        result: what is reported at the end.
    """
    with Spinner(*nodes) as spinner:
        wait_matched(is_matched, spinner.check)
        say('ready')
        order = hear()
        if order is not None:
            deadline = time.monotonic() + DRAIN_S
            while not is_done(order['last_ns']) and time.monotonic() < deadline:
                time.sleep(0.02)
            spinner.check()
            say('result', **result())
            hear()
    rclpy.shutdown()


def wait_matched(is_matched: Callable[[], bool], check: Callable[[], None] = lambda: None) -> None:
    """Wait for the other side; ``check`` raises where there is no point in it."""
    deadline = time.monotonic() + MATCH_S
    while not is_matched():
        check()
        if time.monotonic() > deadline:
            sys.exit(f'not matched after {MATCH_S:.0f} s: the other side is not there')
        time.sleep(0.02)


def have_publishers(subscriptions: Iterable[Any]) -> bool:
    """Whether each subscription has exactly one publisher."""
    return all(subscription.get_publisher_count() == 1 for subscription in subscriptions)
