# SPDX-License-Identifier: Apache-2.0
"""A bag through the pipeline without ROS's network: the frames that the live node gives where nothing is dropped."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from robocache_core.config import PipelineConfig
from robocache_core.frame import FusedFrame
from robocache_core.ledger import Counts
from robocache_core.observer import Observer
from robocache_core.pipeline import Pipeline
from robocache_core.text import printable
from robocache_ros.bag_outcome import BagOutcome, lacking_in
from robocache_ros.bag_types import types_in
from robocache_ros.bag_watch import BagWatch, RecordedClock
from robocache_ros.bags import Bag, open_bag
from robocache_ros.clock import SteadyClock
from robocache_ros.decoders import Decoders
from robocache_ros.drop_log import DropLog, Explanation
from robocache_ros.event_log import EventLog
from robocache_ros.events import Event
from robocache_ros.ingest import Ingest
from robocache_ros.message import Serialized
from robocache_ros.moving_transforms import MovingTransforms
from robocache_ros.poses import BagPoses, PoseSource, streams_to_locate
from robocache_ros.received import Received
from robocache_ros.sources import Route, choice, routes
from robocache_ros.static_transforms import StaticTransforms

#: Reads the messages of a bag on some topics, as ``Bag.messages`` does.
Messages = Callable[[Bag, Collection[str]], Iterator[tuple[str, int, bytes]]]

#: What ``BagFrames.counts`` calls the account of the targets; no stream has such a name.
TARGETS = '(targets)'

_UNBOUNDED = 1 << 62
_STAMP_END = 12  # bytes of a serialized message up to the end of its header's stamp
_logger = logging.getLogger(__name__)


def make_pipeline(config: PipelineConfig, observer: Observer | None = None, *, on_host: bool = False) -> Pipeline:
    """Return the pipeline of ``config`` without a bound on ready targets: offline nobody waits, so none is dropped.

    With ``on_host`` the tensors of its frames are on the CPU, whatever computes them.
    """
    return Pipeline(
        dataclasses.replace(config, backpressure=dataclasses.replace(config.backpressure, max_ready=_UNBOUNDED)),
        on_host=lambda: on_host,
        observer=observer,
    )


def fused_frames(
    bag: Path,
    config: PipelineConfig,
    pipeline: Pipeline | None = None,
    messages: Messages = Bag.messages,
    log_format: str = 'text',
    *,
    start_ns: int | None = None,
    end_ns: int | None = None,
    views: bool = False,
) -> BagFrames:
    """Return the fused frames of a bag, in the order in which it was recorded.

    Close it, or use it in a ``with``, if you stop early: until then the bag is open, and threads wait for its images.

    Their tensors are on the pipeline's device, which ``compute.device`` chooses.

    ``start_ns`` and ``end_ns`` choose a shard: the frames whose last message, with which nothing more was waited for,
    was recorded from ``start_ns`` on and before ``end_ns``. Frames that wait at the end of the bag are of the shard
    that has its last message. So the frames of shards whose bounds adjoin are those of one pass over the bag, bit by
    bit: all that is recorded before a shard is aligned too, and what streams learn of it (epochs, times of points,
    channels of images) is learned; but no image is decoded, and no operation computed. ``sequence`` counts the frames
    of the shard: add the number of frames before it. ``counts`` add up to those of one pass, but for samples that a
    damaged image or scan before a shard kept from use. The one thing of consequence that a shard does not know is how
    many maps to rectify images by were made in the second before it (``camera_info_changes``).

    Poses of sensors come from the configuration, else from the bag's /tf_static, and of those that move from /tf.
    Relative topics are those of a node without a namespace.

    Args:
        bag: a rosbag2, mcap or sqlite3.
        config: the streams; topics that the bag lacks give nothing, and a warning.
        pipeline: ``make_pipeline(config)`` by default.
        messages: reads the bag; what looks at its messages in the same pass is put here.
        log_format: form of the lines in Python's log: ``text`` or ``json`` (docs/logs.md).
        start_ns: record time at which the shard begins, ns; None: with the bag.
        end_ns: record time before which it ends, ns; None: with the bag.
        views: read what shows where images are, too: calibrations that no stream needs, for the ``views`` of frames,
            and /tf, for ``BagFrames.poses``.

    Raises:
        ValueError: with the first frame: a stream's topic has another type in the bag, or (``BagError``) the bag cannot
            be read.
    """
    bounds = Bounds(_ALWAYS.start_ns if start_ns is None else start_ns, _ALWAYS.end_ns if end_ns is None else end_ns)
    return BagFrames(bag, config, pipeline or make_pipeline(config), messages, log_format, bounds, views)


class Bounds(NamedTuple):
    """Record times from ``start_ns`` on, and before ``end_ns``."""

    start_ns: int
    end_ns: int


_ALWAYS = Bounds(-_UNBOUNDED, _UNBOUNDED)


class BagFrames(Iterator[FusedFrame]):
    """The fused frames of a bag, computed as they are asked for. Drops and silences are logged as the node logs them.

    Attributes:
        pipeline: computes them; its ledger counts every message, also those before a shard.
    """

    def __init__(
        self,
        bag: Path,
        config: PipelineConfig,
        pipeline: Pipeline,
        messages: Messages,
        log_format: str,
        bounds: Bounds,
        views: bool,
    ) -> None:
        self.pipeline = pipeline
        self._reader = _Reader(pipeline, messages, log_format, bounds, views)
        self._frames = self._reader.frames(bag, list(routes(config)))

    def __next__(self) -> FusedFrame:
        return next(self._frames)

    def __enter__(self) -> BagFrames:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the bag and end the threads that decode its images; there are no more frames. May be repeated."""
        self._frames.close()

    @property
    def poses(self) -> PoseSource | None:
        """Poses of frames, as far as the bag has been read; of sensors that move with ``views`` alone.

        None before the first frame was asked for.
        """
        return self._reader.poses

    @property
    def explanations(self) -> Mapping[tuple[str, str], Explanation]:
        """By stream and reason, or ``DAMAGED``, the last message's explanation, and how many messages there were."""
        return self._reader.drops.explanations

    @property
    def counts(self) -> Mapping[str, Counts]:
        """By stream, and for ``TARGETS``, the accounts of the shard."""
        now = counts_of(self.pipeline)
        before = now if self._reader.before is None else self._reader.before
        return {name: counts - before[name] for name, counts in now.items()}

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was logged of the bag's clocks, and, after the last frame, of what was lost and why no frame came."""
        watch = self._reader.watch
        return tuple(watch.warnings.values()) if watch is not None else ()

    @property
    def outcome(self) -> BagOutcome:
        """What became of the shard, and what is wrong with the bag as far as it was read."""
        reader, watch = self._reader, self._reader.watch
        now = lacking_in(self.pipeline, reader.not_valid)
        before = now if reader.lacking_before is None else reader.lacking_before
        lacking = {what: counts - before[what] for what, counts in now.items()}
        recording = watch.of_recording if watch is not None else ()
        return BagOutcome(self.counts, lacking, tuple(reader.log.defects), recording)


