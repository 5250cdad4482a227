# SPDX-License-Identifier: Apache-2.0
"""Durations of one kind: the last ones as they are, and all of them counted in buckets."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass

import numpy as np

from robocache_core.units import SECOND

#: Greatest duration of each bucket but the last, which takes all others, ns.
BOUNDS_NS = tuple(
    round(SECOND * seconds)
    for seconds in (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
)
_KEPT = 512


@dataclass(frozen=True)
class Histogram:
    """All durations as of one instant.

    Attributes:
        counts: how many are in each bucket of ``BOUNDS_NS``, and in the last one, those that are greater.
        sum_ns: their sum, ns.
    """

    counts: tuple[int, ...]
    sum_ns: int

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(self.counts)


class Durations:
    """Takes durations; its reader and its writer hold the same lock."""

    def __init__(self) -> None:
        #: The last ones, ns.
        self.recent: deque[int] = deque(maxlen=_KEPT)
        self._counts = [0] * (len(BOUNDS_NS) + 1)
        self._sum_ns = 0

    def add(self, duration_ns: int) -> None:
        """Take a duration, ns; one between two clocks may be negative, which the buckets count as none."""
        self.recent.append(duration_ns)
        counted = max(0, duration_ns)
        self._counts[bisect_left(BOUNDS_NS, counted)] += 1
        self._sum_ns += counted

    def histogram(self) -> Histogram:
        """Return all durations so far."""
        return Histogram(tuple(self._counts), self._sum_ns)

    def percentiles_ms(self) -> tuple[float, float]:
        """Return median and 99th percentile of the last ones, ms; NaN where there is none."""
        if not self.recent:
            return float('nan'), float('nan')
        p50, p99 = np.percentile(np.array(self.recent, np.float64), (50, 99)) / 1e6
        return float(p50), float(p99)
