# SPDX-License-Identifier: Apache-2.0
"""When is a target ready, and with which samples. Decided by stamps alone, so live and offline agree.

A target is ready when every stream has a sample at or past it (one whose readings undo the motion during the sample of
another: past the end of that sample), or when the newest stamp of any stream has passed it by ``max_wait``. Targets
become ready in the order of their stamps.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from robocache_core.buffer import Entry, StreamBuffer, nearest_index, previous_index
from robocache_core.config import PipelineConfig, StreamConfig
from robocache_core.ledger import Account, Reason
from robocache_core.samples import Sample
from robocache_core.units import SECOND


@dataclass(frozen=True)
class Pick:
    """What a stream gives a target: its samples (none where it has none), and whether they are within tolerance."""

    entries: tuple[Entry, ...]
    valid: bool


@dataclass(frozen=True)
class Target:
    """A ready target: an instant, each stream's pick, and the readings that give the motion during a stream's sample.

    It holds the samples until ``close``.
    """

    stamp_ns: int
    epoch: int
    picks: Mapping[str, Pick]
    motion: Mapping[str, tuple[Entry, ...]]

    def hold(self) -> None:
        """Become a holder of all samples."""
        for entry in self._entries():
            entry.hold()

    def close(self, reason: str = Reason.UNSELECTED, *, used: bool = False, motion: Iterable[Entry] = ()) -> None:
        """Let the samples go: as used, those that were picked and ``motion``; else for ``reason``, if no frame did."""
        for entry in (*(e for pick in self.picks.values() for e in pick.entries), *motion) if used else ():
            entry.use()
        for entry in self._entries():
            entry.release(reason)

    def _entries(self) -> list[Entry]:
        """All samples, one as often as it is held."""
        groups = (*(pick.entries for pick in self.picks.values()), *self.motion.values())
        return [entry for group in groups for entry in group]


class Aligner:
    """Buffers of all streams, the epoch, and the targets that wait.

    Args:
        config: the pipeline's configuration.
        accounts: by stream, where its drops are counted.
        targets: where targets are counted: received when due, used when a frame left, dropped with a reason.
    """

    def __init__(self, config: PipelineConfig, accounts: Mapping[str, Account], targets: Account) -> None:
        self._streams = tuple(config.streams())
        self._by_name = {stream.name: stream for stream in self._streams}
        self._sync = config.sync
        self._trigger = config.trigger
        #: By the stream that gives the motion, those whose samples need it.
        self._moved: dict[str, list[StreamConfig]] = {}
        for stream in self._streams:
            if stream.motion_source:
                self._moved.setdefault(stream.motion_source, []).append(stream)
        self._accounts = accounts
        self._targets = targets
        self.buffers = {
            s.name: StreamBuffer(
                accounts[s.name], depth=s.buffer_depth, max_bytes=s.queue.max_bytes, span_ns=s.buffer_ns
            )
            for s in self._streams
        }
        self.epoch = 0
        #: Targets that are due and not ready, ascending, ns.
        self.waiting: list[int] = []
        #: One target in this many is kept; the others are dropped ``thinned``.
        self.keep_every = 1
        self._num_due = 0
        self._period = None if self._trigger else SECOND / Fraction(self._sync.rate_hz).limit_denominator(10**6)
        self._grid_index: int | None = None
        #: Newest stamp of each stream in the epoch before, and where this one began, ns.
        self._before: dict[str, int] = {}
        self._began_ns = 0

    @property
    def newest_ns(self) -> int | None:
        """Newest stamp on any stream in this epoch, ns."""
        stamps = [b.newest_ns for b in self.buffers.values() if b.newest_ns is not None]
        return max(stamps, default=None)

    def push(self, name: str, sample: Sample) -> None:
        """Take a sample of stream ``name``; what cannot be used is counted as dropped."""
        buffer, stamp = self.buffers[name], sample.stamp_ns
        if buffer.newest_ns is not None and stamp < buffer.newest_ns - self._sync.time_jump_ns:
            self.start_epoch(stamp)
        elif self._is_straggler(name, stamp):
            self._accounts[name].drop(Reason.TIME_JUMP)
            return
        entry = buffer.push(sample)
        if entry is None:
            return
        if name == self._trigger:
            self._add_target(stamp, entry)
        elif not self._trigger:
            self._add_grid_targets()

    def _is_straggler(self, name: str, stamp_ns: int) -> bool:
        """Whether a stream's first sample goes on where it was before the jump: streams do not jump all at once."""
        if self.buffers[name].newest_ns is not None or name not in self._before:
            return False
        newest, jump = self.newest_ns, self._sync.time_jump_ns
        here = self._began_ns if newest is None else newest
        return stamp_ns > here + jump and abs(stamp_ns - self._before[name]) <= jump

    def clear(self, reason: str) -> None:
        """Drop all samples and waiting targets for ``reason``, and forget all stamps."""
        for buffer in self.buffers.values():
            buffer.clear(reason)
        for _ in self.waiting:
            self._targets.drop(reason)
        self.waiting.clear()
        self._grid_index = None

    def start_epoch(self, now_ns: int) -> None:
        """Clear everything, as dropped ``time_jump``, and count a new epoch that begins at ``now_ns``."""
        self._before = {name: b.newest_ns for name, b in self.buffers.items() if b.newest_ns is not None}
        self._began_ns = now_ns
        self.clear(Reason.TIME_JUMP)
        self.epoch += 1

    def clock_jumped(self, now_ns: int) -> None:
        """Start a new epoch if the ROS clock was set back to ``now_ns`` and the stamps have not shown it already."""
        newest = self.newest_ns
        if newest is not None and newest > now_ns + self._sync.time_jump_ns:
            self.start_epoch(now_ns)

    def _add_target(self, stamp_ns: int, entry: Entry | None = None) -> None:
        self._targets.receive()
        self._num_due += 1
        if self._num_due % self.keep_every:
            self._targets.drop(Reason.THINNED)
            if entry is not None:
                entry.blame(Reason.THINNED)
        else:
            insort(self.waiting, stamp_ns)

    def _add_grid_targets(self) -> None:
        """Add the multiples of the period up to the newest stamp, from the first one at or past the epoch's first."""
        newest = self.newest_ns
        assert newest is not None
        assert self._period is not None
        # After a gap there is no use in targets that could only time out.
        first = -(-(newest - self._sync.max_wait_ns) // self._period)
        if self._grid_index is None:
            first = -(-newest // self._period)
            self._grid_index = first
        self._grid_index = max(self._grid_index, first)
        while (stamp := int(self._grid_index * self._period)) <= newest:
            self._add_target(stamp)
            self._grid_index += 1

    def pop_ready(self, *, give_up: bool = False) -> Target | None:
        """Return the oldest waiting target if it is ready, or if ``give_up``: then with what there is."""
        if not self.waiting:
            return None
        stamp = self.waiting[0]
        if not (give_up or self._timed_out(stamp) or not self.behind(stamp)):
            return None
        self.waiting.pop(0)
        picks = {s.name: self._pick(s, stamp) for s in self._streams}
        target = Target(stamp, self.epoch, picks, self._motion(picks, stamp))
        target.hold()
        self._discard_before(stamp)
        return target

    def _timed_out(self, stamp_ns: int) -> bool:
        newest = self.newest_ns
        return newest is not None and newest >= stamp_ns + self._sync.max_wait_ns

    def behind(self, stamp_ns: int) -> list[str]:
        """Streams that have not come as far as the target ``stamp_ns`` needs."""
        return [
            s.name
            for s in self._streams
            if (newest := self.buffers[s.name].newest_ns) is None or newest < self.needed_ns(s, stamp_ns)
        ]

    def shortfall(self, stamp_ns: int) -> dict[str, int | None]:
        """Streams that are ``behind`` the target ``stamp_ns``, and by how much, ns (None: no sample)."""
        short: dict[str, int | None] = {}
        for name in self.behind(stamp_ns):
            newest = self.buffers[name].newest_ns
            short[name] = None if newest is None else self.needed_ns(self._by_name[name], stamp_ns) - newest
        return short

    def needed_ns(self, stream: StreamConfig, stamp_ns: int) -> int:
        """Stamp that ``stream`` must have reached for the target ``stamp_ns``, ns."""
        needed = max(stream.instants(stamp_ns))
        for moved in self._moved.get(stream.name, ()):
            sample_ns = self._sample_ns(moved, stamp_ns)
            # A sample that is not valid is not worth the wait.
            if sample_ns is not None and abs(sample_ns - stamp_ns) <= moved.tolerance_ns:
                needed = max(needed, stamp_ns, sample_ns + moved.motion_reach_ns[1])
        return needed

    def _sample_ns(self, stream: StreamConfig, stamp_ns: int) -> int | None:
        """Stamp of the sample that the target ``stamp_ns`` takes, of those that have come, ns."""
        if stream.name == self._trigger:
            return stamp_ns
        stamps = self.buffers[stream.name].stamps()
        at = (previous_index if stream.reads_previous else nearest_index)(stamps, stamp_ns)
        return None if at is None else stamps[at]

    def _motion(self, picks: Mapping[str, Pick], stamp_ns: int) -> dict[str, tuple[Entry, ...]]:
        """By stream, the readings from the earliest possible begin of its sample, or the target, to its end."""
        motion = {}
        for source, streams in self._moved.items():
            for stream in streams:
                before, after = stream.motion_reach_ns
                stamps = [entry.sample.stamp_ns for entry in picks[stream.name].entries]
                first = min((stamp_ns, *(sample_ns - before for sample_ns in stamps)))
                last = max((stamp_ns, *(sample_ns + after for sample_ns in stamps)))
                motion[stream.name] = self.buffers[source].window(first, last) if stamps else ()
        return motion

    def _pick(self, stream: StreamConfig, stamp_ns: int) -> Pick:
        buffer, tolerance = self.buffers[stream.name], stream.tolerance_ns
        if stream.reads_window:
            entries = buffer.window(*stream.instants(stamp_ns))
            return Pick(entries, valid=bool(entries))  # whether each instant is valid, resampling finds
        if stream.name == self._trigger:
            entry = buffer.at(stamp_ns)
        elif stream.reads_previous:
            entry = buffer.previous(stamp_ns)
            if entry is not None and entry.sample.stamp_ns > stamp_ns:
                return Pick((entry,), valid=False)
        else:
            entry = buffer.nearest(stamp_ns)
        if entry is None:
            return Pick((), valid=False)
        return Pick((entry,), valid=abs(entry.sample.stamp_ns - stamp_ns) <= tolerance)

    def _discard_before(self, stamp_ns: int) -> None:
        """Drop what no target after ``stamp_ns`` can need."""
        for s in self._streams:
            buffer = self.buffers[s.name]
            buffer.discard_before(self._keep_from_ns(s, stamp_ns))
            if s.name == self._trigger:
                buffer.close_at(stamp_ns)

    def _keep_from_ns(self, stream: StreamConfig, stamp_ns: int) -> int:
        """Earliest instant of ``stream`` that a target after ``stamp_ns`` may need, ns."""
        first = min(stream.instants(stamp_ns))
        for moved in self._moved.get(stream.name, ()):
            older = 0 if moved.name == self._trigger else moved.tolerance_ns
            first = min(first, stamp_ns - older - moved.motion_reach_ns[0])
        return first
