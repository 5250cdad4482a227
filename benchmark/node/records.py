# SPDX-License-Identifier: Apache-2.0
"""What a process notes of every frame, for the statistics."""

from __future__ import annotations

from benchmark.node.topics import Arrival


class Records:
    """When each frame was complete, and where it waited before; wall clock, ns."""

    def __init__(self) -> None:
        self._complete_ns: dict[int, int] = {}
        self._arrivals: dict[int, Arrival] = {}

    def add(self, stamp_ns: int, complete_ns: int, arrival: Arrival | None = None) -> None:
        """Note a frame; ``arrival``: of the message that it was complete with, where that is known."""
        self._complete_ns[stamp_ns] = complete_ns
        if arrival is not None:
            self._arrivals[stamp_ns] = arrival

    def has(self, stamp_ns: int) -> bool:
        """Whether the frame of this stamp was complete."""
        return stamp_ns in self._complete_ns

    def complete_ns(self, stamp_ns: int) -> int:
        """When it was."""
        return self._complete_ns[stamp_ns]

    def result(self) -> dict[str, object]:
        """As the process reports it: lists, since JSON has no integer keys."""
        return {
            'complete': list(self._complete_ns.items()),
            'arrivals': [(stamp_ns, *arrival) for stamp_ns, arrival in self._arrivals.items()],
        }
