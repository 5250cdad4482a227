# SPDX-License-Identifier: Apache-2.0
"""Record time minus stamp, over a recording: what a message takes to the recorder, and how far the clocks are apart."""

from __future__ import annotations

from robocache_core.units import MS, SECOND
from robocache_ros.delays import Drift, drift_of
from robocache_ros.tools.inspect.spread import Spread

#: Most intervals of a recording, and the shortest one.
_MOST, _SHORTEST_NS = 200, SECOND // 5


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
        """How the stamps gain on the record times; None where too little is known."""
        return drift_of(self._least, self._width_ns)
