# SPDX-License-Identifier: Apache-2.0
"""The node's state as diagnostic statuses (REP 107).

Levels. Input: STALE while the node is not active, or when silent for 3 periods of the expected rate (1 s where none is
set), ERROR for incompatible QoS or when everything of the last period was dropped, WARN for any loss, for damaged
images that were kept, for frames that have nothing of it, for publishers of another type on its topic, for messages
that several publishers send in turn, for odometry whose pose is frozen, for a stream that goes on at a lower rate, for
a rate that is off the expected one by more than its tolerance, or for stamps that do not fit their arrival for a cause
that clocks are known for. sync: ERROR when no frame came, WARN when targets were dropped or did not wait for a stream,
when stamps jump to and fro, and when a stream's clock is the odd one out or those of two differ. queue: WARN while
thinning. compute: WARN on the reference, and on the CPU where a GPU was asked for or has failed, ERROR after an
unforeseen exception. output: STALE when no frame left in the last period, WARN when a subscriber asks for a QoS that is
not offered, another node publishes there too, or ROS time stands still at 0; where stamps are of another clock, as
those of a bag that is played without /clock, it says so in place of the latency.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from robocache_core.config import StreamConfig
from robocache_core.ledger import Reason
from robocache_core.pipeline import Pipeline
from robocache_core.units import MS, SECOND
from robocache_ros import dds_environment, lost_targets
from robocache_ros.blocker import Blockage, Blocker, Cause, Fault
from robocache_ros.clock import Clock
from robocache_ros.clock_differences import AHEAD_NS, MOST_LATENCY_NS
from robocache_ros.drop_log import DAMAGED, Explanation
from robocache_ros.empty_frames import describe_empty
from robocache_ros.frozen_poses import FrozenPoses
from robocache_ros.inbox import Inboxes
from robocache_ros.metrics import InputRecord, Metrics
from robocache_ros.period import Period, Snapshot, listed, span
from robocache_ros.worker import Worker

OK, WARN, ERROR, STALE = (
    DiagnosticStatus.OK,
    DiagnosticStatus.WARN,
    DiagnosticStatus.ERROR,
    DiagnosticStatus.STALE,
)
#: What is wrong while ROS time stands at 0, and while the node is not active.
NO_CLOCK = Fault(Cause.NO_CLOCK, '', 'use_sim_time is true and no /clock comes')
NOT_ACTIVE = Fault(Cause.INACTIVE, '', 'the node is not active')


class Diagnostics:
    """Composes the statuses; keeps the last counts to compute what happened since.

    Args:
        name: the node's full name, which begins every status name and is the hardware id.
        pipeline: its ledger.
        inboxes: how full they are.
        worker: its back-pressure.
        metrics: rates and durations.
        topics: resolved topic and short message type by stream.
        types_on: returns the full message types of a topic's publishers.
        published: returns the full message types of every topic that another node publishes.
        num_subscribers: returns how many subscribers the fused topic has.
        find_twin: returns who else publishes on the fused topic; empty where nobody does.
        now_ns: returns ROS time, ns; 0 where it is that of /clock, and none has come.
        explanations: by stream and reason, or ``DAMAGED``, why messages were dropped or are not valid.
        frozen_poses: of the odometry among the streams.
        clock: the clock of ``metrics``.
    """

    def __init__(
        self,
        name: str,
        pipeline: Pipeline,
        inboxes: Inboxes,
        worker: Worker,
        metrics: Metrics,
        topics: Mapping[str, tuple[str, str]],
        types_on: Callable[[str], list[str]],
        published: Callable[[], Mapping[str, Sequence[str]]],
        num_subscribers: Callable[[], int],
        find_twin: Callable[[], str],
        now_ns: Callable[[], int],
        explanations: Mapping[tuple[str, str], Explanation],
        frozen_poses: FrozenPoses,
        clock: Clock,
    ) -> None:
        self._name = name
        self._pipeline = pipeline
        self._inboxes = inboxes
        self._worker = worker
        self._metrics = metrics
        self._topics = topics
        self._num_subscribers = num_subscribers
        self._find_twin = find_twin
        self._now_ns = now_ns
        self._explanations, self._frozen_poses = explanations, frozen_poses
        self._clock = clock
        self._blocker = Blocker(pipeline, metrics, topics, types_on, published, explanations)
        with metrics.lock:
            self._last = Snapshot.take(pipeline, metrics)
        #: Why nothing came out as of the last report.
        self.blockage = Blockage()
        #: Bytes of the device's memory as of the last report, by kind: empty on the CPU.
        self.memory: dict[str, int] = {}
        #: Who else publishes on the fused topic as of the last report; empty where nobody does.
        self.twin = ''
        #: By stream that is too slow to be waited for, as of the last report, what follows.
        self.slow: dict[str, str] = {}
        #: By stream of odometry whose pose is frozen as of the last report, what is wrong with it.
        self.frozen: dict[str, str] = {}

    def report(self, *, active: bool) -> DiagnosticArray:
        """Return all statuses, of the time since the last report.

        Call it on the worker's thread, between two messages, or while there is no worker: only then is what is held
        at rest and can be counted.
        """
        self.twin = self._find_twin()
        self.memory = self._pipeline.device_memory()  # first: a GPU that has failed may show it here
        others = {name: self._blocker.other_types(name) for name in self._topics}
        with self._metrics.lock:
            with self._inboxes.still():
                snapshot = Snapshot.take(self._pipeline, self._metrics)
                held = {name: level.depth for name, level in self._inboxes.levels().items()}
            for name in held:
                held[name] += self._pipeline.num_held(name)
            period = Period(self._last, snapshot, self._clock.steady_ns())
            self._last = snapshot
            self.frozen = {name: frozen for name in held if (frozen := self._frozen_poses.now(name))}
            self.slow = lost_targets.describe_slow(self._pipeline, snapshot.given_up)
            self.blockage = self._blocker.find(period) if active else Blockage.of(NOT_ACTIVE)
            if active and self.blocker and not self._now_ns():
                self.blockage = Blockage(f'{NO_CLOCK.text}; {self.blocker}', (NO_CLOCK, *self.blockage.faults))
            statuses = [self._input(name, held[name], others[name], period, active=active) for name in held]
            statuses += [self._sync(period), self._queue(), self._compute(period), self._output(period)]
        return DiagnosticArray(status=statuses)

    @property
    def blocker(self) -> str:
        """Why nothing came out as of the last report, in one line; empty where something did."""
        return self.blockage.text

    def busy(self, waited_s: float) -> DiagnosticStatus:
        """Return the status that stands for all while the worker does not answer."""
        return self._status('compute', ERROR, f'the worker has been busy with one step for {waited_s:.1f} s', {})

    def backpressure(self) -> DiagnosticStatus:
        """Return the state for upstream: saturation 0..1, keep_every, and every inbox."""
        control = self._worker.backpressure
        values = {
            'saturation': self._worker.saturation,
            'keep_every': control.keep_every,
            'depth': self._worker.num_waiting,
        }
        for name, inbox in self._inboxes.levels().items():
            values[f'{name}.depth'] = inbox.depth
            values[f'{name}.saturation'] = inbox.saturation
        level = OK if control.state == 'normal' else WARN
        return self._status('backpressure', level, control.state, values)

    def _input(self, name: str, held: int, others: str, period: Period, *, active: bool) -> DiagnosticStatus:
        topic, kind = self._topics[name]
        record, config, counts = self._metrics.inputs[name], self._pipeline.streams[name], period.after.streams[name]
        rate = record.rate_hz(period.now_ns)
        level, message = self._input_level(name, held, others, rate, period)
        if not active and level != ERROR:
            level, message = STALE, NOT_ACTIVE.text
        slowdown = record.gaps.slowdown if period.has_slowed_down(name) else ''
        frozen = self.frozen.get(name, '')
        wrongs = self._blocker.several_senders(name), self._blocker.off_arrival(name, with_all=True), slowdown, frozen
        for wrong in wrongs if level != STALE else ():
            if not wrong or message.endswith(wrong):
                continue
            level, message = (WARN, wrong) if level == OK else (level, f'{message}; {wrong}')
        values = {
            'topic': topic,
            'type': kind,
            'other_types': others,
            'rate_hz': rate,
            'expected_rate_hz': config.expected_rate_hz,
            'jitter_ms': record.jitter_ms(period.now_ns),
            'offset_ms': record.offset_ms(),
            'received': counts.received,
            'used': counts.used,
            'held': held,
            **{f'dropped.{reason}': n for reason, n in counts.dropped.items()},
            **{f'last.{reason}': self._explanation(name, reason) for reason in counts.dropped},
            **self._damage(name, period),
            'qos.incompatible': record.incompatible,
            'qos.lost': record.lost,
            'missing_by_stamps': record.gaps.missing,
            **_clock(config, record),
            **{f'points.{reason}': n for reason, n in self._pipeline.points_dropped.get(name, {}).items()},
            **({'left_out': self._pipeline.left_out[name]} if name in self._pipeline.left_out else {}),
            **self._greenwave(name, rate, period),
        }
        return self._status(f'input {name}', level, message, values)

    def _damage(self, name: str, period: Period) -> dict[str, Any]:
        """How many messages were used though damaged, and what was wrong with the last; empty where none was."""
        damaged = period.after.damaged[name]
        return {DAMAGED: damaged, f'last.{DAMAGED}': self._explanation(name, DAMAGED)} if damaged else {}

    def _greenwave(self, name: str, rate: float, period: Period) -> dict[str, Any]:
        """What NVIDIA's greenwave_monitor shows of a topic, by its keys; the tolerance in percent."""
        record, config = self._metrics.inputs[name], self._pipeline.streams[name]
        return {
            'frame_rate_node': rate,
            'frame_rate_msg': record.stamp_rate_hz(period.now_ns),
            'current_delay_from_realtime_ms': 'N/A' if record.delay_ns is None else record.delay_ns / 1e6,
            'expected_frequency': config.expected_rate_hz,
            'tolerance': config.rate_tolerance,
        }

    def _explanation(self, name: str, reason: str) -> str:
        """Why the last message of a stream was dropped for a reason; it may quote what a stranger sent."""
        explanation = self._explanations.get((name, reason))
        return '' if explanation is None else explanation.message[:300].encode(errors='replace').decode()

    def _input_level(self, name: str, held: int, others: str, rate: float, period: Period) -> tuple[bytes, str]:
        """Level and message of an input: the worst that holds."""
        record, counts = self._metrics.inputs[name], period.after.streams[name]
        expected_hz = self._pipeline.streams[name].expected_rate_hz
        losses = {reason: n for reason, n in period.drops(name).items() if reason != Reason.UNSELECTED}
        silence = record.silence_ns(period.now_ns)
        received, lost = period.num_received(name), period.num_lost(name)
        if held != counts.held:
            return ERROR, f'the ledger does not add up: {counts}, {held} held'
        if silence is None:
            return (ERROR if record.incompatible else STALE), self._blocker.silent(name).text
        if silence > (3 * SECOND / expected_hz if expected_hz else SECOND):
            return STALE, f'no message for {silence / SECOND:.1f} s'
        if received and sum(losses.values()) >= received and not period.num_used(name):
            return ERROR, f'all dropped: {listed(losses)}'
        if losses:
            return WARN, f'dropped: {listed(losses)}'
        if damaged := period.num_damaged(name):
            return WARN, f'used though damaged, invalid in the frame: {damaged} {Reason.DECODE_FAILED}'
        if empty := describe_empty(self._pipeline, name, period):
            return WARN, empty
        if lost:
            return WARN, self._loss(name, lost, received + lost)
        if others:
            return WARN, f'{self._topics[name][0]} also has publishers of {others}: give them a topic of their own'
        tolerance = self._pipeline.streams[name].rate_tolerance
        if expected_hz and abs(rate - expected_hz) > tolerance / 100 * expected_hz:
            return WARN, f'{rate:.1f} Hz, expected {expected_hz:.1f} Hz within {tolerance:g} %'
        return OK, f'{rate:.1f} Hz'

    def _loss(self, name: str, lost: int, num_messages: int) -> str:
        """Say that messages were lost; the stamps of several publishers look like it, too."""
        if senders := self._blocker.several_senders(name) or self._blocker.several_publishers(name):
            return f'{lost} of {num_messages} seem lost by their stamps; but {senders}'
        return f'{lost} of {num_messages} lost on the way here; {dds_environment.sender_remedy()}'

    def _sync(self, period: Period) -> DiagnosticStatus:
        targets, warnings = period.after.targets, self._sync_warnings(period)
        if self.blocker:
            level, message = ERROR, self.blocker
        elif warnings:
            level, message = WARN, '; '.join(warnings)
        else:
            level, message = OK, 'aligned'
        values = {
            'trigger': self._pipeline.config.trigger or f'{self._pipeline.config.sync.rate_hz} Hz',
            'epoch': self._pipeline.epoch,
            'targets': targets.received,
            'emitted': targets.used,
            'pending': targets.held,
            **{f'dropped.{reason}': n for reason, n in targets.dropped.items()},
            **{f'given_up.{name}': n for name, n in period.after.given_up.items()},
            **{f'time_jumps.{name}': jumps.count for name, jumps in period.after.jumps.items()},
            **{f'ahead_ms.{name}': offset_ns / 1e6 for name, offset_ns in self._pipeline.odd_clocks().items()},
            **self._apart(),
            **{f'slow.{name}': sentence for name, sentence in self.slow.items()},
            'blocker': self.blocker,
        }
        return self._status('sync', level, message, values)

    def _apart(self) -> dict[str, float]:
        """Of each lidar that is deskewed, how much more its messages are behind their stamps than its IMU's, ms."""
        least = {name: record.delays.least_ns for name, record in self._metrics.inputs.items()}
        return {
            f'apart_ms.{name}.{stream.motion_source}': (lidar_ns - imu_ns) / 1e6
            for name, stream in self._pipeline.streams.items()
            if (lidar_ns := least[name]) is not None and (imu_ns := least.get(stream.motion_source)) is not None
        }

    def _sync_warnings(self, period: Period) -> list[str]:
        """Say what is wrong though frames come out."""
        warnings = [f'targets dropped: {listed(period.target_drops)}'] if period.target_drops else []
        if given_up := {name: count for name, count in period.given_up.items() if name not in self.slow}:
            warnings.append(f'targets that did not wait: {listed(given_up)}')
        jumps = self._blocker.jumps(period)
        return [*warnings, *([jumps] if jumps else self._blocker.odd_clocks(period).values())]

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

    def _compute(self, period: Period) -> DiagnosticStatus:
        device, fault = self._pipeline.device, self._pipeline.device_fault
        active = device.backend
        if period.num_failures > 0:
            level, message = ERROR, f'unforeseen exception: {self._metrics.last_failure}'
        elif fault:
            level, message = WARN, f'on the CPU: {fault}'
        elif active.name == 'reference':
            level, message = WARN, f'slow reference: {active.reason}'
        else:
            level, message = OK, active.name
        values: dict[str, Any] = {'backend': active.name, 'reason': active.reason}
        values |= {'device': device, 'device_reason': device.reason, 'device_fault': fault or ''}
        for grid in self._pipeline.config.grids:
            dropped = self._pipeline.points_dropped[grid.name]
            values |= {f'points.{grid.name}.{reason}': count for reason, count in dropped.items()}
        values |= {f'memory.{kind}': size for kind, size in self.memory.items()}
        values['exceptions'] = self._metrics.failures
        for stage, durations in self._metrics.stages.items():
            values[f'{stage}_p50_ms'], values[f'{stage}_p99_ms'] = durations.percentiles_ms()
        return self._status('compute', level, message, values)

    def _output(self, period: Period) -> DiagnosticStatus:
        p50, p99 = self._metrics.latencies.percentiles_ms()
        rate = self._metrics.output.rate_hz(period.now_ns)
        if self.blocker:
            level, message = STALE, f'no frame: {self.blocker}'
        elif not self._now_ns():
            level, message = WARN, NO_CLOCK.text
        elif self._metrics.output.incompatible:
            level, message = WARN, self._metrics.output.incompatible_text
        elif self.twin:
            level, message = WARN, self.twin
        elif _is_latency(p50):
            level, message = OK, f'{rate:.1f} Hz'
        else:
            apart = f'{span(round(abs(p50) * MS))} {"behind" if p50 > 0 else "ahead of"}'
            level, message = OK, f'{rate:.1f} Hz; no latency is known: stamps are {apart} the clock of this node'
        values = {
            'frames': self._metrics.frames,
            'rate_hz': rate,
            'subscribers': self._num_subscribers(),
            'latency_p50_ms': p50 if _is_latency(p50) else 'N/A',
            'latency_p99_ms': p99 if _is_latency(p99) else 'N/A',
        }
        return self._status('output', level, message, values)

    def _status(self, task: str, level: bytes, message: str, values: dict[str, Any]) -> DiagnosticStatus:
        pairs = [KeyValue(key=key, value=_text(value)) for key, value in values.items()]
        return status(self._name, task, level, message, pairs)


