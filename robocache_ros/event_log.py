# SPDX-License-Identifier: Apache-2.0
"""Logs events, one a line, as text or as JSON; live in the log of ROS, offline in that of Python."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from robocache_core.text import printable
from robocache_core.units import SECOND
from robocache_ros.clock import Clock
from robocache_ros.events import LEFT_OUT, Event

#: What ``log.format`` may be.
FORMATS = ('text', 'json')
#: Characters that are shown of a field.
MAX_FIELD = 20_000
#: Least time between two lines of a limited event, and the longest that it becomes while they say the same.
_PAUSE_NS, _LONGEST_PAUSE_NS = SECOND, 60 * SECOND
#: Fields by which the lines of a limited event are counted apart.
_KEY = ('stream', 'topic', 'reason')


class Logger(Protocol):
    """What is needed of a logger, of rclpy or of the standard library."""

    def info(self, message: str) -> object: ...
    def warning(self, message: str) -> object: ...
    def error(self, message: str) -> object: ...
    def fatal(self, message: str) -> object: ...


#: A line of code for each level: rclpy refuses a second level from the line of code that logged first.
_WRITE: Mapping[str, Callable[[Logger, str], object]] = {
    'info': lambda logger, line: logger.info(line),
    'warning': lambda logger, line: logger.warning(line),
    'error': lambda logger, line: logger.error(line),
    'fatal': lambda logger, line: logger.fatal(line),
}


class Tally(dict[str, int]):
    """Counts by name, the most frequent first: in a line as ``3 late, 1 missing``, in brackets."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        super().__init__(sorted(counts.items(), key=lambda item: -item[1]))

    def __format__(self, spec: str) -> str:
        return f' ({", ".join(f"{n} {name}" for name, n in self.items())})' if self else ''


class _LeftOut(int):
    """How many lines were left out, as the end of a line."""

    def __format__(self, spec: str) -> str:
        return f' (and {int(self)} more since the last line)' if self else ''


@dataclass(frozen=True)
class _Last:
    """The last line of a limited event: when, steady clock, its fields, for how long, and how many, are left out."""

    logged_ns: int
    fields: Mapping[str, Any]
    pause_ns: int = _PAUSE_NS
    left_out: int = 0


class EventLog:
    """Writes events to a logger; may be used by any thread.

    A line of JSON has ``event``, ``level``, ``stamp_ns``, ``text`` (the first line of the text form) and the event's
    fields. Whatever a sender wrote is escaped and cut in both forms.

    Args:
        logger: receives the lines.
        clock: paces the events that are limited.
        now_ns: returns ROS time, or that of a recording, ns; 0 where it is unknown.
        style: ``text`` or ``json``.
    """

    def __init__(
        self, logger: Logger, clock: Clock, now_ns: Callable[[], int] = lambda: 0, style: str = FORMATS[0]
    ) -> None:
        self._logger = logger
        self._clock = clock
        self._now_ns = now_ns
        self.style = style
        self._lock = threading.Lock()
        #: By event and ``_KEY``.
        self._last: dict[tuple[str, ...], _Last] = {}

    def emit(self, event: Event, **fields: Any) -> None:
        """Log ``event``, whose ``fields`` are given but for ``left_out``; a limited one perhaps not.

        Raises:
            TypeError: other fields are given than the event has.
        """
        if event.is_limited:
            left_out = self._count(event, fields)
            if left_out is None:
                return
            fields[LEFT_OUT] = _LeftOut(left_out)
        if fields.keys() != set(event.fields):
            raise TypeError(f'{event.value} has the fields {event.fields}, not {tuple(fields)}')
        shown = {name: _shown(name, value) for name, value in fields.items()}
        text = event.template.format(**shown)
        _WRITE[event.level](self._logger, text if self.style == 'text' else self._json(event, text, shown))

    def _json(self, event: Event, text: str, fields: Mapping[str, Any]) -> str:
        common = {'event': event.value, 'level': event.level, 'stamp_ns': self._now_ns()}
        return json.dumps(common | {'text': text.partition('\n')[0]} | dict(fields))

    def _count(self, event: Event, fields: Mapping[str, Any]) -> int | None:
        """Return how many lines were left out since the last one; None to leave this one out.

        The pause after a line doubles while the same is said again and again.
        """
        key = (event.value, *(str(fields.get(name, '')) for name in _KEY))
        with self._lock:
            now = self._clock.steady_ns()
            last = self._last.get(key, _Last(now - _PAUSE_NS, {}))
            is_same, since_ns = fields == last.fields, now - last.logged_ns
            is_due = since_ns >= (last.pause_ns if is_same else _PAUSE_NS)
            if is_due:
                goes_on = is_same and since_ns < 2 * last.pause_ns
                pause_ns = min(2 * last.pause_ns, _LONGEST_PAUSE_NS) if goes_on else _PAUSE_NS
                self._last[key] = _Last(now, dict(fields), pause_ns)
            else:
                self._last[key] = replace(last, left_out=last.left_out + 1)
        return last.left_out if is_due else None


def _shown(name: str, value: Any) -> Any:
    """Return a field as both forms show it: a text in one line, a trace in several."""
    return printable(value, MAX_FIELD, keep='\n' if name == 'trace' else '') if isinstance(value, str) else value
