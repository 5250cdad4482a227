# SPDX-License-Identifier: Apache-2.0
"""Record time minus stamp, over a recording: what a message takes to the recorder, and how far the clocks are apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robocache_core.units import MS, SECOND
from robocache_ros.tools.inspect.spread import Spread

#: Most intervals of a recording, and the shortest one.
_MOST, _SHORTEST_NS = 200, SECOND // 5
#: Intervals that a drift needs.
_NEEDED = 8
#: A drift is one where it adds up to so much over the recording, and to so many times what is left beside it.
_LEAST_NS, _CLEAR = 10 * MS, 6.0


@dataclass(frozen=True)
class Drift:
    """How the stamps gain on the record times.

    Attributes:
        ppm: by how much they run fast, millionths; negative: slow, or the messages come later and later.
        total_ns: what that adds up to over the recording.
        is_clear: it is more than the delays vary by themselves.
    """

    ppm: float
    total_ns: int
    is_clear: bool


class Delays:
    """The delays of a topic's messages, and the least of each interval of the recording.

    Args:
        start_ns, end_ns: bound the record times.
    """

    def __init__(self, start_ns: int, end_ns: int) -> None:
        self.all = Spread()
        self._start_ns = start_ns
        self._width_ns = max(_SHORTEST_NS, -(-(end_ns - start_ns + 1) // _MOST))
        self._least: dict[int, int] = {}

    def take(self, record_ns: int, stamp_ns: int) -> None:
        """Count a message."""
        delay_ns = record_ns - stamp_ns
        self.all.take(delay_ns)
        interval = min(max(0, (record_ns - self._start_ns) // self._width_ns), _MOST - 1)
        self._least[interval] = min(delay_ns, self._least.get(interval, delay_ns))

    @property
    def over_time(self) -> list[tuple[float, float]]:
        """The middle of each interval that has messages, s since the start of the bag, and its least delay, ms."""
        width_s = self._width_ns / SECOND
        return [((interval + 0.5) * width_s, least / MS) for interval, least in sorted(self._least.items())]

    def drift(self) -> Drift | None:
        """The median slope between the least delays of any two intervals: a few that are odd do not turn it."""
        if len(self._least) < _NEEDED:
            return None
        at, delay = (np.array(values, np.float64) for values in zip(*sorted(self._least.items()), strict=True))
        delay -= delay[0]  # what is beyond 2^53 ns is common to all
        first, second = np.triu_indices(len(at), 1)
        slope = float(np.median((delay[second] - delay[first]) / (at[second] - at[first])))
        left = delay - slope * at
        around = float(np.median(np.abs(left - np.median(left))))
        total_ns = -slope * (at[-1] - at[0])
        is_clear = bool(abs(total_ns) >= max(_LEAST_NS, _CLEAR * around))
        return Drift(-1e6 * slope / self._width_ns, round(total_ns), is_clear)
