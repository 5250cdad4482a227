# SPDX-License-Identifier: Apache-2.0
"""When the flight recorder is written to a file: on request, on an ERROR, and at an exception that nothing foresees."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from robocache_core.units import SECOND
from robocache_ros import record_file
from robocache_ros.clock import Clock
from robocache_ros.event_log import EventLog
from robocache_ros.events import Event
from robocache_ros.recorder import Recorder

#: Time between two files that nobody asked for.
PAUSE_NS = 10 * SECOND


class Dumps:
    """Writes what a recorder has.

    Args:
        recorder: what is written.
        folder: where to.
        node: the node's full name.
        header: returns what the header says of the state.
        log: receives where the files are.
        clock: paces the files that nobody asked for.
    """

    def __init__(
        self,
        recorder: Recorder,
        folder: Path,
        node: str,
        header: Callable[[], Mapping[str, Any]],
        log: EventLog,
        clock: Clock,
    ) -> None:
        self._recorder = recorder
        self._folder = folder
        self._node = node
        self._header = header
        self._log = log
        self._clock = clock
        self._lock = threading.Lock()
        self._written_for: set[str] = set()
        self._written_ns: int | None = None
        self._threads: list[threading.Thread] = []

    def write(self, cause: str) -> Path:
        """Write a file now.

        Raises:
            OSError: it cannot be written.
        """
        now_ns = self._clock.steady_ns()
        entries = self._recorder.entries()
        header = {'cause': cause, 'steady_ns': now_ns, 'span_ns': self._recorder.span_ns, **self._header()}
        path = record_file.write(self._folder, self._node, header, entries)
        self._log.emit(Event.RECORD_WRITTEN, cause=cause, path=str(path))
        return path

    def write_for(self, causes: Iterable[str]) -> None:
        """Write a file on a thread of its own, if one of ``causes`` is new, and none was written just before.

        Each cause has one file. Where nothing was recorded there is none.
        """
        with self._lock:
            new = sorted(set(causes) - self._written_for)
            now = self._clock.steady_ns()
            is_paused = self._written_ns is not None and now - self._written_ns < PAUSE_NS
            if not new or is_paused or self._recorder.is_empty:
                return
            self._written_for.update(new)
            self._written_ns = now
            thread = threading.Thread(target=self._try_to_write, args=(', '.join(new),), name='robocache-record')
            self._threads = [each for each in self._threads if each.is_alive()] + [thread]
            thread.start()

    def close(self) -> None:
        """Wait until what is being written is there."""
        for thread in self._threads:
            thread.join()

    def _try_to_write(self, cause: str) -> None:
        try:
            self.write(cause)
        except OSError as error:
            self._log.emit(Event.RECORD_FAILED, cause=cause, detail=str(error))
