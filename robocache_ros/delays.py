# SPDX-License-Identifier: Apache-2.0
"""From stamp to arrival: the least of each interval of time, and how the two clocks drift apart by these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median_low

import numpy as np

from robocache_core.units import MS, SECOND

#: Intervals that a drift needs.
_NEEDED = 8
#: A drift is one where it adds up to so much, and to so many times what is left beside it.
_LEAST_NS, _CLEAR = 10 * MS, 6.0
#: Of a stream that goes on: length of an interval, how many are kept, and how many of these show what is so now.
_WIDTH_NS, _KEPT, _RECENT = SECOND, 60, 10


@dataclass(frozen=True)
class Drift:
    """How stamps gain on the times of arrival.

    Attributes:
        ppm: by how much they run fast, millionths; negative: slow, or the messages come later and later.
        total_ns: what that adds up to.
        is_clear: it is more than the delays vary by themselves.
    """

    ppm: float
    total_ns: int
    is_clear: bool


def drift_of(least: Mapping[int, int], width_ns: int) -> Drift | None:
    """The median slope between the least delays of any two intervals: a few that are odd do not turn it.

    Args:
        least: by number of an interval, the least delay in it, ns.
        width_ns: length of an interval.
    """
    if len(least) < _NEEDED:
        return None
    numbers, delays = zip(*sorted(least.items()), strict=True)
    at = np.array(numbers, np.float64) - numbers[0]
    delay = np.array([each - delays[0] for each in delays], np.float64)  # what is beyond 2^53 ns is common to all
    first, second = np.triu_indices(len(at), 1)
    slope = float(np.median((delay[second] - delay[first]) / (at[second] - at[first])))
    left = delay - slope * at
    around = float(np.median(np.abs(left - np.median(left))))
    total_ns = -slope * at[-1]
    is_clear = bool(abs(total_ns) >= max(_LEAST_NS, _CLEAR * around))
    return Drift(-1e6 * slope / width_ns, round(total_ns), is_clear)


class RecentDelays:
    """The delays of the last minute of a stream: the least of each second, as most delays are those of the way here."""

    def __init__(self) -> None:
        self._least: dict[int, int] = {}

    def take(self, arrived_ns: int, stamp_ns: int) -> None:
        """Count a message; where time goes back, the count begins again."""
        interval, delay_ns = arrived_ns // _WIDTH_NS, arrived_ns - stamp_ns
        newest = next(reversed(self._least), interval)
        if interval < newest:
            self._least.clear()
        self._least[interval] = min(delay_ns, self._least.get(interval, delay_ns))
        while interval - (oldest := next(iter(self._least))) >= _KEPT:
            del self._least[oldest]

    @property
    def least_ns(self) -> int | None:
        """The median of those of the last seconds, which a stamp that strays does not turn; None: no message."""
        newest = next(reversed(self._least), 0)
        recent = [delay for at, delay in self._least.items() if newest - at < _RECENT]
        return median_low(recent) if recent else None

    def drift(self) -> Drift | None:
        """How the stamps gain on the arrivals; None where too little is known."""
        return drift_of(self._least, _WIDTH_NS)
