# SPDX-License-Identifier: Apache-2.0
"""The frames of a node that runs, and its /diagnostics: what they show, without the points, which no topic has."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python
from rclpy.parameter_client import AsyncParameterClient
from rclpy.signals import SignalHandlerOptions

from robocache_core.config import PipelineConfig
from robocache_core.frame import FusedFrame
from robocache_core.text import shown
from robocache_core.tunable import ConfigError
from robocache_core.units import SECOND
from robocache_ros import parameters
from robocache_ros.offline import TARGETS
from robocache_ros.subscriber import FusedSubscriber
from robocache_ros.tools.view.scene import Scene

#: Time that the node has to answer, s.
_ANSWERS_S = 5.0
_MOST_DIGITS = 20
_DROPPED, _POINTS, _INPUT = 'dropped.', 'points.', 'input '


def show(args: argparse.Namespace, open_scene: Callable[[PipelineConfig], Scene]) -> int:
    """Show the frames of a node until the process is interrupted; returns how many there were.

    Raises:
        ConfigError: the node does not answer, or has no configuration that it could run with.
    """
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node('view')
    try:
        viewer = LiveView(node, args.node, open_scene(config_of(node, args.node)))
        with suppress(KeyboardInterrupt, ExternalShutdownException):  # this is how it ends
            rclpy.spin(node)
        return viewer.num_frames
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def config_of(node: Node, name: str) -> PipelineConfig:
    """Ask the node called ``name`` for its parameters; returns the configuration that they give.

    Raises:
        ConfigError: it does not answer, or could not run with them.
    """
    client = AsyncParameterClient(node, name)
    if not client.wait_for_services(_ANSWERS_S):
        found = sorted(f'{space.rstrip("/")}/{each}' for each, space in node.get_node_names_and_namespaces())
        others = ', '.join(shown(each) for each in found if each != node.get_fully_qualified_name()) or 'none'
        raise ConfigError(f'no node {name} answers within {_ANSWERS_S:g} s: run it, or set --node; nodes: {others}')
    names = list(_answer(node, name, client.list_parameters()).result.names)
    values = map(parameter_value_to_python, _answer(node, name, client.get_parameters(names)).values)
    given = {each: value for each, value in zip(names, values, strict=True) if value is not None}
    return parameters.from_dict(given, warn=lambda line: None)[0]


def _answer(node: Node, name: str, future: Any) -> Any:
    rclpy.spin_until_future_complete(node, future, timeout_sec=_ANSWERS_S)
    if not future.done():
        raise ConfigError(f'{name} does not answer within {_ANSWERS_S:g} s: is it overloaded?')
    return future.result()


class LiveView:
    """Subscribes to ~/fused of the node called ``name``, and /diagnostics, on ``node``.

    Attributes:
        num_frames: that have come.
    """

    def __init__(self, node: Node, name: str, scene: Scene) -> None:
        self.num_frames = 0
        self._scene, self._prefix = scene, f'{name.lstrip("/")}: '
        self._newest_ns = 0
        self._fused = FusedSubscriber(node, self._on_frame, f'{name}/fused')
        node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)

    def _on_frame(self, frame: FusedFrame) -> None:
        self.num_frames, self._newest_ns = self.num_frames + 1, frame.stamp_ns
        self._scene.frame(frame)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        values = {
            status.name.removeprefix(self._prefix): {item.key: item.value for item in status.values}
            for status in message.status
            if status.name.startswith(self._prefix)
        }
        if 'sync' not in values:
            return
        stamp = message.header.stamp
        at_ns = self._newest_ns or stamp.sec * SECOND + stamp.nanosec  # of frames, whose clock may be another one
        inputs = {key.removeprefix(_INPUT): each for key, each in values.items() if key.startswith(_INPUT)}
        points = {name: _counts(each, _POINTS) for name, each in inputs.items()}
        for key, count in _counts(values.get('compute', {}), _POINTS).items():
            grid, _, reason = key.partition('.')
            points.setdefault(grid, {})[reason] = count
        drops = {name: _counts(each, _DROPPED) for name, each in {**inputs, TARGETS: values['sync']}.items()}
        self._scene.dropped(at_ns, points, drops)
        self._scene.blocker(at_ns, values['sync'].get('blocker', ''))


def _counts(values: Mapping[str, str], prefix: str) -> dict[str, int]:
    """Counts by what follows ``prefix`` in their keys; what is no count is of another publisher, and left out."""
    return {
        key.removeprefix(prefix): int(value)
        for key, value in values.items()
        if key.startswith(prefix) and value.isdecimal() and len(value) < _MOST_DIGITS
    }
