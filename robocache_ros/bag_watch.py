# SPDX-License-Identifier: Apache-2.0
"""What the node would report of a bag's messages, by the clock of the recording, and in the end of the whole bag."""

from __future__ import annotations

from robocache_core.frame import FusedFrame
from robocache_core.pipeline import Pipeline
from robocache_core.units import SECOND
from robocache_ros import lost_targets
from robocache_ros.bags import Bag
from robocache_ros.blocker import Blocker
from robocache_ros.drop_log import DropLog
from robocache_ros.empty_frames import describe_empty
from robocache_ros.event_log import EventLog
from robocache_ros.events import Event
from robocache_ros.frozen_poses import FrozenPoses
from robocache_ros.metrics import Metrics
from robocache_ros.period import Period, Snapshot
from robocache_ros.prevailing import prevailing
from robocache_ros.received import Received
from robocache_ros.silence_log import SilenceLog
from robocache_ros.sources import routes

#: Recorded time between two reports: the node's default.
_PERIOD_NS = SECOND
#: What warnings are about, the first word of it, that depend on what was computed.
_OF_FRAMES = frozenset({'lost', 'triggers', 'blocker', 'frames'})


class RecordedClock:
    """The time at which the recorder received what is read, which is never set back (see ``Clock``)."""

    def __init__(self) -> None:
        self._now_ns = 0

    def advance(self, record_ns: int) -> None:
        """Take note that the recorder received a message at ``record_ns``."""
        self._now_ns = max(self._now_ns, record_ns)

    def steady_ns(self) -> int:
        return self._now_ns


