# SPDX-License-Identifier: Apache-2.0
"""When a frame passed each stage of the node."""

from __future__ import annotations

from typing import NamedTuple


class TriggerTimes(NamedTuple):
    """When a message of the trigger arrived, was taken by the worker, and was decoded; steady clock, ns."""

    arrived_ns: int
    taken_ns: int
    decoded_ns: int


class FrameTimes(NamedTuple):
    """When a frame was computed and published; steady clock, ns.

    Attributes:
        began_ns: its computation began.
        computed_ns: it ended.
        publishing_ns: its publication began.
        published_ns: it ended.
        trigger: of the message whose stamp is the target; None where there was none.
    """

    began_ns: int
    computed_ns: int
    publishing_ns: int = 0
    published_ns: int = 0
    trigger: TriggerTimes | None = None
