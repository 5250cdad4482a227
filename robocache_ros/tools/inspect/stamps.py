# SPDX-License-Identifier: Apache-2.0
"""When the messages of a topic were taken and recorded: rate, period, jitter, gaps, order."""

from __future__ import annotations

import heapq
from collections import deque

from robocache_core.units import SECOND
from robocache_ros.gaps import IRREGULAR, SHORT, is_regular, num_missing
from robocache_ros.tools.inspect.delays import Delays
from robocache_ros.tools.inspect.spread import Spread

#: Stamps among which a duplicate is found, and longest steps that are kept.
_RECENT, _KEPT = 64, 32
#: Steps by which the period is known.
_NEEDED = 10
#: A step is a pause from so long, and so many periods, on.
PAUSE_NS, _PAUSE_PERIODS = SECOND, 3.0
#: A step of so many periods or more is none that jitter makes.
_GAP = 1.5


class Stamps:
    """The stamps of a topic, or its record times where it has none.

    Args:
        start_ns, end_ns: bound the record times of the bag.
        is_stamped: its messages begin with a header.

    Attributes:
        count: messages.
        first_ns, last_ns: record times of the first and last message.
        delays: record times minus stamps.
        duplicates: stamps that were there among the last ones.
        back: stamps before their predecessor; ``furthest_back_ns`` says by how much at the most.
        ahead: steps that are a second longer than the record times show; ``furthest_ahead_ns`` is the longest.
        unset: stamps of 0 or before 1970.
    """

    def __init__(self, start_ns: int, end_ns: int, *, is_stamped: bool) -> None:
        self._is_stamped = is_stamped
        self.count = self.first_ns = self.last_ns = 0
        self.delays = Delays(start_ns, end_ns)
        self.duplicates = self.back = self.ahead = self.unset = 0
        self.furthest_back_ns = self.furthest_ahead_ns = 0
        self._steps = Spread()
        #: Messages that came behind one of a later stamp: each fills a gap.
        self._late = 0
        #: The longest steps, and when they began by the record times, ns.
        self._longest: list[tuple[int, int]] = []
        self._recent: deque[int] = deque(maxlen=_RECENT)
        self._newest_ns: int | None = None
        self._newest_record_ns = 0

    def take(self, record_ns: int, stamp_ns: int | None) -> None:
        """Count a message; ``stamp_ns`` is None where it has no header, or none that can be read."""
        if self.count == 0:
            self.first_ns = record_ns
        self.last_ns = max(self.last_ns, record_ns)
        self.count += 1
        if not self._is_stamped:
            self._advance(record_ns, record_ns)
        elif stamp_ns is not None and stamp_ns <= 0:
            self.unset += 1
        elif stamp_ns is not None:
            self.delays.take(record_ns, stamp_ns)
            self._advance(record_ns, stamp_ns)

    def _advance(self, record_ns: int, stamp_ns: int) -> None:
        newest_ns = self._newest_ns
        if newest_ns is not None and stamp_ns <= newest_ns:
            if stamp_ns in self._recent:
                self.duplicates += 1
                return
            self.back += 1
            self.furthest_back_ns = max(self.furthest_back_ns, newest_ns - stamp_ns)
            if newest_ns - stamp_ns < SECOND:  # out of order; else time itself goes back
                self._late += 1
                self._recent.append(stamp_ns)
                return
        elif newest_ns is not None:
            self._step(stamp_ns - newest_ns, record_ns - self._newest_record_ns)
        self._recent.append(stamp_ns)
        self._newest_ns, self._newest_record_ns = stamp_ns, record_ns

    def _step(self, step_ns: int, recorded_ns: int) -> None:
        if step_ns > recorded_ns + SECOND:
            self.ahead += 1
            self.furthest_ahead_ns = max(self.furthest_ahead_ns, step_ns)
            return
        self._steps.take(step_ns)
        longest = heapq.heappush if len(self._longest) < _KEPT else heapq.heappushpop
        longest(self._longest, (step_ns, self._newest_record_ns))

    @property
    def rate_hz(self) -> float:
        """Messages a second of the recording; 0 for fewer than two."""
        span_ns = self.last_ns - self.first_ns
        return (self.count - 1) * SECOND / span_ns if span_ns else 0.0

    @property
    def period_ns(self) -> float | None:
        """Median step; None for fewer than two stamps."""
        return self._steps.percentile(0.5)

    @property
    def longest_period_ns(self) -> float | None:
        """The step below which 99 % of all are."""
        return self._steps.percentile(0.99)

    @property
    def jitter_ns(self) -> float:
        """Standard deviation of the steps, without those that are gaps."""
        return self._steps.deviation(_GAP * (self.period_ns or 0.0))

    @property
    def missing(self) -> int:
        """Messages that are missing in short gaps, where the stamps are regular: as the node counts them.

        The node has seen no more than the last steps, and counts none before it knows the period.
        """
        least_ns = self._steps.percentile(0.1)
        if least_ns is None or self._steps.count < _NEEDED:
            return 0
        # Of a stream that loses three of four, most steps are of several periods.
        period_ns = self._steps.percentile(0.5, below=1.5 * least_ns) or least_ns
        regular = sum(count for step_ns, count in self._steps.groups() if is_regular(step_ns, period_ns))
        if regular < (1 - IRREGULAR) * self._steps.count:
            return 0
        left_out = sum(count * num_missing(step_ns, period_ns) for step_ns, count in self._steps.groups())
        late = self._late + sum(count for step_ns, count in self._steps.groups() if step_ns < SHORT * period_ns)
        return max(0, left_out - late)

    @property
    def longest_step_ns(self) -> int:
        """The longest step."""
        return max(self._longest, default=(0, 0))[0]

    @property
    def pauses(self) -> list[tuple[int, int]]:
        """Steps of a second and three periods or more: length and begin by the record times, ns; the longest first."""
        limit_ns = max(PAUSE_NS, _PAUSE_PERIODS * (self.period_ns or 0.0))
        return sorted(((step, at) for step, at in self._longest if step >= limit_ns), reverse=True)

    @property
    def num_pauses(self) -> int:
        """All of these."""
        if len(self.pauses) < _KEPT:
            return len(self.pauses)
        return self._steps.count_within(max(PAUSE_NS, _PAUSE_PERIODS * (self.period_ns or 0.0)), float('inf'))
