# SPDX-License-Identifier: Apache-2.0
"""The flight recorder: what arrived and what was decided in the last seconds, without the payloads."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from robocache_core.frame import FusedFrame
from robocache_core.observer import Observer
from robocache_core.target import Target
from robocache_ros.clock import Clock

if TYPE_CHECKING:
    from robocache_core.streams.placed_cloud import PlacedCloud

#: Entries that are kept at the most, which take up to 50 MB: 10 s of 5000 entries a second.
MAX_ENTRIES = 50_000
_MAX_DETAIL = 300  # characters


class Kind(str, Enum):
    """A kind of entry, and the fields that it has beside ``kind`` and ``steady_ns``, when it was made."""

    fields: tuple[str, ...]

    def __new__(cls, value: str, *fields: str) -> Kind:
        """Make a member of its name and its fields."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.fields = fields
        return member

    ARRIVED = 'arrived', 'stream', 'stamp_ns', 'nbytes'
    REFUSED = 'refused', 'stream', 'reason', 'detail'
    EPOCH = 'epoch', 'epoch', 'stamp_ns'
    READY = 'ready', 'stamp_ns', 'epoch', 'picks', 'given_up'
    FRAME = 'frame', 'stamp_ns', 'epoch', 'sequence', 'valid', 'damaged', 'latency_ns'
    DROPPED = 'dropped', 'stamp_ns', 'reason'
    THINNING = 'thinning', 'keep_every', 'num_waiting'


class Entry(NamedTuple):
    """One thing that happened: its place in the order of all, when (steady clock, ns), and the values of its fields."""

    number: int
    steady_ns: int
    kind: Kind
    values: tuple[Any, ...]


class Recorder(Observer):
    """Keeps the last entries, and nothing that is older than its span. Any thread may write.

    Args:
        clock: stamps the entries.
        span_ns: how far back ``entries`` goes; 0: nothing is recorded.
        size: entries that are kept at the most.
    """

    def __init__(self, clock: Clock, span_ns: int, size: int = MAX_ENTRIES) -> None:
        self._clock = clock
        self.span_ns = span_ns
        #: Of ``Entry``, as plain tuples, which are made in a third of the time.
        self._entries: deque[tuple[Any, ...]] = deque(maxlen=size)
        self._num_made = 0
        self._lock = threading.Lock()

    def arrived(self, name: str, stamp_ns: int | None, nbytes: int) -> None:
        """Record a message of stream ``name``, and its stamp if it has one."""
        self._add(Kind.ARRIVED, name, stamp_ns, nbytes)

    def refused(self, name: str, reason: str, detail: str = '') -> None:
        """Record why a message of stream ``name`` was dropped."""
        self._add(Kind.REFUSED, name, str(reason), detail[:_MAX_DETAIL])

    def thinned(self, keep_every: int, num_waiting: int) -> None:
        """Record that from now on one target in ``keep_every`` is kept, and how many waited then."""
        self._add(Kind.THINNING, keep_every, num_waiting)

    def began_epoch(self, epoch: int, stamp_ns: int) -> None:
        self._add(Kind.EPOCH, epoch, stamp_ns)

    def ready(self, target: Target) -> None:
        if self.span_ns:
            picks = {
                name: (pick.entries[0].sample.stamp_ns, pick.entries[-1].sample.stamp_ns, len(pick.entries), pick.valid)
                for name, pick in target.picks.items()
                if pick.entries
            }
            self._add(Kind.READY, target.stamp_ns, target.epoch, picks, target.given_up)

    def used(self, frame: FusedFrame, scans: Mapping[str, PlacedCloud]) -> None:
        self._add(
            *(Kind.FRAME, frame.stamp_ns, frame.epoch, frame.sequence, frame.valid, frame.damaged, frame.latency_ns)
        )

    def dropped(self, stamp_ns: int, reason: str) -> None:
        self._add(Kind.DROPPED, stamp_ns, str(reason))

    @property
    def is_empty(self) -> bool:
        """Whether nothing was recorded yet, or nothing is."""
        return not self._entries

    def entries(self) -> list[Entry]:
        """Return the entries of the last ``span_ns``, in order."""
        with self._lock:
            self._forget_before(self._clock.steady_ns() - self.span_ns)
            kept = list(self._entries)
        return [Entry._make(entry) for entry in kept]

    def _add(self, kind: Kind, *values: Any) -> None:
        if not self.span_ns:
            return
        with self._lock:
            now_ns = self._clock.steady_ns()
            self._entries.append((self._num_made, now_ns, kind, values))
            self._num_made += 1
            self._forget_before(now_ns - self.span_ns)

    def _forget_before(self, since_ns: int) -> None:
        while self._entries and self._entries[0][1] < since_ns:
            self._entries.popleft()
