# SPDX-License-Identifier: Apache-2.0
"""Logs why nothing comes out."""

from __future__ import annotations

from robocache_core.units import SECOND
from robocache_ros.clock import Clock
from robocache_ros.event_log import EventLog
from robocache_ros.events import Event

#: Time between two lines of the log about the same silence.
_REMINDER_NS = 10 * SECOND


class SilenceLog:
    """Logs the blocker of each report: when a silence begins, every ten seconds, and when it is over.

    Args:
        log: receives them.
        clock: paces them.
    """

    def __init__(self, log: EventLog, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._warned_ns: int | None = None

    def take(self, blocker: str) -> None:
        """Take the blocker of a report; empty where frames came."""
        now = self._clock.steady_ns()
        if blocker and (self._warned_ns is None or now - self._warned_ns > _REMINDER_NS):
            self._log.emit(Event.NO_FRAME, blocker=blocker)
            self._warned_ns = now
        elif not blocker and self._warned_ns is not None:
            self._log.emit(Event.FRAMES)
            self._warned_ns = None
