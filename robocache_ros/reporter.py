# SPDX-License-Identifier: Apache-2.0
"""Reports diagnostics, queue depth and back-pressure once a period, in every configured state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from robocache_core.units import SECOND
from robocache_ros.clock import Clock
from robocache_ros.diagnostics import Diagnostics
from robocache_ros.dumps import Dumps
from robocache_ros.encode import to_stamp
from robocache_ros.event_log import EventLog
from robocache_ros.events import Event
from robocache_ros.inbox import Inboxes
from robocache_ros.silence_log import SilenceLog
from robocache_ros.timings_log import TimingsLog
from robocache_ros.worker import Worker


@dataclass(frozen=True)
class Load:
    """How far compute is behind: the number of targets that wait, and the back-pressure."""

    queue_depth: int
    backpressure: DiagnosticStatus


class Reporter:
    """Has the worker report between two messages, when its ledger is at rest and can be counted.

    ``tick`` asks for a report; it is to be called once a period of a steady clock (ROS time stands still when /clock
    does). While the node is not active the caller's thread reports itself; so it does, briefly, when the worker has not
    answered for a period.

    Args:
        diagnostics: composes the report.
        inboxes: take the request to the worker.
        worker: answers it.
        send: publishes a DiagnosticArray or a ``Load``.
        now_ns: ROS time, ns, which stamps the reports.
        log: receives why no frame comes out.
        timings: logs how long the stages take.
        dumps: writes the flight record where something is an ERROR.
        clock: measures how long the worker has not answered.
    """

    def __init__(
        self,
        diagnostics: Diagnostics,
        inboxes: Inboxes,
        worker: Worker,
        send: Callable[[DiagnosticArray | Load], None],
        now_ns: Callable[[], int],
        log: EventLog,
        timings: TimingsLog,
        dumps: Dumps,
        clock: Clock,
    ) -> None:
        self._diagnostics = diagnostics
        self._inboxes = inboxes
        self._worker = worker
        self._send = send
        self._now_ns = now_ns
        self._log = log
        self._timings = timings
        self._dumps = dumps
        self._clock = clock
        self._asked_ns: int | None = None
        self._silence = SilenceLog(log, clock)
        self._named_twin = ''
        self._named_slow: set[str] = set()
        self._named_frozen: set[str] = set()

    def tick(self) -> None:
        """Ask for a report; once a period."""
        asked_ns = self._asked_ns  # read once: the worker's answer may come in between
        if not self._worker.is_alive:
            self._asked_ns = None
            self._report(active=False)
        elif asked_ns is None or asked_ns < self._worker.started_ns:  # asked of a worker that was stopped
            self._asked_ns = self._clock.steady_ns()
            self._inboxes.put_event(self._answer)
        else:
            waited_s = (self._clock.steady_ns() - asked_ns) / SECOND
            self._publish(DiagnosticArray(status=[self._diagnostics.busy(waited_s)]))
            self._dumps.write_for(['busy'])

    def _answer(self) -> None:
        self._asked_ns = None
        self._report(active=True)

    def _report(self, *, active: bool) -> None:
        report = self._diagnostics.report(active=active)
        self._publish(report)
        self._log_twin()
        self._log_once(Event.SLOW_STREAM, self._diagnostics.slow, self._named_slow)
        self._log_once(Event.FROZEN_POSE, self._diagnostics.frozen, self._named_frozen)
        if active:
            self._silence.take(self._diagnostics.blocker)
            self._timings.take()
            self._dumps.write_for(self._errors(report))
        self._send(Load(self._worker.num_waiting, self._diagnostics.backpressure()))

    def _errors(self, report: DiagnosticArray) -> Iterator[str]:
        """Yield what is an ERROR: the task of each status, and for sync what keeps frames from coming."""
        for status in report.status:
            task = status.name.rpartition(': ')[2]
            if status.level == DiagnosticStatus.ERROR and task == 'sync':
                yield from (f'{fault.reason} {fault.stream}'.strip() for fault in self._diagnostics.blockage.faults)
            elif status.level == DiagnosticStatus.ERROR:
                yield task

    def _log_twin(self) -> None:
        """Log once who else publishes on the fused topic."""
        twin = self._diagnostics.twin
        if twin and twin != self._named_twin:
            self._log.emit(Event.TWIN, detail=twin)
        self._named_twin = twin

    def _log_once(self, event: Event, sentences: Mapping[str, str], named: set[str]) -> None:
        """Log what is wrong with streams, of those that are not ``named`` yet."""
        for name, sentence in sentences.items():
            if name not in named:
                self._log.emit(event, stream=name, detail=sentence)
                named.add(name)

    def _publish(self, report: DiagnosticArray) -> None:
        report.header.stamp = to_stamp(self._now_ns())
        self._send(report)
