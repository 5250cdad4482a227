# SPDX-License-Identifier: Apache-2.0
"""Logs why nothing comes out."""

from __future__ import annotations

from robocache_core.units import SECOND
from robocache_ros.clock import Clock
from robocache_ros.drop_log import Logger

#: Time between two lines of the log about the same silence.
_REMINDER_NS = 10 * SECOND


class SilenceLog:
    """Logs the blocker of each report: when a silence begins, every ten seconds, and when it is over.

    Args:
        logger: receives the lines.
        clock: paces them.
    """

    def __init__(self, logger: Logger, clock: Clock) -> None:
        self._logger = logger
        self._clock = clock
        self._warned_ns: int | None = None

    def take(self, blocker: str) -> None:
        """Take the blocker of a report; empty where frames came."""
        now = self._clock.steady_ns()
        if blocker and (self._warned_ns is None or now - self._warned_ns > _REMINDER_NS):
            self._logger.warning(f'no frame: {blocker}')
            self._warned_ns = now
        elif not blocker and self._warned_ns is not None:
            self._logger.info('frames come out')
            self._warned_ns = None
