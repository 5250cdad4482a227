# SPDX-License-Identifier: Apache-2.0
"""How much time has gone by, as the stamps of several streams show it together, so that no single clock decides.

A stream's clock is compared with itself alone: how far its newest stamp has advanced since its first sample after a
mark was set (not since the last one before it, which may be old). So a constant offset cancels. What several streams
show is then compared.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from statistics import median_low

from robocache_core.buffer import StreamBuffer


class Clocks:
    """The newest stamps of all streams in an epoch, and marks from which time is counted.

    Args:
        buffers: by stream; they know its newest stamp.
        time_jump_ns: a stamp that is ahead of what is known by more needs a second one that confirms it.
    """

    def __init__(self, buffers: Mapping[str, StreamBuffer], time_jump_ns: int) -> None:
        self._buffers = buffers
        self._time_jump_ns = time_jump_ns
        #: By mark, the stamps from which each stream counts, ns. A stream's name is the mark of its newest sample.
        self._marks: dict[Hashable, dict[str, int]] = {}
        #: First stamp of each stream in the epoch, ns.
        self.first: dict[str, int] = {}
        #: The last two differences between newest stamps of each stream, ns.
        self._steps: dict[str, list[int]] = {}

    def newest(self) -> dict[str, int]:
        """Return the newest stamp of each stream that has come in this epoch, ns."""
        return {name: b.newest_ns for name, b in self._buffers.items() if b.newest_ns is not None}

    def advance(self, name: str, before_ns: int | None) -> None:
        """Take note that the newest stamp of ``name``, which was ``before_ns``, has changed."""
        newest_ns = self._buffers[name].newest_ns
        assert newest_ns is not None
        if before_ns is None:
            self.first[name] = newest_ns
        else:
            self._steps[name] = [*self._steps.get(name, ())[-1:], newest_ns - before_ns]
        for mark in self._marks.values():
            mark.setdefault(name, newest_ns)
        self._marks[name] = {}

    def mark(self, key: Hashable, name: str) -> None:
        """Count time under ``key`` from the newest sample of stream ``name``, which has just come."""
        newest_ns = self._buffers[name].newest_ns
        assert newest_ns is not None
        self._marks[key] = {name: newest_ns}

    def forget(self, key: Hashable) -> None:
        """Remove a mark."""
        self._marks.pop(key, None)

    def clear(self) -> None:
        """Forget all stamps: a new epoch."""
        self._marks.clear()
        self.first.clear()
        self._steps.clear()

    def has_passed(self, wait_ns: int, since: Hashable, witnesses: Collection[str]) -> bool:
        """Whether the ``witnesses`` show that ``wait_ns`` has gone by since a mark.

        Two must show it. One alone is believed where it is the only witness, and where it shows twice as much: the
        others may be dead.
        """
        shown = self._advances(since, witnesses)
        if len(shown) < 2:
            return bool(shown) and shown[0] >= wait_ns
        return shown[1] >= wait_ns or shown[0] >= 2 * wait_ns

    def runs_ahead(self, name: str, stamp_ns: int) -> bool:
        """Whether a stamp is further ahead of its stream's newest than its rate and the other streams explain."""
        newest_ns = self._buffers[name].newest_ns
        if newest_ns is None:
            return False
        ahead_ns = stamp_ns - newest_ns - self._time_jump_ns
        # By far the most stamps are no jump at all, and need no look at the other streams.
        return ahead_ns > 0 and ahead_ns > max(self._silence_ns(name), self.period_ns(name))

    def confirm(self, name: str, stamp_ns: int) -> bool:
        """Whether streams that are not silent show that a stamp of ``name`` is right and its newest one wrong.

        At least one other is within a jump of time of the stamp, and none is of the newest.
        """
        own_ns = self.newest()[name]
        others = [newest_ns for other, newest_ns in self.alive().items() if other != name]
        near = [abs(other_ns - stamp_ns) <= self._time_jump_ns for other_ns in others]
        return any(near) and all(abs(other_ns - own_ns) > self._time_jump_ns for other_ns in others)

    def contradict(self, name: str, stamp_ns: int, doubted: Mapping[str, int]) -> bool:
        """Whether streams that are not silent show that a stamp of ``name`` is wrong.

        There are others whose rate is known, and each is further from the stamp than a jump of time and its period.

        Args:
            name: the stream.
            stamp_ns: its stamp, ns.
            doubted: by stream, a stamp that counts in place of its newest one, ns.
        """
        others = {other: doubted.get(other, newest_ns) for other, newest_ns in self.alive().items() if other != name}
        bounds = {other: self._time_jump_ns + self.period_ns(other) for other in others if self.period_ns(other)}
        return bool(bounds) and all(abs(others[other] - stamp_ns) > bound_ns for other, bound_ns in bounds.items())

    def is_silent(self, name: str) -> bool:
        """Whether a stream has come and no longer does, as any other stream shows."""
        return self._silence_ns(name) > self._time_jump_ns + self.period_ns(name)

    def alive(self) -> dict[str, int]:
        """Return the newest stamp of each stream that has come and is not silent, ns."""
        return {name: newest_ns for name, newest_ns in self.newest().items() if not self.is_silent(name)}

    def readings(self) -> dict[str, int]:
        """Return what the clock of each stream that is not silent shows by now, ns.

        That is its newest stamp and the time since then, as the others show it: a stream of 1 Hz is not behind.
        """
        return {name: newest_ns + self._silence_ns(name) for name, newest_ns in self.alive().items()}

    def time_ns(self) -> int | None:
        """Return the time that two streams that are not silent have reached, ns; None before that.

        One alone is believed where no other has come for longer than a jump of time.
        """
        alive = self.alive()
        if len(alive) > 1:
            return sorted(alive.values())[-2]
        for name, newest_ns in alive.items():
            if len(self._buffers) == 1 or newest_ns - self.first[name] > self._time_jump_ns:
                return newest_ns
        return None

    def period_ns(self, name: str) -> int:
        """Usual difference between stamps of a stream: a single pause does not count; 0 where it is not known."""
        return min(self._steps.get(name, ()), default=0)

    def _silence_ns(self, name: str) -> int:
        """How far any other stream has advanced since the newest sample of ``name``, ns."""
        newest = self.newest()
        marks = self._marks.get(name, {})
        return max((newest[other] - since_ns for other, since_ns in marks.items() if other != name), default=0)

    def _advances(self, since: Hashable, names: Collection[str]) -> list[int]:
        """How far each of the streams has advanced since a mark, ns, the furthest first; 0 where it has not come."""
        mark, newest = self._marks.get(since, {}), self.newest()
        return sorted((newest[name] - mark[name] if name in mark else 0 for name in names), reverse=True)


def reached_by_two(newest: Mapping[str, int]) -> int | None:
    """Return the stamp that two of these have reached, ns; of one alone its own, None of none."""
    stamps = sorted(newest.values())
    return stamps[-2:][0] if stamps else None


def odd_clocks(readings: Mapping[str, int], least_ns: int) -> dict[str, int]:
    """Find the streams whose clocks do not fit those of the others.

    Args:
        readings: what the clock of each stream shows at one instant, ns.
        least_ns: a difference that is no more is none.

    Returns:
        By stream, how far it is ahead of the median of the others (negative: behind), ns, where it is further from each
        of them than they are from one another. Empty with fewer than three: of two nobody can say which is wrong.
    """
    odd: dict[str, int] = {}
    for name, reading_ns in readings.items() if len(readings) > 2 else ():
        others = [other_ns for other, other_ns in readings.items() if other != name]
        nearest_ns = min(abs(reading_ns - other_ns) for other_ns in others)
        if nearest_ns > max(least_ns, max(others) - min(others)):
            odd[name] = reading_ns - median_low(others)
    return odd