def status(node: str, task: str, level: bytes, message: str, values: list[KeyValue]) -> DiagnosticStatus:
    """Return a status of the node of this full name; the name leads the status's, without its first slash."""
    name = node.lstrip('/')
    return DiagnosticStatus(level=level, name=f'{name}: {task}', message=message, hardware_id=name, values=values)


def _clock(config: StreamConfig, record: InputRecord) -> dict[str, Any]:
    """How an input is stamped, and how its clock differs from that of this node by its messages that came fastest."""
    if config.stamped_by_arrival:
        return {'stamp': 'arrival', 'stamp_offset_s': config.stamp_offset_ns / SECOND}
    least_ns, drift = record.delays.least_ns, record.delays.drift()
    return {
        'stamp': 'header',
        'stamp_offset_s': config.stamp_offset_ns / SECOND,
        'least_delay_ms': 'N/A' if least_ns is None else least_ns / 1e6,
        'drift_ppm': 'N/A' if drift is None else drift.ppm,
        'drift_is_clear': drift is not None and drift.is_clear,
    }


def _is_latency(value_ms: float) -> bool:
    """Whether a time from stamp to frame can be that by one clock; NaN, of no frame, can."""
    return not (value_ms < -AHEAD_NS / MS or value_ms > MOST_LATENCY_NS / MS)


def _text(value: Any) -> str:
    return f'{value:.3f}' if isinstance(value, float) else str(value)
