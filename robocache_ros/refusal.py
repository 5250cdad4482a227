# SPDX-License-Identifier: Apache-2.0
"""A configuration that was refused, on /diagnostics, where no runtime reports."""

from __future__ import annotations

from contextlib import ExitStack

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode

from robocache_ros import diagnostics, qos


def show_refusal(node: LifecycleNode, why: str, undo: ExitStack) -> None:
    """Publish the status ``configuration`` as an ERROR once a second, until ``undo`` is closed."""
    publisher = node.create_publisher(DiagnosticArray, '/diagnostics', qos.reliable())
    undo.callback(node.destroy_publisher, publisher)
    name = node.get_fully_qualified_name()

    def publish() -> None:
        status = diagnostics.status(name, 'configuration', DiagnosticStatus.ERROR, f'refused: {why}', [])
        report = DiagnosticArray(status=[status])
        report.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(report)

    publish()
    timer = node.create_timer(1.0, publish, clock=Clock(clock_type=ClockType.STEADY_TIME))
    undo.callback(node.destroy_timer, timer)
