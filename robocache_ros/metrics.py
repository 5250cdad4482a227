# SPDX-License-Identifier: Apache-2.0
"""What the node observes of itself: arrivals, durations, ages. Written by several threads, read by diagnostics."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from robocache_core.frame import FusedFrame
from robocache_ros.clock import Clock
from robocache_ros.delays import RecentDelays
from robocache_ros.durations import Durations
from robocache_ros.frame_names import FrameNames
from robocache_ros.gaps import Gaps

#: Stages whose durations are kept, beside those of a frame's ``latency_ns``, as ``compute.<stage>``.
STAGES = ('decode', 'align', 'compute', 'publish')
_KEPT = 512
_WINDOW_NS = 5_000_000_000


@dataclass
class InputRecord:
    """What was observed of one topic.

    Attributes:
        transports: from a message's publication, by its publisher's clock, to its arrival by this machine's.
        waits: from its arrival to when the worker took it.
        delay_ns: ROS time at the last arrival minus that message's stamp; None where one of them is unknown.
        delays: the same of the last minute.
    """

    arrivals_ns: deque[int] = field(default_factory=lambda: deque(maxlen=4096))
    stamps_ns: deque[int] = field(default_factory=lambda: deque(maxlen=4096))
    ages_ns: deque[int] = field(default_factory=lambda: deque(maxlen=_KEPT))
    incompatible: int = 0
    incompatible_text: str = ''
    lost: int = 0
    gaps: Gaps = field(default_factory=Gaps)
    frames: FrameNames = field(default_factory=FrameNames)
    transports: Durations = field(default_factory=Durations)
    waits: Durations = field(default_factory=Durations)
    delay_ns: int | None = None
    delays: RecentDelays = field(default_factory=RecentDelays)

    def recent(self, now_ns: int) -> np.ndarray:
        """Return the arrival times of the last seconds, ns on the steady clock; of a slow input the last two."""
        arrivals = np.array(self.arrivals_ns, np.int64)
        within = arrivals[arrivals > now_ns - _WINDOW_NS]
        if within.size >= 2 or arrivals.size < 2:
            return within
        before, last = arrivals[-2:]
        return arrivals[-2:] if now_ns - last <= 2 * (last - before) else within

    def rate_hz(self, now_ns: int) -> float:
        """Return arrivals a second, over the last seconds."""
        recent = self.recent(now_ns)
        if recent.size < 2 or recent[-1] == recent[0]:
            return 0.0
        return float((recent.size - 1) / (recent[-1] - recent[0]) * 1e9)

    def stamp_rate_hz(self, now_ns: int) -> float:
        """Return messages a second by the stamps of the same messages; steps back are left out."""
        recent = min(self.recent(now_ns).size, len(self.stamps_ns))
        steps = np.diff(np.array(self.stamps_ns, np.int64)[len(self.stamps_ns) - recent :])
        forward = steps[steps > 0]
        return float(1e9 / forward.mean()) if forward.size else 0.0

    def jitter_ms(self, now_ns: int) -> float:
        """Return the standard deviation of the time between arrivals."""
        recent = self.recent(now_ns)
        return float(np.diff(recent).std() / 1e6) if recent.size > 2 else 0.0

    def silence_ns(self, now_ns: int) -> int | None:
        """Return the time since the last arrival; None before the first."""
        return now_ns - self.arrivals_ns[-1] if self.arrivals_ns else None

    def offset_ms(self) -> float:
        """Return the median of target minus sample stamp over recent frames."""
        return float(np.median(np.array(self.ages_ns)) / 1e6) if self.ages_ns else float('nan')


class Metrics:
    """Collects observations; ``lock`` guards every attribute.

    Args:
        names: the streams.
        clock: stamps arrivals.
    """

    def __init__(self, names: Iterable[str], clock: Clock) -> None:
        self._clock = clock
        self.lock = threading.Lock()
        self.inputs = {name: InputRecord() for name in names}
        self.stages = {stage: Durations() for stage in STAGES}
        self.output = InputRecord()
        self.latencies = Durations()
        self.frames = 0
        self.frames_untraced = 0
        self.failures = 0
        self.last_failure = ''

    def arrived(self, name: str, stamp_ns: int | None, now_ns: int, frames: tuple[bytes, ...] = ()) -> None:
        """Note a message, its stamp if it has one, ROS time, ns (0: it is unknown), and the frames that it names."""
        with self.lock:
            record = self.inputs[name]
            record.arrivals_ns.append(self._clock.steady_ns())
            record.delay_ns = now_ns - stamp_ns if stamp_ns is not None and now_ns else None
            if stamp_ns is not None and stamp_ns > 0 and now_ns:
                record.delays.take(now_ns, stamp_ns)
            record.frames.take(frames)
            if stamp_ns is not None:
                record.stamps_ns.append(stamp_ns)
                record.gaps.take(stamp_ns)

    def resumed(self) -> None:
        """Note that messages are taken again: those that came while they were not are not missing."""
        with self.lock:
            for record in self.inputs.values():
                record.gaps.restart()

    def transported(self, name: str, duration_ns: int) -> None:
        """Note how long a message was on its way here."""
        with self.lock:
            self.inputs[name].transports.add(duration_ns)

    def waited(self, name: str, duration_ns: int) -> None:
        """Note how long a message waited for the worker."""
        with self.lock:
            self.inputs[name].waits.add(duration_ns)

    def incompatible(self, name: str, text: str) -> None:
        """Note that a publisher's QoS does not fit."""
        with self.lock:
            self.inputs[name].incompatible += 1
            self.inputs[name].incompatible_text = text

    def subscriber_incompatible(self, text: str) -> None:
        """Note that a subscriber asks for a QoS that the node does not offer."""
        with self.lock:
            self.output.incompatible += 1
            self.output.incompatible_text = text

    def lost(self, name: str, count: int) -> None:
        """Note messages that the middleware lost."""
        with self.lock:
            self.inputs[name].lost += count

    def took(self, stage: str, duration_ns: int) -> None:
        """Note how long a stage took."""
        with self.lock:
            self.stages[stage].add(duration_ns)

    def published(self, frame: FusedFrame, latency_ns: int) -> None:
        """Note a frame that was published, and the time from its stamp to that by the node's clock."""
        with self.lock:
            self.frames += 1
            self.output.arrivals_ns.append(self._clock.steady_ns())
            self.latencies.add(latency_ns)
            for name, age in frame.age_ns.items():
                self.inputs[name].ages_ns.append(age)
            for stage, duration_ns in frame.latency_ns.items():
                self.stages.setdefault(f'compute.{stage}', Durations()).add(duration_ns)

    def untraced(self, num_frames: int) -> None:
        """Note frames that were published, and not traced though they should be."""
        with self.lock:
            self.frames_untraced += num_frames

    def failed(self, text: str) -> None:
        """Note an unforeseen exception, by its traceback."""
        with self.lock:
            self.failures += 1
            self.last_failure = text.strip().splitlines()[-1]