def counts_of(pipeline: Pipeline) -> dict[str, Counts]:
    """Return what a pipeline has counted by stream, and of the targets under ``TARGETS``."""
    accounts = {**pipeline.ledger, TARGETS: pipeline.targets}
    return {name: account.counts() for name, account in accounts.items()}


class _BagLog(EventLog):
    """Keeps what it logs of the defects of a bag.

    Attributes:
        defects: a line each, without the path of the bag.
    """

    def __init__(self, clock: RecordedClock, log_format: str) -> None:
        super().__init__(_logger, SteadyClock(), clock.steady_ns, log_format)
        self.defects: list[str] = []

    def emit(self, event: Event, **fields: Any) -> None:
        if event is Event.BAG_DEFECT:
            self.defects.append(printable(fields['detail']))
        elif event is Event.BAG_TOPICS:
            self.defects.append(printable(f'it has no messages on {fields["absent"]}'))
        super().emit(event, **fields)


class _Reader:
    """Reads a bag through a pipeline, and keeps what is said of it.

    It does not hold its frames, nor do they hold who asks for them: what is abandoned ends at once, not with the next
    collection of cycles.
    """

    def __init__(self, pipeline: Pipeline, messages: Messages, log_format: str, bounds: Bounds, views: bool) -> None:
        self._clock = RecordedClock()
        self.log = _BagLog(self._clock, log_format)
        self.drops = DropLog(self.log)
        self.watch: BagWatch | None = None
        self.poses: BagPoses | None = None
        self._pipeline, self._messages, self._bounds, self._views = pipeline, messages, bounds, views
        self._decodes = any(stream.is_compressed for stream in pipeline.streams.values())
        #: What the pipeline had counted before the shard; None: it has not begun.
        self.before: dict[str, Counts] | None = None
        self.lacking_before: dict[str, Counter[str]] | None = None
        #: By stream, frames in which it is not valid.
        self.not_valid: Counter[str] = Counter()
        #: By topic, the last calibration that differed from the one before, without its stamp.
        self._calibrations: dict[str, bytes] = {}

    def frames(self, path: Path, wanted: list[Route]) -> Generator[FusedFrame, None, None]:
        bag = open_bag(path, {route.type_name for route in wanted})
        self._log_device()
        for defect in bag.defects:
            self.log.emit(Event.BAG_DEFECT, bag=str(bag.path), detail=defect)
        _check_topics(bag, wanted, self.log)
        static = StaticTransforms.from_bag(bag)
        for line in static.ignored.values():
            self.log.emit(Event.BAG_DEFECT, bag=str(bag.path), detail=line)
        moving = MovingTransforms(bag, static, self.log)
        poses = self.poses = BagPoses(moving.buffer)
        if self._views:
            wanted = [*wanted, *_shown(bag, self._pipeline.config, wanted)]
        topics = {route.absolute_topic for route in wanted}
        if self._views or streams_to_locate(self._pipeline):
            topics |= moving.topics
        with closing(Decoders.of(self._pipeline.config)) as decoders:
            ingest = Ingest(self._pipeline, poses, self.drops, decoders, types_in(bag))
            watch = self.watch = BagWatch(bag, self._pipeline, self.log, self.drops, self._clock, ingest.frozen_poses)
            read: Counter[str] = Counter()
            for topic, record_ns, raw in self._messages(bag, topics):
                read[topic] += 1
                if self._ends_wait(watch, wanted, topic, record_ns, raw):
                    yield from self._poll(watch)
                watch.advance(record_ns)
                if self._clock.steady_ns() >= self._bounds.end_ns:
                    return
                self._enter_from(self._clock.steady_ns())
                if topic in moving.topics:
                    moving.take(raw, record_ns)
                for route in wanted:
                    if route.absolute_topic == topic:
                        self._take(ingest, watch, route, record_ns, raw)
                yield from self._poll(watch, self._num_waiting)
            yield from self._poll(watch)
            moving.conclude()
            self.log.defects += bag.unread({name: read[name] for name in sorted(topics & bag.topics.keys())})
            ingest.give_up()
            watch.end()
            self._pipeline.give_up()
            while self._pipeline.num_ready:  # more may wait than there is room for at once
                yield from self._poll(watch)
                self._pipeline.give_up()
        watch.conclude()

    def _log_device(self) -> None:
        """Log that it is not the device that was asked for, now or when that fails."""
        log = self.log
        if self._pipeline.device_fault is not None:
            log.emit(Event.ON_CPU, fault=self._pipeline.device_fault)
        self._pipeline.on_degraded = lambda fault: log.emit(Event.DEVICE_FAILED, fault=fault)

    def _enter_from(self, now_ns: int) -> None:
        """Compute frames from the begin of the shard on, and count from there."""
        if self.before is None and now_ns >= self._bounds.start_ns:
            self.before = counts_of(self._pipeline)
            self.lacking_before = lacking_in(self._pipeline, self.not_valid)
        self._pipeline.computes = self.before is not None

    @property
    def _num_waiting(self) -> int:
        """Ready targets that wait for the next one: their images are decoded while messages are taken in.

        Who views frames is given each as soon as it can be, with the poses and calibrations of that time.
        """
        return 1 if self._decodes and self._pipeline.computes and not self._views else 0

    def _ends_wait(self, watch: BagWatch, wanted: Iterable[Route], topic: str, record_ns: int, raw: bytes) -> bool:
        """Whether frames that wait must be computed before a message: it could change them, or what is said of them."""
        calibrates = any(route.is_calibration and route.absolute_topic == topic for route in wanted)
        if calibrates and self._calibrations.get(topic) != (content := raw[_STAMP_END:]):
            self._calibrations[topic] = content
            return True
        return watch.reports_at(record_ns) or record_ns >= self._bounds.end_ns

    def _poll(self, watch: BagWatch, num_waiting: int = 0) -> Iterator[FusedFrame]:
        for frame in self._pipeline.poll(max(0, self._pipeline.num_ready - num_waiting)):
            watch.published(frame)
            self.not_valid.update(name for name, is_valid in frame.valid.items() if not is_valid)
            yield frame

    def _take(self, ingest: Ingest, watch: BagWatch, route: Route, record_ns: int, raw: bytes) -> None:
        """Take in a message; one that cannot be deserialized is a drop, and of a calibration nothing but a line."""
        name, when = route.stream.name, f', recorded at {record_ns} ns'
        if route.is_calibration:
            ingest.calibrate(name, raw, when)
        else:
            ingest.announce(name)
            received = Received(Serialized(raw), record_ns)
            watch.arrived(name, received)
            ingest.take(name, received, when)


