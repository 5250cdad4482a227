# SPDX-License-Identifier: Apache-2.0
"""Finds a second node of the same name: two of them publish every frame twice, each with numbers of its own."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

#: How long a node that has started looks for one of its name: discovery takes up to 3 s, and more under load.
LOOKOUT_S = 10.0
_PERIOD_S = 0.2


def find_twin(node: Node, topic: str) -> str:
    """Return in one line who else has the node's full name or publishes on ``topic``; empty where nobody does."""
    name, count = node.get_fully_qualified_name(), _count(node)
    if count > 1:
        return f'{count} nodes are called {name}: each publishes its frames on {topic}'
    publishers = node.count_publishers(topic)
    return f'{topic} has {publishers} publishers: frames of another node come there too' if publishers > 1 else ''


def look_out(node: Node, on_found: Callable[[str], None]) -> None:
    """Call ``on_found`` with one line if a node of the same full name is seen within ``LOOKOUT_S``.

    A process that has just started sees no node that died before, so that one that is started again is not mistaken.
    """
    remaining = round(LOOKOUT_S / _PERIOD_S)

    def look() -> None:
        nonlocal remaining
        remaining -= 1
        found = _count(node) > 1
        if found or not remaining:
            timer.cancel()
        if found:
            on_found(
                f'another node is called {node.get_fully_qualified_name()}: this one ends. Give it a name or a '
                'namespace of its own: name:= or namespace:= of the launch file, or -r __node:= or -r __ns:='
            )

    timer = node.create_timer(_PERIOD_S, look, clock=Clock(clock_type=ClockType.STEADY_TIME))


def _count(node: Node) -> int:
    """Return how many nodes of this full name there are, with ``node`` itself."""
    names = [f'{namespace.rstrip("/")}/{each}' for each, namespace in node.get_node_names_and_namespaces()]
    return names.count(node.get_fully_qualified_name())
