# SPDX-License-Identifier: Apache-2.0
"""The node's state as Prometheus metrics, one row a metric; docs/metrics.md lists them.

Nothing is counted here: a scrape reads what the node keeps anyway. Every label has values of a fixed set: streams that
the configuration names, stages and reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from robocache_core.units import SECOND
from robocache_ros.durations import BOUNDS_NS, Histogram
from robocache_ros.reading import BUILD, Reading
from robocache_ros.runtime import Runtime

#: Content type of ``Exposition.text``.
CONTENT_TYPE = str(CONTENT_TYPE_LATEST)


@dataclass(frozen=True)
class Row:
    """One metric.

    Attributes:
        family: class of its type.
        name: as it is exposed.
        meaning: one sentence.
        labels: their names.
        read: returns of a reading the values by those of the labels; None: there is none.
    """

    family: Callable[..., Any]
    name: str
    meaning: str
    labels: tuple[str, ...]
    read: Callable[[Reading], Mapping[tuple[str, ...], float | Histogram | None]]

    def collect(self, reading: Reading) -> Any:
        """Return the metric with its samples."""
        family = self.family(self.name, self.meaning, labels=self.labels)
        for labels, value in self.read(reading).items():
            if isinstance(value, Histogram):
                family.add_metric(labels, _buckets(value), value.sum_ns / SECOND)
            elif value is not None:
                family.add_metric(labels, value)
        return family


def _buckets(histogram: Histogram) -> list[tuple[str, int]]:
    """By the upper bound of each bucket in seconds, how many are at or below it."""
    bounds = [*(str(bound / SECOND) for bound in BOUNDS_NS), '+Inf']
    return list(zip(bounds, accumulate(histogram.counts), strict=True))


def _by_stream(items: Mapping[str, Any], value: Callable[[Any], Any]) -> dict[tuple[str, ...], Any]:
    return {(name,): value(item) for name, item in items.items()}


def _by_reason(items: Mapping[str, Any], drops: Callable[[Any], Mapping[str, int]]) -> dict[tuple[str, ...], Any]:
    return {(name, reason): count for name, item in items.items() for reason, count in drops(item).items()}


_COUNTER, _GAUGE, _HISTOGRAM = CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
_STREAM, _REASON = ('stream',), ('stream', 'reason')

ROWS = (
    Row(
        _COUNTER,
        'robocache_messages_received_total',
        'Messages that arrived',
        _STREAM,
        lambda now: _by_stream(now.snapshot.streams, lambda counts: counts.received),
    ),
    Row(
        _COUNTER,
        'robocache_messages_used_total',
        'Messages that a frame used',
        _STREAM,
        lambda now: _by_stream(now.snapshot.streams, lambda counts: counts.used),
    ),
    Row(
        _COUNTER,
        'robocache_messages_dropped_total',
        'Messages that were dropped',
        _REASON,
        lambda now: _by_reason(now.snapshot.streams, lambda counts: counts.dropped),
    ),
    Row(
        _COUNTER,
        'robocache_messages_damaged_total',
        'Messages that were used though they are damaged, and are not valid in their frame',
        _STREAM,
        lambda now: _by_stream(now.snapshot.damaged, lambda count: count),
    ),
    Row(
        _GAUGE,
        'robocache_messages_held',
        'Messages that arrived and are neither used nor dropped yet',
        _STREAM,
        lambda now: _by_stream(now.snapshot.streams, lambda counts: counts.held),
    ),
    Row(
        _COUNTER,
        'robocache_messages_lost_total',
        'Messages that the middleware reports as lost',
        _STREAM,
        lambda now: _by_stream(now.inputs, lambda record: record.lost),
    ),
    Row(
        _COUNTER,
        'robocache_messages_missing_total',
        'Messages that are missing by the gaps between stamps, whether or not the middleware reports them',
        _STREAM,
        lambda now: _by_stream(now.inputs, lambda record: record.missing_by_stamps),
    ),
    Row(
        _COUNTER,
        'robocache_qos_incompatible_total',
        'Publishers whose QoS does not fit the subscription',
        _STREAM,
        lambda now: _by_stream(now.inputs, lambda record: record.incompatible),
    ),
    Row(
        _COUNTER,
        'robocache_points_dropped_total',
        'Points of frames that no voxel took',
        _REASON,
        lambda now: _by_reason(now.points_dropped, lambda dropped: dropped),
    ),
    Row(
        _COUNTER,
        'robocache_time_jumps_total',
        'Jumps of the stamps of a stream, and of the ROS clock (/clock)',
        _STREAM,
        lambda now: _by_stream(now.snapshot.jumps, lambda jumps: jumps.count),
    ),
    Row(
        _GAUGE,
        'robocache_message_delay_seconds',
        'ROS time at the arrival of the last message minus its stamp',
        _STREAM,
        lambda now: _by_stream(now.inputs, lambda record: record.delay_s),
    ),
    Row(
        _COUNTER,
        'robocache_targets_received_total',
        'Targets that were due',
        (),
        lambda now: {(): now.snapshot.targets.received},
    ),
    Row(
        _COUNTER,
        'robocache_targets_used_total',
        'Targets that became a frame',
        (),
        lambda now: {(): now.snapshot.targets.used},
    ),
    Row(
        _COUNTER,
        'robocache_targets_dropped_total',
        'Targets that were dropped; the reason names the stream at fault behind a colon',
        ('reason',),
        lambda now: {(reason,): count for reason, count in now.snapshot.targets.dropped.items()},
    ),
    Row(
        _GAUGE,
        'robocache_targets_held',
        'Targets that are due and neither used nor dropped yet',
        (),
        lambda now: {(): now.snapshot.targets.held},
    ),
    Row(
        _COUNTER,
        'robocache_targets_given_up_total',
        'Targets that did not wait for a stream any longer',
        _STREAM,
        lambda now: _by_stream(now.snapshot.given_up, lambda count: count),
    ),
    Row(
        _COUNTER,
        'robocache_frames_total',
        'Frames that were published',
        (),
        lambda now: {(): now.snapshot.frames},
    ),
    Row(
        _COUNTER,
        'robocache_frames_untraced_total',
        'Frames that were published, and not traced though they should be',
        (),
        lambda now: {(): now.frames_untraced},
    ),
    Row(
        _COUNTER,
        'robocache_failures_total',
        'Unforeseen exceptions',
        (),
        lambda now: {(): now.snapshot.failures},
    ),
    Row(
        _GAUGE,
        'robocache_inbox_messages',
        'Messages that wait for the worker',
        _STREAM,
        lambda now: _by_stream(now.inboxes, lambda level: level.depth),
    ),
    Row(
        _GAUGE,
        'robocache_inbox_bytes',
        'Bytes of the messages that wait for the worker',
        _STREAM,
        lambda now: _by_stream(now.inboxes, lambda level: level.nbytes),
    ),
    Row(
        _GAUGE,
        'robocache_inbox_saturation_ratio',
        'How full an inbox is, of messages or bytes, 0 to 1',
        _STREAM,
        lambda now: _by_stream(now.inboxes, lambda level: level.saturation),
    ),
    Row(
        _GAUGE,
        'robocache_queue_depth',
        'Targets that wait for compute, as ~/queue_depth has it',
        (),
        lambda now: {(): now.num_waiting},
    ),
    Row(
        _GAUGE,
        'robocache_queue_saturation_ratio',
        'The same of those that may wait (backpressure.max_ready), 0 to 1',
        (),
        lambda now: {(): now.saturation},
    ),
    Row(
        _GAUGE,
        'robocache_keep_every',
        'Back-pressure: one target in this many is kept',
        (),
        lambda now: {(): now.keep_every},
    ),
    Row(
        _GAUGE,
        'robocache_epoch',
        'Number of jumps of time since the node was configured',
        (),
        lambda now: {(): now.epoch},
    ),
    Row(
        _GAUGE,
        'robocache_active',
        '1 while the node is active, else 0',
        (),
        lambda now: {(): int(now.is_active)},
    ),
    Row(
        _GAUGE,
        'robocache_device_memory_bytes',
        "Memory of the GPU as of the last report: free, total, and the process's allocated and scratch; pinned of the "
        'host',
        ('kind',),
        lambda now: {(kind,): size for kind, size in now.memory.items()},
    ),
    Row(
        _GAUGE,
        'robocache_blocker_info',
        '1 for each thing that keeps frames from coming, as of the last report; /diagnostics has the sentence',
        _REASON,
        lambda now: {(fault.stream, str(fault.reason)): 1 for fault in now.faults},
    ),
    Row(
        _GAUGE,
        'robocache_build_info',
        '1; what is installed, and what computes',
        BUILD,
        lambda now: {now.build: 1},
    ),
    Row(
        _HISTOGRAM,
        'robocache_transport_seconds',
        "From a message's publication, by its publisher's clock, to its arrival by this machine's",
        _STREAM,
        lambda now: _by_stream(now.inputs, lambda record: record.transports),
    ),
    Row(
        _HISTOGRAM,
        'robocache_inbox_wait_seconds',
        'From the arrival of a message to when the worker took it',
        _STREAM,
        lambda now: _by_stream(now.inputs, lambda record: record.waits),
    ),
    Row(
        _HISTOGRAM,
        'robocache_stage_seconds',
        'How long a stage took; align: from the arrival of the trigger message to the computation of its target',
        ('stage',),
        lambda now: {(stage,): durations for stage, durations in now.stages.items()},
    ),
    Row(
        _HISTOGRAM,
        'robocache_frame_latency_seconds',
        "From a frame's stamp to its publication, by ROS time",
        (),
        lambda now: {(): now.latencies},
    ),
)


class Exposition:
    """A collector over a runtime, with a registry of its own.

    Args:
        runtime: is read at each scrape, on the thread of the scrape.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def collect(self) -> Iterator[Any]:
        """Yield every metric as of one instant."""
        reading = Reading.take(self._runtime)
        for row in ROWS:
            yield row.collect(reading)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return bytes(generate_latest(self._registry))
