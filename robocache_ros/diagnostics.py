# SPDX-License-Identifier: Apache-2.0
"""The node's state as diagnostic statuses (REP 107), and the one line that says why nothing comes out.

Levels. Input: STALE when silent for 3 periods of the expected rate (1 s where none is set), ERROR for incompatible QoS
or when everything of the last period was dropped, WARN for any loss or a rate under 90 % of what is expected. sync:
ERROR when no frame came, WARN when targets were dropped. queue: WARN while thinning. compute: WARN on the reference,
and on the CPU where a GPU was asked for or has failed, ERROR after an unforeseen exception. output: STALE when no frame
left in the last period, WARN when a subscriber asks for a QoS that is not offered.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from robocache_core.ledger import Counts, Reason
from robocache_core.pipeline import Pipeline
from robocache_ros.inbox import Inboxes
from robocache_ros.metrics import Metrics, percentiles_ms
from robocache_ros.worker import Worker

OK, WARN, ERROR, STALE = (
    DiagnosticStatus.OK,
    DiagnosticStatus.WARN,
    DiagnosticStatus.ERROR,
    DiagnosticStatus.STALE,
)
#: Stamps of two streams that lie further apart are of two clocks.
_CLOCKS_DIFFER_NS = 1_000_000_000


class Diagnostics:
    """Composes the statuses; keeps the last counts to tell what happened since.

    Args:
        name: the node's name, which begins every status name.
        pipeline: its ledger.
        inboxes: how full they are.
        worker: its back-pressure.
        metrics: rates and durations.
        topics: topic and message type by stream.
        publishers: gives the message types of a topic's publishers.
        subscribers: tells how many subscribers the fused topic has.
    """

    def __init__(
        self,
        name: str,
        pipeline: Pipeline,
        inboxes: Inboxes,
        worker: Worker,
        metrics: Metrics,
        topics: dict[str, tuple[str, str]],
        publishers: Callable[[str], list[str]],
        subscribers: Callable[[], int],
    ) -> None:
        self._name = name
        self._pipeline = pipeline
        self._inboxes = inboxes
        self._worker = worker
        self._metrics = metrics
        self._topics = topics
        self._publishers = publishers
        self._subscribers = subscribers
        self._last = {stream: account.counts() for stream, account in pipeline.ledger.items()}
        self._last_targets = pipeline.targets.counts()
        self._last_frames = self._last_failures = 0
        self._last_lost = dict.fromkeys(pipeline.streams, 0)
        self._held: dict[str, int] = {}
        #: Why nothing came out as of the last report; empty where something did.
        self.blocker = ''

    def report(self, *, active: bool) -> DiagnosticArray:
        """Return all statuses, of the time since the last report.

        Call it on the worker's thread, between two messages, or while there is no worker: only then is what is held
        at rest and can be counted.
        """
        now = time.monotonic_ns()
        with self._inboxes.still():
            counts = {name: account.counts() for name, account in self._pipeline.ledger.items()}
            waiting = {name: depth for name, (depth, _) in self._inboxes.levels().items()}
        self._held = {name: waiting[name] + self._pipeline.num_held(name) for name in counts}
        targets = self._pipeline.targets.counts()
        with self._metrics.lock:
            statuses = [self._input(name, counts[name], now) for name in counts]
            blocker = self._blocker(counts, targets, now) if active else 'the node is not active'
            self.blocker = blocker
            statuses.append(self._sync(targets, blocker))
            statuses += [self._queue(), self._compute(), self._output(now, blocker)]
            self._last_frames, self._last_failures = self._metrics.frames, self._metrics.failures
            self._last_lost = {name: record.lost for name, record in self._metrics.inputs.items()}
        self._last, self._last_targets = counts, targets
        return DiagnosticArray(status=statuses)

    def busy(self, waited_s: float) -> DiagnosticStatus:
        """Return the status that stands for all while the worker does not answer."""
        return self._status('compute', ERROR, f'the worker has been busy with one step for {waited_s:.1f} s', {})

    def backpressure(self) -> DiagnosticStatus:
        """Return the state for upstream: saturation 0..1, keep_every, and every inbox."""
        control, waiting = self._worker.backpressure, self._worker.num_waiting
        values = {
            'saturation': min(1.0, waiting / self._pipeline.config.backpressure.max_ready),
            'keep_every': control.keep_every,
            'depth': waiting,
        }
        for name, (depth, saturation) in self._inboxes.levels().items():
            values[f'{name}.depth'] = depth
            values[f'{name}.saturation'] = saturation
        level = OK if control.state == 'normal' else WARN
        return self._status('backpressure', level, control.state, values)

    def _status(self, task: str, level: bytes, message: str, values: dict[str, Any]) -> DiagnosticStatus:
        pairs = [KeyValue(key=key, value=_text(value)) for key, value in values.items()]
        return DiagnosticStatus(level=level, name=f'{self._name}: {task}', message=message, values=pairs)

    def _input(self, name: str, counts: Counts, now: int) -> DiagnosticStatus:
        topic, kind = self._topics[name]
        record, config = self._metrics.inputs[name], self._pipeline.streams[name]
        rate = record.rate_hz(now)
        new_drops = _new_drops(counts, self._last[name])
        received = counts.received - self._last[name].received
        losses = {r: n for r, n in new_drops.items() if r != Reason.UNSELECTED}
        silence = record.silence_ns(now)
        allowed = 3e9 / config.expected_rate_hz if config.expected_rate_hz else 1e9
        lost = record.lost - self._last_lost[name]
        if self._held[name] != counts.held:
            level, message = ERROR, f'the ledger does not add up: {counts}, {self._held[name]} held'
        elif record.incompatible and silence is None:
            level, message = ERROR, record.incompatible_text
        elif silence is None:
            level, message = STALE, self._silent(name)
        elif silence > allowed:
            level, message = STALE, f'no message for {silence / 1e9:.1f} s'
        elif received and sum(losses.values()) >= received:
            level, message = ERROR, f'all dropped: {_listed(losses)}'
        elif losses:
            level, message = WARN, f'dropped: {_listed(losses)}'
        elif lost:
            level, message = WARN, f'{lost} lost on the way here'
        elif rate < 0.9 * config.expected_rate_hz:
            level, message = WARN, f'{rate:.1f} Hz, expected {config.expected_rate_hz:.1f} Hz'
        else:
            level, message = OK, f'{rate:.1f} Hz'
        values = {
            'topic': topic,
            'type': kind,
            'rate_hz': rate,
            'expected_rate_hz': config.expected_rate_hz,
            'jitter_ms': record.jitter_ms(now),
            'offset_ms': record.offset_ms(),
            'received': counts.received,
            'used': counts.used,
            'held': self._held[name],
            **{f'dropped.{reason}': n for reason, n in counts.dropped.items()},
            'qos.incompatible': record.incompatible,
            'qos.lost': record.lost,
            **{f'points.{reason}': n for reason, n in self._pipeline.points_dropped.get(name, {}).items()},
        }
        return self._status(f'input {name}', level, message, values)

    def _silent(self, name: str) -> str:
        topic, kind = self._topics[name]
        if self._metrics.inputs[name].incompatible:
            return self._metrics.inputs[name].incompatible_text
        types = self._publishers(topic)
        if not types:
            return f'{name}: no publisher on {topic} ({kind})'
        others = sorted({found for found in types if found.rpartition('/')[2] != kind})
        if others:
            return f'{name}: {topic} carries {", ".join(others)}, not {kind}'
        return f'{name}: no message on {topic}, though it has {len(types)} publisher(s) of {kind}'

    def _blocker(self, counts: dict[str, Counts], targets: Counts, now: int) -> str:
        """Say in one line why no frame came since the last report; empty where one did."""
        if self._metrics.frames > self._last_frames:
            return ''
        if self._metrics.failures > self._last_failures:
            return f'unforeseen exception: {self._metrics.last_failure}'
        behind = self._pipeline.behind()
        drops = _new_drops(targets, self._last_targets)
        missing = [name for cause, _, name in (reason.partition(':') for reason in drops) if cause == Reason.MISSING]
        if not behind and not drops:
            trigger = self._pipeline.config.trigger
            return '; '.join(self._idle(name, counts, now) for name in ([trigger] if trigger else counts))
        if drops:
            said = f'targets dropped: {_listed(drops)}'
        else:
            said = f'the oldest target waits for {", ".join(behind)}'
        told = [self._idle(name, counts, now) for name in dict.fromkeys((*missing, *behind))]
        return f'{said} ({"; ".join(told)})' if told else said

    def _idle(self, name: str, counts: dict[str, Counts], now: int) -> str:
        """Say why a stream gives nothing to align."""
        record = self._metrics.inputs[name]
        silence, behind = record.silence_ns(now), self._pipeline.behind().get(name)
        # What fell with its target says nothing of the stream itself.
        losses = {
            r: n
            for r, n in _new_drops(counts[name], self._last[name]).items()
            if ':' not in r and r != Reason.UNSELECTED
        }
        newest, newest_of_all = self._pipeline.newest_ns(name), self._pipeline.newest_ns()
        if silence is None:
            return self._silent(name)
        if silence > 1e9:
            return f'{name}: no message for {silence / 1e9:.1f} s'
        if newest is not None and newest_of_all is not None and newest_of_all - newest > _CLOCKS_DIFFER_NS:
            ahead = next(n for n in counts if self._pipeline.newest_ns(n) == newest_of_all)
            apart_s = (newest_of_all - newest) / 1e9
            return f'the stamps of {name} are {apart_s:.1f} s behind those of {ahead}: one clock is wrong'
        if losses:
            return f'{name}: dropped {_listed(losses)}'
        if behind is not None and behind > 0:
            return f'{name}: is {behind / 1e6:.0f} ms behind'
        offset = (
            ''
            if newest is None or newest_of_all is None
            else f', its newest is {(newest_of_all - newest) / 1e6:.0f} ms old'
        )
        return (
            f'{name}: nothing within its tolerance of {self._pipeline.streams[name].tolerance_ns / 1e6:.0f} ms{offset}'
        )

    def _sync(self, targets: Counts, blocker: str) -> DiagnosticStatus:
        drops = _new_drops(targets, self._last_targets)
        if blocker:
            level, message = ERROR, blocker
        elif drops:
            level, message = WARN, f'targets dropped: {_listed(drops)}'
        else:
            level, message = OK, 'aligned'
        values = {
            'trigger': self._pipeline.config.trigger or f'{self._pipeline.config.sync.rate_hz} Hz',
            'epoch': self._pipeline.epoch,
            'targets': targets.received,
            'emitted': targets.used,
            'pending': targets.held,
            **{f'dropped.{reason}': n for reason, n in targets.dropped.items()},
            'blocker': blocker,
        }
        return self._status('sync', level, message, values)

    def _queue(self) -> DiagnosticStatus:
        config, control = self._pipeline.config.backpressure, self._worker.backpressure
        level = OK if control.state == 'normal' else WARN
        message = 'normal' if level == OK else f'thinning: one target in {control.keep_every} is kept'
        values = {
            'depth': self._worker.num_waiting,
            'high_watermark': config.high_watermark,
            'low_watermark': config.low_watermark,
            'state': control.state,
            'keep_every': control.keep_every,
        }
        return self._status('queue', level, message, values)

    def _compute(self) -> DiagnosticStatus:
        memory = self._pipeline.device_memory()  # first: a GPU that has failed may show it here
        device, fault = self._pipeline.device, self._pipeline.device_fault
        active = device.backend
        if self._metrics.failures > self._last_failures:
            level, message = ERROR, f'unforeseen exception: {self._metrics.last_failure}'
        elif fault:
            level, message = WARN, f'on the CPU: {fault}'
        elif active.name == 'reference':
            level, message = WARN, f'slow reference: {active.reason}'
        else:
            level, message = OK, active.name
        values: dict[str, Any] = {'backend': active.name, 'reason': active.reason}
        values |= {'device': device, 'device_reason': device.reason, 'device_fault': fault or ''}
        values |= {f'memory.{kind}': size for kind, size in memory.items()}
        values['exceptions'] = self._metrics.failures
        for stage, durations in self._metrics.stages.items():
            values[f'{stage}_p50_ms'], values[f'{stage}_p99_ms'] = percentiles_ms(durations)
        return self._status('compute', level, message, values)

    def _output(self, now: int, blocker: str) -> DiagnosticStatus:
        p50, p99 = percentiles_ms(self._metrics.latencies_ns)
        rate = self._metrics.output.rate_hz(now)
        if blocker:
            level, message = STALE, f'no frame: {blocker}'
        elif self._metrics.output.incompatible:
            level, message = WARN, self._metrics.output.incompatible_text
        else:
            level, message = OK, f'{rate:.1f} Hz'
        values = {
            'frames': self._metrics.frames,
            'rate_hz': rate,
            'subscribers': self._subscribers(),
            'latency_p50_ms': p50,
            'latency_p99_ms': p99,
        }
        return self._status('output', level, message, values)


def _new_drops(now: Counts, before: Counts) -> dict[str, int]:
    return {r: n - before.dropped.get(r, 0) for r, n in now.dropped.items() if n > before.dropped.get(r, 0)}


def _listed(drops: dict[str, int]) -> str:
    return ', '.join(f'{n} {reason}' for reason, n in sorted(drops.items(), key=lambda item: -item[1]))


def _text(value: Any) -> str:
    return f'{value:.3f}' if isinstance(value, float) else str(value)
