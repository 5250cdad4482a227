# SPDX-License-Identifier: Apache-2.0
"""Logs how long the stages take."""

from __future__ import annotations

from robocache_ros.clock import Clock
from robocache_ros.event_log import EventLog
from robocache_ros.events import Event
from robocache_ros.metrics import Metrics


class _Stages(dict[str, dict[str, float]]):
    """Median and 99th percentile of each stage, ms: in a line as ``decode 0.1/0.4``."""

    def __format__(self, spec: str) -> str:
        return ', '.join(f'{name} {each["p50_ms"]:g}/{each["p99_ms"]:g}' for name, each in self.items())


class TimingsLog:
    """Logs median and 99th percentile of the last durations of every stage that has run.

    Args:
        log: receives them.
        clock: paces them.
        metrics: has the durations.
        period_ns: between two lines; 0: none.
    """

    def __init__(self, log: EventLog, clock: Clock, metrics: Metrics, period_ns: int) -> None:
        self._log = log
        self._clock = clock
        self._metrics = metrics
        self._period_ns = period_ns
        self._logged_ns = clock.steady_ns()

    def take(self) -> None:
        """Log, if it is time; to be called once a report."""
        now = self._clock.steady_ns()
        if not self._period_ns or now - self._logged_ns < self._period_ns:
            return
        self._logged_ns = now
        with self._metrics.lock:
            stages = {name: each.percentiles_ms() for name, each in self._metrics.stages.items() if each.recent}
        rounded = {name: {'p50_ms': round(p50, 3), 'p99_ms': round(p99, 3)} for name, (p50, p99) in stages.items()}
        if rounded:
            self._log.emit(Event.TIMINGS, stages=_Stages(rounded))
