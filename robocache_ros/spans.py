# SPDX-License-Identifier: Apache-2.0
"""A frame as an OpenTelemetry trace: a span from its trigger's arrival to its publication, and one for each stage."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import set_span_in_context

import robocache_ros
from robocache_core.frame import FusedFrame
from robocache_ros.clock import Clock
from robocache_ros.frame_times import FrameTimes

#: Spans that may wait for the collector, and that are sent at once; how long they are gathered, ms.
MOST_WAITING, BATCH, DELAY_MS = 2048, 512, 1000
#: What the collector is given for a batch, with what is tried again, and all that wait when the tracer is closed, s.
TIMEOUT_S, CLOSE_S = 5.0, 0.5


class Stage(NamedTuple):
    """A stage of a frame: its name, when it began and ended (steady clock, ns), and the stage that it is in."""

    name: str
    begin_ns: int
    end_ns: int
    within: str = ''


def ids_of(node: str, frame: FusedFrame) -> tuple[int, int]:
    """Return the trace id and the id of the frame's own span, by which a consumer of the frame can add to the trace.

    Args:
        node: full name of the node that made the frame.
        frame: of which stamp, epoch and sequence count.
    """
    text = f'{node} {frame.stamp_ns} {frame.epoch} {frame.sequence}'
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:16], 'big') or 1, int.from_bytes(digest[16:24], 'big') or 1


def traceparent(node: str, frame: FusedFrame) -> str:
    """Return the W3C ``traceparent`` of a frame; arguments as of ``ids_of``."""
    trace, span = ids_of(node, frame)
    return f'00-{trace:032x}-{span:016x}-01'


def otlp_exporter(endpoint: str) -> SpanExporter:
    """Return what sends spans to the URL ``endpoint`` over HTTP; OTEL_EXPORTER_OTLP_* set headers and certificates."""
    # What the collector answers would be logged as it is; what is lost is counted and logged here.
    logger = logging.getLogger('opentelemetry.exporter.otlp')
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return OTLPSpanExporter(endpoint=endpoint, timeout=TIMEOUT_S)


def stages_of(frame: FusedFrame, times: FrameTimes) -> Iterator[Stage]:
    """Yield the stages of a frame in their order, each behind the one that it is in.

    Those of the computation are laid one after the other, as ``latency_ns`` has durations alone.
    """
    if times.trigger is not None:
        arrived, taken, decoded = times.trigger
        yield Stage('wait', arrived, taken)
        yield Stage('decode', taken, decoded)
        yield Stage('align', decoded, times.began_ns)
    yield Stage('compute', times.began_ns, times.computed_ns)
    begin = times.began_ns
    for name, duration_ns in frame.latency_ns.items():
        yield Stage(f'compute.{name}', begin, begin + duration_ns, 'compute')
        begin += duration_ns
    yield Stage('wait_for_publisher', times.computed_ns, times.publishing_ns)
    yield Stage('publish', times.publishing_ns, times.published_ns)


class FrameTracer:
    """Exports a trace for each frame, in batches on a thread of its own; where that falls behind, frames are left out.

    Args:
        exporter: sends the spans.
        name: full name of the node.
        clock: that of the times of frames.
        on_lost: called with a number of frames that were not exported, and why, on any thread.
    """

    def __init__(self, exporter: SpanExporter, name: str, clock: Clock, on_lost: Callable[[int, str], None]) -> None:
        self._name = name
        self._clock = clock
        self._on_lost = on_lost
        self._ids = _Ids()
        self._exporter = _Counted(exporter, on_lost)
        resource = {
            'service.name': 'robocache',
            'service.instance.id': name,
            'service.version': robocache_ros.__version__,
        }
        self._provider = TracerProvider(
            sampler=ALWAYS_ON, resource=Resource.create(resource), id_generator=self._ids, shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter, MOST_WAITING, DELAY_MS, BATCH))
        self._tracer = self._provider.get_tracer('robocache', robocache_ros.__version__)

    def record(self, frame: FusedFrame, times: FrameTimes) -> None:
        """Take a frame that was published; never waits for the collector."""
        stages = list(stages_of(frame, times))
        if not self._exporter.reserve(1 + len(stages)):
            self._on_lost(1, f'{MOST_WAITING} spans wait for it')
            return
        since_epoch_ns = time.time_ns() - self._clock.steady_ns()  # at the beginning of the steady clock
        trace, span = ids_of(self._name, frame)
        self._ids.follow(trace, span)
        root = self._tracer.start_span(
            'frame', attributes=_attributes(frame), start_time=stages[0].begin_ns + since_epoch_ns
        )
        spans = {'': root}
        for stage in stages:
            spans[stage.name] = self._tracer.start_span(
                stage.name,
                context=set_span_in_context(spans[stage.within]),
                start_time=stage.begin_ns + since_epoch_ns,
            )
            spans[stage.name].end(stage.end_ns + since_epoch_ns)
        root.end(stages[-1].end_ns + since_epoch_ns)

    def close(self) -> None:
        """Send what waits, for up to ``CLOSE_S``; what is left then is lost."""
        closing = threading.Thread(target=self._provider.shutdown, name='robocache-tracing-end', daemon=True)
        closing.start()
        closing.join(CLOSE_S)
        if closing.is_alive():
            self._exporter.shutdown()


def _attributes(frame: FusedFrame) -> dict[str, Any]:
    streams: dict[str, list[str]] = {
        'valid': [name for name, is_valid in frame.valid.items() if is_valid],
        'invalid': [name for name, is_valid in frame.valid.items() if not is_valid],
        'given_up': list(frame.given_up),
        'damaged': list(frame.damaged),
    }
    return {
        'robocache.stamp_ns': frame.stamp_ns,
        'robocache.sequence': frame.sequence,
        'robocache.epoch': frame.epoch,
        **{f'robocache.{kind}': names for kind, names in streams.items()},
        **{f'robocache.age_ns.{name}': age for name, age in frame.age_ns.items()},
    }


class _Ids(RandomIdGenerator):  # type: ignore[misc]
    """Gives the next frame's trace and span the ids that follow from it, and its stages random ones."""

    def __init__(self) -> None:
        self._trace = self._first = 0

    def follow(self, trace: int, span: int) -> None:
        self._trace, self._first = trace, span

    def generate_trace_id(self) -> int:
        return self._trace

    def generate_span_id(self) -> int:
        first, self._first = self._first, 0
        return first or int(super().generate_span_id())

    def is_trace_id_random(self) -> bool:
        return False


class _Counted(SpanExporter):  # type: ignore[misc]
    """Counts the spans that wait for an exporter, and reports those that it does not send."""

    def __init__(self, exporter: SpanExporter, on_lost: Callable[[int, str], None]) -> None:
        self._exporter = exporter
        self._on_lost = on_lost
        self._lock = threading.Lock()
        self._num_waiting = 0

    def reserve(self, num_spans: int) -> bool:
        """Count spans as waiting, all or none of them; False where they are too many."""
        with self._lock:
            has_room = self._num_waiting + num_spans <= MOST_WAITING
            self._num_waiting += num_spans * has_room
            return has_room

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            with self._lock:
                self._num_waiting -= len(spans)
            num_frames = sum(span.parent is None for span in spans)
            if result is not SpanExportResult.SUCCESS and num_frames:
                self._on_lost(num_frames, 'it cannot be reached, or refuses them')
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()
