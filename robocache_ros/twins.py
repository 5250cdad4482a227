# SPDX-License-Identifier: Apache-2.0
"""Finds a second node of the same name: two of them publish every frame twice, each with numbers of its own."""

from __future__ import annotations

import time
from collections.abc import Callable

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_msgs.msg import UInt32

#: How long a node that has started looks for one of its name: discovery takes up to 3 s, and more under load.
LOOKOUT_S = 10.0
_PERIOD_S = 0.2
#: How the hidden topic of a node begins that says since when it is up.
MARK = '_up_since_'


def find_twin(node: Node, topic: str) -> str:
    """Return in one line who else has the node's full name or publishes on ``topic``; empty where nobody does."""
    name, count = node.get_fully_qualified_name(), _count(node)
    if count > 1:
        return f'{count} nodes are called {name}: each publishes its frames on {topic}'
    publishers = node.count_publishers(topic)
    return f'{topic} has {publishers} publishers: frames of another node come there too' if publishers > 1 else ''


def look_out(node: Node, on_found: Callable[[str], None]) -> None:
    """Call ``on_found`` with one line if a node of the same full name that was up before is seen within ``LOOKOUT_S``.

    Each of them has a hidden topic that says since when it is up, so that the older one stays; one that has none is
    older. A process that has just started sees no node that died before, so none is mistaken for its predecessor.
    """
    since_ns = time.time_ns()
    node.create_publisher(UInt32, f'~/{MARK}{since_ns}', 1)
    remaining = round(LOOKOUT_S / _PERIOD_S)

    def look() -> None:
        nonlocal remaining
        remaining -= 1
        marks = _marks(node)
        is_unmarked = _count(node) > len(marks) and not remaining  # else its topics may be yet to be discovered
        found = is_unmarked or any(other_ns < since_ns for other_ns in marks)
        if found or not remaining:
            timer.cancel()
        if found:
            on_found(
                f'another node is called {node.get_fully_qualified_name()}: this one ends. Give it a name or a '
                'namespace of its own: name:= or namespace:= of the launch file, or -r __node:= or -r __ns:='
            )

    timer = node.create_timer(_PERIOD_S, look, clock=Clock(clock_type=ClockType.STEADY_TIME))


def _marks(node: Node) -> set[int]:
    """Return since when each node of this full name is up, as far as that is discovered, ns on the wall clock."""
    begin = f'{node.get_fully_qualified_name()}/{MARK}'
    names = (name.removeprefix(begin) for name, _ in node.get_topic_names_and_types() if name.startswith(begin))
    return {int(name) for name in names if name.isdecimal()}


def _count(node: Node) -> int:
    """Return how many nodes of this full name there are, with ``node`` itself."""
    names = [f'{namespace.rstrip("/")}/{each}' for each, namespace in node.get_node_names_and_namespaces()]
    return names.count(node.get_fully_qualified_name())
