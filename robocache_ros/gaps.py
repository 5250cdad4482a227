# SPDX-License-Identifier: Apache-2.0
"""Messages that were lost on the way here, by what a best-effort topic leaves of them: gaps between stamps."""

from __future__ import annotations

from collections import deque

import numpy as np

from robocache_core.units import SECOND

#: Steps from stamp to stamp that are kept, of which are needed, and after how many the period is found again.
_KEPT, _NEEDED, _RENEWED = 64, 10, 16
#: Steps that by chance do not alternate between longer and shorter ones.
_ALTERNATING = 24
#: Steps of as many periods, in a row, that are those of another rate.
_STEADY = 8
#: Steps of more periods than this are pauses of the sensor.
_MOST = 20
#: A stamp that is before the last one by less is out of order; else time itself goes back.
_OUT_OF_ORDER_NS = SECOND
#: Steps of a smaller part of a period follow a wait of the sender: its messages were late, and none is missing.
SHORT = 0.5
#: Part of a period by which a step may miss a whole number of them, and part of the steps that may miss it by more.
TOLERANCE, IRREGULAR = 0.2, 0.2


def num_missing(step_ns: float, period_ns: float) -> int:
    """Return how many messages are missing between two stamps ``step_ns`` apart; 0 where the step is a pause."""
    count = round(step_ns / period_ns)
    return count - 1 if step_ns > 1.5 * period_ns and is_regular(step_ns, period_ns) else 0


def is_regular(step_ns: float, period_ns: float) -> bool:
    """Whether a step is a whole number of periods, and no more than a pause of the sensor begins with."""
    count = round(step_ns / period_ns)
    return count <= _MOST and abs(step_ns / period_ns - count) <= TOLERANCE


class Gaps:
    """Counts the messages of a stream that are missing, if its stamps are regular.

    Attributes:
        missing: how many are missing so far; those of a gap count once it is not filled by what comes next: messages
            that are out of order, or that a sender which had to wait sends in quick succession.
        num_slowdowns: how often the stream went on at a lower rate.
        slowdown: the last time that it did, in words; empty where it never did.
    """

    def __init__(self) -> None:
        self.missing = self.num_slowdowns = 0
        self.slowdown = ''
        self._gap = 0  # messages that are missing in the last gap, unless what comes next fills it
        self._run: list[int] = []  # gaps in a row that are alike: their steps may be those of another rate
        self._last_ns: int | None = None
        self._steps: deque[int] = deque(maxlen=_KEPT)
        self._period_ns = 0.0
        self._age = 0

    @property
    def are_uneven(self) -> bool:
        """Whether stamps have no period, or every second step is longer than those between, as of two senders."""
        if self._age < _NEEDED:
            return False
        steps = list(self._steps)[-_ALTERNATING:]
        shorter, longer = sorted((steps[::2], steps[1::2]))
        return not self._period_ns or (len(steps) == _ALTERNATING and max(shorter) < min(longer))

    def take(self, stamp_ns: int) -> None:
        """Take the stamp of the next message that arrived."""
        step = stamp_ns - (stamp_ns if self._last_ns is None else self._last_ns)
        if -_OUT_OF_ORDER_NS < step < 0:
            self._gap = max(0, self._gap - 1)
            return
        self._last_ns = stamp_ns
        if step <= 0:
            return
        self._steps.append(step)
        self._age += 1
        if self._age % _RENEWED == _NEEDED:
            self._period_ns = self._find_period()
        if step < SHORT * self._period_ns:
            self._gap = max(0, self._gap - 1)
        elif self._period_ns:
            self._close_gap()
            # That may have found that the stamps are not regular any more.
            self._gap = num_missing(step, self._period_ns) if self._period_ns else 0
            if self._run and self._gap != self._run[-1]:
                self._count_run()

    def restart(self) -> None:
        """Take the next message as the first one after a time in which none was taken."""
        self._count_run()
        self._gap, self._last_ns = 0, None

    def _close_gap(self) -> None:
        """Add a gap that was not filled to the run, which ends where it shows another rate."""
        if self._gap:
            self._run.append(self._gap)
        if len(self._run) == _STEADY:  # every second message, or third, is not lost so evenly: it is sent no more
            self._run.clear()
            while len(self._steps) > _STEADY:
                self._steps.popleft()
            before_ns, self._period_ns = self._period_ns, self._find_period()
            if self._period_ns:
                self.num_slowdowns += 1
                self.slowdown = f'comes at {SECOND / self._period_ns:.3g} Hz, came at {SECOND / before_ns:.3g} Hz'

    def _count_run(self) -> None:
        self.missing += sum(self._run)
        self._run.clear()

    def _find_period(self) -> float:
        """Return the time between messages, ns; 0 where they are irregular."""
        steps = np.array(self._steps, np.float64)
        low = np.percentile(steps, 10)  # of a stream that loses three of four, most steps are of several periods
        period = float(np.median(steps[steps < 1.5 * low]))
        counts = steps / period
        regular = (np.abs(counts - np.rint(counts)) <= TOLERANCE) & (counts <= _MOST + 0.5)
        return period if regular.mean() >= 1 - IRREGULAR else 0.0
