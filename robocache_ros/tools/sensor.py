# SPDX-License-Identifier: Apache-2.0
"""A topic of a bag that becomes a stream of a proposed configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from robocache_ros.bags import Topic


@dataclass(frozen=True)
class Sensor:
    """What is known of it.

    Attributes:
        name: of the stream.
        topic: that it takes.
        group: the parameter that lists the streams of its kind.
        first: its first message.
        period_s: period of its messages, s.
        doubts: a line for each thing about its values that looks wrong.
    """

    name: str
    topic: Topic
    group: str
    first: Any
    period_s: float
    doubts: tuple[str, ...] = ()
