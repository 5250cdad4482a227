# SPDX-License-Identifier: Apache-2.0
"""Explains drops, and damage that is kept: in the log, one line a second by stream and reason, and to the caller."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from robocache_core.ledger import Reason
from robocache_core.text import printable
from robocache_core.units import SECOND
from robocache_ros.clock import Clock

_MAX_TRACE = 20_000  # characters

#: Key, in place of a reason, of what was used though it is damaged: it is not valid in the frame.
DAMAGED = f'invalid.{Reason.DECODE_FAILED}'


class Logger(Protocol):
    """What is needed of a logger, of rclpy or of the standard library."""

    def info(self, message: str) -> object: ...
    def warning(self, message: str) -> object: ...
    def error(self, message: str) -> object: ...


@dataclass
class Explanation:
    """Why messages of a stream were dropped for a reason, or used though ``DAMAGED``: the last one's, and how many."""

    message: str = ''
    count: int = 0


class DropLog:
    """Logs explanations of drops and damage, and keeps the last one by stream and reason; on any thread.

    Args:
        logger: receives the lines.
        clock: paces them.
        on_failure: called with the traceback of each unforeseen exception.
    """

    def __init__(self, logger: Logger, clock: Clock, on_failure: Callable[[str], None] = lambda trace: None) -> None:
        self._logger = logger
        self._clock = clock
        self._on_failure = on_failure
        self._lock = threading.Lock()
        #: By stream and reason.
        self.explanations: dict[tuple[str, str], Explanation] = {}
        #: When the last line was logged, steady clock, and the count as of then.
        self._logged: dict[tuple[str, str], tuple[int, int]] = {}

    def explain(self, name: str, reason: str, message: str) -> None:
        """Explain that a message of stream ``name`` was dropped for ``reason``."""
        left_out = self._count(name, reason, message)
        if left_out is not None:
            self._logger.warning(f'{name}: message dropped ({reason}): {message}{_others(left_out)}')

    def explain_damage(self, name: str, message: str) -> None:
        """Explain why what a message of stream ``name`` gave is used, and is not valid."""
        left_out = self._count(name, DAMAGED, message)
        if left_out is not None:
            text = f'message used, invalid in the frame ({Reason.DECODE_FAILED})'
            self._logger.warning(f'{name}: {text}: {message}{_others(left_out)}')

    def fail(self, name: str, text: str) -> None:
        """Log the exception at hand, which nothing foresees, behind ``text``, as ``internal_error`` of ``name``.

        To be called in its ``except`` block.
        """
        trace = printable(traceback.format_exc(), _MAX_TRACE, keep='\n')
        self._on_failure(trace)
        left_out = self._count(name, Reason.INTERNAL_ERROR, trace.strip().splitlines()[-1])
        if left_out is not None:
            self._logger.error(f'{text}{_others(left_out)}:\n{trace}')

    def _count(self, name: str, reason: str, message: str) -> int | None:
        """Keep an explanation; return how many lines were left out since the last one, None to leave this one out."""
        key = (name, str(reason))
        with self._lock:
            explanation = self.explanations.setdefault(key, Explanation())
            explanation.message = message
            explanation.count += 1
            now = self._clock.steady_ns()
            logged_ns, counted = self._logged.get(key, (now - SECOND, 0))
            if now - logged_ns < SECOND:
                return None
            self._logged[key] = now, explanation.count
            return explanation.count - counted - 1


def _others(left_out: int) -> str:
    return f' (and {left_out} more since the last line)' if left_out else ''
