# SPDX-License-Identifier: Apache-2.0
"""Explains drops, and damage that is kept: in the log, and to the caller."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from robocache_core.ledger import Reason
from robocache_core.text import printable
from robocache_ros.event_log import MAX_FIELD, EventLog
from robocache_ros.events import Event

#: Key, in place of a reason, of what was used though it is damaged: it is not valid in the frame.
DAMAGED = f'invalid.{Reason.DECODE_FAILED}'


@dataclass
class Explanation:
    """Why messages of a stream were dropped for a reason, or used though ``DAMAGED``: the last one's, and how many."""

    message: str = ''
    count: int = 0


class DropLog:
    """Logs explanations of drops and damage, and keeps the last one by stream and reason; on any thread.

    Args:
        log: receives them.
        on_failure: called with the traceback of each unforeseen exception.
        on_drop: called with each stream, reason and explanation of a drop.
    """

    def __init__(
        self,
        log: EventLog,
        on_failure: Callable[[str], None] = lambda trace: None,
        on_drop: Callable[[str, str, str], None] = lambda name, reason, message: None,
    ) -> None:
        self._log = log
        self._on_failure = on_failure
        self._on_drop = on_drop
        self._lock = threading.Lock()
        #: By stream and reason.
        self.explanations: dict[tuple[str, str], Explanation] = {}

    def explain(self, name: str, reason: str, message: str) -> None:
        """Explain that a message of stream ``name`` was dropped for ``reason``."""
        self._keep(name, reason, message)
        self._on_drop(name, reason, message)
        self._log.emit(Event.MESSAGE_DROPPED, stream=name, reason=str(reason), detail=message)

    def explain_damage(self, name: str, message: str) -> None:
        """Explain why what a message of stream ``name`` gave is used, and is not valid."""
        self._keep(name, DAMAGED, message)
        self._log.emit(Event.MESSAGE_DAMAGED, stream=name, reason=str(Reason.DECODE_FAILED), detail=message)

    def fail(self, name: str, text: str) -> None:
        """Log the exception at hand, which nothing foresees, behind ``text``, as ``internal_error`` of ``name``.

        To be called in its ``except`` block.
        """
        trace = printable(traceback.format_exc(), MAX_FIELD, keep='\n')
        self._on_failure(trace)
        self._keep(name, Reason.INTERNAL_ERROR, trace.strip().splitlines()[-1])
        self._log.emit(Event.EXCEPTION, stream=name, detail=text, trace=trace)

    def _keep(self, name: str, reason: str, message: str) -> None:
        with self._lock:
            explanation = self.explanations.setdefault((name, str(reason)), Explanation())
            explanation.message = message
            explanation.count += 1
