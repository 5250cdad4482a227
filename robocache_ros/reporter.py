# SPDX-License-Identifier: Apache-2.0
"""Publishes diagnostics, queue depth and back-pressure once a period, in every configured state."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import UInt32

from robocache_core.config import SECOND
from robocache_ros import qos
from robocache_ros.diagnostics import Diagnostics
from robocache_ros.inbox import Inboxes
from robocache_ros.parameters import NodeConfig
from robocache_ros.worker import Worker


class Reporter:
    """Has the worker report between two messages, when its ledger is at rest and can be counted.

    A timer on the steady clock (ROS time stands still when /clock does) asks for a report. While the node is not active
    the timer's thread reports itself; so it does, briefly, when the worker has not answered for a period.

    Args:
        node: owns publishers and timer.
        diagnostics: composes the report.
        inboxes: take the request to the worker.
        worker: answers it.
        config: the period.
        undo: is told how to undo this.
    """

    def __init__(
        self,
        node: LifecycleNode,
        diagnostics: Diagnostics,
        inboxes: Inboxes,
        worker: Worker,
        config: NodeConfig,
        undo: ExitStack,
    ) -> None:
        self._node = node
        self._diagnostics = diagnostics
        self._inboxes = inboxes
        self._worker = worker
        self._asked_ns: int | None = None
        self._warned_s = 0.0

        def make(kind: type, topic: str) -> Callable[[Any], None]:
            publisher = node.create_publisher(kind, topic, qos.reliable(), qos_overriding_options=qos.overridable())
            undo.callback(node.destroy_publisher, publisher)
            publish: Callable[[Any], None] = publisher.publish
            return publish

        self._publish = make(DiagnosticArray, '/diagnostics')
        self._publish_depth = make(UInt32, '~/queue_depth')
        self._publish_backpressure = make(DiagnosticStatus, '~/backpressure')
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        timer = node.create_timer(config.diagnostics_period_ns / SECOND, self._tick, clock=clock)
        undo.callback(node.destroy_timer, timer)

    def _tick(self) -> None:
        if not self._worker.is_alive:
            self._asked_ns = None
            self._report(active=False)
        elif self._asked_ns is None or self._asked_ns < self._worker.started_ns:  # asked of a worker that was stopped
            self._asked_ns = time.monotonic_ns()
            self._inboxes.put_event(self._answer)
        else:
            waited_s = (time.monotonic_ns() - self._asked_ns) / SECOND
            self._send(DiagnosticArray(status=[self._diagnostics.busy(waited_s)]))

    def _answer(self) -> None:
        self._asked_ns = None
        self._report(active=True)

    def _report(self, *, active: bool) -> None:
        self._send(self._diagnostics.report(active=active))
        self._log_blocker(active)
        self._publish_depth(UInt32(data=self._worker.num_waiting))
        self._publish_backpressure(self._diagnostics.backpressure())

    def _log_blocker(self, active: bool) -> None:
        """Say in the log too why nothing comes out: when it begins, every ten seconds, and when it is over."""
        blocker, now = self._diagnostics.blocker if active else '', time.monotonic()
        if blocker and now - self._warned_s > 10:
            self._node.get_logger().warning(f'no frame: {blocker}')
            self._warned_s = now
        elif not blocker and self._warned_s > 0 and active:
            self._node.get_logger().info('frames come out')
            self._warned_s = 0.0

    def _send(self, report: DiagnosticArray) -> None:
        report.header.stamp = self._node.get_clock().now().to_msg()
        self._publish(report)