def _shown(bag: Bag, config: PipelineConfig, wanted: Collection[Route]) -> list[Route]:
    """Topics with calibrations that no stream needs, as far as the bag has them."""
    others = (route for route in routes(config, views=True) if route not in wanted)
    found = ((route, bag.topics.get(route.absolute_topic)) for route in others)
    return [route for route, topic in found if topic is not None and topic.msgtype == route.type_name]


def _check_topics(bag: Bag, wanted: Iterable[Route], log: EventLog) -> None:
    """Warn of topics that the bag lacks, or that cannot be read, or not surely.

    Raises:
        ValueError: a topic has another type.
    """
    held = [name for name, topic in bag.topics.items() if topic.count or topic.unreadable]
    absent = sorted({route.absolute_topic for route in wanted}.difference(held))
    if absent:
        present = printable(', '.join(held))
        log.emit(Event.BAG_TOPICS, bag=str(bag.path), absent=', '.join(absent), present=present)
    for name in sorted({route.absolute_topic for route in wanted} & bag.topics.keys()):
        fault = bag.topics[name].unreadable or bag.topics[name].doubt
        if fault:
            log.emit(Event.BAG_DEFECT, bag=str(bag.path), detail=f'{name}: {fault}')
    for route in wanted:
        topic = bag.topics.get(route.absolute_topic)
        if topic is not None and topic.msgtype != route.type_name:
            found = printable(topic.msgtype)
            text = f'{route.stream.name}: {route.topic} is {found} in the bag, must be {route.type_name}'
            raise ValueError('; '.join(filter(None, (text, choice(route.stream.name, route.type_name, found)))))
