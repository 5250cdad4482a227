# SPDX-License-Identifier: Apache-2.0
"""What the node says of itself: the last of its messages on /diagnostics."""

from __future__ import annotations

import time

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node

_PREFIX = 'preprocess: '
_DROPPED = 'dropped.'
_INPUT = 'input '


class LastDiagnostics:
    """Subscribes on ``node``.

    Attributes:
        received_ns: when the last message came, wall clock; 0 before the first.
    """

    def __init__(self, node: Node) -> None:
        self.received_ns = 0
        self._values: dict[str, dict[str, str]] = {}
        node.create_subscription(DiagnosticArray, '/diagnostics', self._take, 10)

    @property
    def num_subscribers(self) -> int:
        """Subscribers of the fused frames that the node sees."""
        return int(self._values['output']['subscribers']) if self._values else 0

    def result(self) -> dict[str, object]:
        """The node's stages, its losses and what computes."""
        if not self._values:
            return {'stages_ms': {}, 'losses': {}, 'how': 'sent no /diagnostics'}
        compute = self._values['compute']
        return {
            'stages_ms': stages_ms(compute),
            'losses': losses(self._values),
            'how': f'{compute["backend"]} on {compute["device"]}',
        }

    def streams(self) -> dict[str, dict[str, int]]:
        """What the node counts of each stream: received, used, lost on the way as DDS reports it, and drops."""
        return {
            status.removeprefix(_INPUT): {
                key: int(count)
                for key, count in values.items()
                if key in ('received', 'used', 'qos.lost') or key.startswith(_DROPPED)
            }
            for status, values in self._values.items()
            if status.startswith(_INPUT)
        }

    def _take(self, message: DiagnosticArray) -> None:
        statuses = [status for status in message.status if status.name.startswith(_PREFIX)]
        if statuses:
            self.received_ns = time.time_ns()
            self._values = {
                status.name.removeprefix(_PREFIX): {item.key: item.value for item in status.values}
                for status in statuses
            }


def stages_ms(compute: dict[str, str]) -> dict[str, list[float]]:
    """p50 and p99 of each stage, ms."""
    names = [key.removesuffix('_p50_ms') for key in compute if key.endswith('_p50_ms')]
    return {name: [float(compute[f'{name}_p50_ms']), float(compute[f'{name}_p99_ms'])] for name in names}


def losses(values: dict[str, dict[str, str]]) -> dict[str, int]:
    """What was dropped, by stream (``target`` for whole frames) and reason; not what no frame needed."""
    found = {}
    for status, counts in values.items():
        of = 'target' if status == 'sync' else status.removeprefix(_INPUT)
        for key, count in counts.items():
            if key.startswith(_DROPPED) and key != 'dropped.unselected':
                found[f'{of}.{key.removeprefix(_DROPPED)}'] = int(count)
    return found
