# SPDX-License-Identifier: Apache-2.0
"""Finds a second node of the same name: two of them publish every frame twice, each with numbers of its own."""

from __future__ import annotations

from rclpy.node import Node


def find_twin(node: Node, topic: str) -> str:
    """Return in one line who else has the node's full name or publishes on ``topic``; empty where nobody does."""
    name = node.get_fully_qualified_name()
    others = [f'{namespace.rstrip("/")}/{each}' for each, namespace in node.get_node_names_and_namespaces()]
    if others.count(name) > 1:
        return f'{others.count(name)} nodes are called {name}: each publishes its frames on {topic}'
    publishers = node.count_publishers(topic)
    return f'{topic} has {publishers} publishers: frames of another node come there too' if publishers > 1 else ''