class BagWatch:
    """Reports once in a recorded second why no frame came, and whose clock is wrong; at the end, what was lost.

    Args:
        bag: what is read.
        pipeline: takes it.
        log: receives why no frame came as the node logs it, and each warning once.
        drops: has the explanations of drops.
        clock: is set by each message.
        frozen_poses: of its odometry.

    Attributes:
        warnings: by what they are about: of a clock and of jumps as of the last report that had them, the others of the
            whole bag, at its end.
    """

    def __init__(
        self,
        bag: Bag,
        pipeline: Pipeline,
        log: EventLog,
        drops: DropLog,
        clock: RecordedClock,
        frozen_poses: FrozenPoses,
    ) -> None:
        self._bag, self._pipeline, self._log = bag, pipeline, log
        self._clock, self._frozen_poses = clock, frozen_poses
        self._metrics = Metrics(pipeline.streams, self._clock)
        topics = {
            route.stream.name: (route.absolute_topic, route.type_name.rpartition('/')[2])
            for route in routes(pipeline.config)
            if not route.is_calibration
        }
        self._blocker = Blocker(pipeline, self._metrics, topics, self._types_on, self._published, drops.explanations)
        self._silence = SilenceLog(log, self._clock)
        self._began = self._last = Snapshot.take(pipeline, self._metrics)
        self._due_ns = 0
        self._given_up: dict[str, int] = {}
        self._slow: dict[str, str] = {}
        #: Of each report, its blocker and how many messages had come.
        self._blockers: list[tuple[str, int]] = []
        self.warnings: dict[str, str] = {}

    @property
    def of_recording(self) -> tuple[str, ...]:
        """The warnings of the recording itself: a shard that has the end of a bag has those of one pass over it."""
        return tuple(line for about, line in self.warnings.items() if about.partition(' ')[0] not in _OF_FRAMES)

    def reports_at(self, record_ns: int) -> bool:
        """Whether ``advance`` to ``record_ns`` reports."""
        return 0 < self._due_ns <= record_ns

    def advance(self, record_ns: int) -> None:
        """Take note that the next message was recorded at ``record_ns``; before it is taken in."""
        if not self._due_ns:
            self._due_ns = record_ns + _PERIOD_NS
        elif record_ns >= self._due_ns:
            if record_ns >= self._due_ns + _PERIOD_NS:  # a silence of all streams is a period of its own
                self._clock.advance(self._due_ns)
                self._report()
            self._clock.advance(record_ns)
            self._report()
            self._due_ns = record_ns + _PERIOD_NS
        self._clock.advance(record_ns)

    def arrived(self, name: str, received: Received) -> None:
        """Take note of a message of stream ``name``."""
        stream = self._pipeline.streams[name]
        self._metrics.arrived(name, received.stamp_ns(stream), self._clock.steady_ns(), received.frames(stream))

    def published(self, frame: FusedFrame) -> None:
        """Take note of a frame."""
        self._metrics.published(frame, self._clock.steady_ns() - frame.stamp_ns)

    def end(self) -> None:
        """Take note that there are no more messages; before what waits is given up."""
        self._given_up = self._since(self._began).given_up
        self._slow = lost_targets.describe_slow(self._pipeline, self._given_up)

    def conclude(self) -> None:
        """Report on the whole bag, once the last frame has come."""
        if not self._blockers:  # a bag of less than a second
            self._report()
        whole = self._since(self._began)
        num_targets = whole.after.targets.received - whole.before.targets.received
        lost = lost_targets.describe_lost(num_targets, whole.target_drops)
        self._warn('lost', lost)
        if trigger := self._pipeline.config.trigger:
            num_messages = whole.num_received(trigger)
            self._warn('triggers', lost_targets.describe_lost_triggers(trigger, num_messages, whole.drops(trigger)))
        if (lost or not whole.num_frames) and (blocker := prevailing(self._blockers)):
            self._warn('blocker', f'no frame: {blocker}')
        for name, num_missing in whole.after.lost.items():
            several = self._blocker.several_senders(name) or self._blocker.several_publishers(name)
            missing = lost_targets.describe_missing(name, whole.num_received(name), num_missing, several)
            self._warn(f'missing of {name}', missing)
            if slowdown := self._metrics.inputs[name].gaps.slowdown:
                self._warn(f'slowdown of {name}', f'{name} {slowdown}')
        self._warn('given_up', lost_targets.describe_not_waited(num_targets, self._given_up, self._slow))
        for name in self._pipeline.streams:
            self._warn(f'frames without {name}', describe_empty(self._pipeline, name, whole))
        self._warn_of_poses()
        for name, sentence in self._slow.items():
            self._warn(f'rate of {name}', sentence)
        if whole.jumps and 'jumps' not in self.warnings:
            jumps = ', '.join(f'{name} by {jumps.last_ns / SECOND:.1f} s' for name, jumps in whole.jumps.items())
            strays = 'messages with stamps far from the others were'
            what = 'the stamps jumped, and what waited was' if self._pipeline.epoch else strays
            self._warn('jumps', f'{what} dropped (time_jump): {jumps}')

    def _report(self) -> None:
        period = self._since(self._last)
        self._last = period.after
        blocker = self._blocker.find(period).text
        self._blockers.append((blocker, sum(map(period.num_received, self._pipeline.streams))))
        self._silence.take(blocker)
        jumps = self._blocker.jumps(period)
        self._warn('jumps', jumps)
        self._warn_of_poses()
        for name, sentence in self._blocker.odd_clocks(period).items() if not jumps else ():
            self._warn(f'clock of {name}', sentence)
        for name in self._pipeline.streams:
            if senders := self._blocker.several_senders(name):
                self._warn(f'senders of {name}', f'{name}: {senders}')
            if f'clock of {name}' not in self.warnings and (off := self._blocker.off_arrival(name, with_all=False)):
                self._warn(f'clock of {name}', f'{name}: {off}')

    def _warn_of_poses(self) -> None:
        for name, sentence in self._frozen_poses.found().items():
            self._warn(f'pose of {name}', sentence)

    def _warn(self, about: str, sentence: str) -> None:
        """Keep a warning; log it if it is the first one of what it is about."""
        if not sentence:
            return
        if about not in self.warnings:
            self._log.emit(Event.BAG_WARNING, bag=str(self._bag.path), about=about, detail=sentence)
        self.warnings[about] = sentence

    def _since(self, before: Snapshot) -> Period:
        return Period(before, Snapshot.take(self._pipeline, self._metrics), self._clock.steady_ns())

    def _types_on(self, topic: str) -> list[str]:
        found = self._bag.topics.get(topic)
        return [] if found is None else [found.msgtype] * found.num_publishers

    def _published(self) -> dict[str, list[str]]:
        return {name: [topic.msgtype] for name, topic in self._bag.topics.items()}
