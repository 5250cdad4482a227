# SPDX-License-Identifier: Apache-2.0
"""What the node sends: fused frames and diagnostics, with the steady time of their arrival."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node

from robocache_core import payload
from robocache_core.frame import FusedFrame
from robocache_ros.subscriber import FusedSubscriber

PREFIX = 'preprocess: '


@dataclass(frozen=True)
class FrameRecord:
    """A fused frame without its tensors: its header, size and digest, and when it arrived."""

    received_ns: int
    stamp_ns: int
    epoch: int
    nbytes: int
    valid: dict[str, bool]
    age_ns: dict[str, int]
    latency_ns: dict[str, int]
    digest: str


@dataclass(frozen=True)
class Status:
    """One status of a /diagnostics message."""

    level: int
    message: str
    values: dict[str, str]


@dataclass(frozen=True)
class Diagnostics:
    """The node's statuses of one /diagnostics message, by name without its prefix."""

    received_ns: int
    statuses: dict[str, Status] = field(default_factory=dict)

    @property
    def num_subscribers(self) -> int:
        """Subscribers of ~/fused that the node sees."""
        return int(self.statuses['output'].values['subscribers']) if 'output' in self.statuses else 0


class Collector:
    """Subscribes to ~/fused and /diagnostics on ``node``; keeps records of all, and the tensors of one frame.

    Attributes:
        frames: every frame, in order of arrival.
        sample: the newest frame whose streams were all valid, else the newest one.
        diagnostics: every /diagnostics message of the node, in order of arrival.
    """

    def __init__(self, node: Node) -> None:
        self.frames: list[FrameRecord] = []
        self.sample: FusedFrame | None = None
        self.diagnostics: list[Diagnostics] = []
        self._fused = FusedSubscriber(node, self._on_frame)
        self._subscription = node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)

    @property
    def missed(self) -> int:
        """Frames that the node sent and that did not arrive."""
        return self._fused.missed

    def _on_frame(self, frame: FusedFrame) -> None:
        received_ns = time.monotonic_ns()
        nbytes = sum(tensor.numel() * tensor.element_size() for tensor in frame.tensors.values())
        self.frames.append(
            FrameRecord(
                received_ns,
                frame.stamp_ns,
                frame.epoch,
                nbytes,
                frame.valid,
                frame.age_ns,
                frame.latency_ns,
                payload.digest(frame),
            )
        )
        if all(frame.valid.values()) or self.sample is None or not all(self.sample.valid.values()):
            self.sample = frame

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        statuses = {
            status.name.removeprefix(PREFIX): Status(
                status.level[0], status.message, {item.key: item.value for item in status.values}
            )
            for status in message.status
            if status.name.startswith(PREFIX)
        }
        if statuses:
            self.diagnostics.append(Diagnostics(time.monotonic_ns(), statuses))
