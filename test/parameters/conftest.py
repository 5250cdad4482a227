# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter

from robocache_ros import parameters


@pytest.fixture
def make_node(monkeypatch: pytest.MonkeyPatch):
    """Make a node with its parameters declared, from overrides or from a params file."""
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    nodes: list[Node] = []

    def make(*, file: Path | None = None, kind: type = Node, namespace: str = '', **overrides: object) -> Node:
        if not rclpy.ok():
            rclpy.init(args=['--ros-args', '--params-file', str(file)] if file else [], domain_id=60)
        named = overrides if file else {'lidars': ['lidar']} | overrides
        given = [Parameter(name.replace('__', '.'), value=value) for name, value in named.items()]
        node = kind('preprocess', namespace=namespace, parameter_overrides=given)
        nodes.append(node)
        parameters.declare(node)
        return node

    yield make
    for node in nodes:
        node.destroy_node()
    rclpy.try_shutdown()
