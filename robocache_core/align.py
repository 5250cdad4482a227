# SPDX-License-Identifier: Apache-2.0
"""When is a target ready, and with which samples. Decided by stamps alone, so live and offline agree.

A target is ready when every stream has a sample at or past it (one whose readings undo the motion during the sample of
another: past the end of that sample). It gives up on the streams that it waits for when the others show that
``max_wait`` has gone by since it was due, each by how far its own newest stamp has advanced (``clocks.py``): two must
show it; one alone is believed where there is no other, or where it shows twice ``max_wait``. So no offset of a clock
makes a target give up. A ready target names the streams that it gave up on. Targets become ready in the order of their
stamps.

A stamp that is back by more than ``time_jump``, and one that is ahead by more than that and than its stream's rate and
the other streams explain, is set aside until the stream's next sample: if that goes on from there, both are taken, and
one that is back starts an epoch; otherwise it was a stray and is refused as ``time_jump``. One that is back starts an
epoch at once where other streams are there and none is where its own was. Where nothing more comes, what was set aside
is taken unless other streams contradict it, and refused if they do.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from robocache_core.buffer import Entry, StreamBuffer, nearest_index, previous_index
from robocache_core.clocks import Clocks, reached_by_two
from robocache_core.config import PipelineConfig, StreamConfig
from robocache_core.ledger import Account, Reason
from robocache_core.observer import Observer
from robocache_core.samples import Sample
from robocache_core.target import Pick, Target
from robocache_core.units import SECOND

#: What ``Aligner.jumps`` has for the ROS clock, among streams.
ROS_CLOCK = '/clock'
#: Readings that are given beyond those before a sample: they show how the robot moved when it began.
EARLIER = 1


@dataclass(frozen=True)
class Jumps:
    """How often stamps have jumped, forth or back, and by how much the last time, ns."""

    count: int = 0
    last_ns: int = 0


@dataclass(frozen=True)
class Aside:
    """A stamp far ahead or back that waits for the stream's next one, and its sample (None: refused already)."""

    stamp_ns: int
    sample: Sample | None


class Aligner:
    """Buffers of all streams, the epoch, and the targets that wait.

    Args:
        config: the pipeline's configuration.
        accounts: by stream, where its drops are counted.
        targets: where targets are counted: received when due, used when a frame left, dropped with a reason.
        refuse: counts and explains the drop of a sample, by stream.
        observer: is called for each epoch, and each target that is dropped before it is ready.
    """

    def __init__(
        self,
        config: PipelineConfig,
        accounts: Mapping[str, Account],
        targets: Account,
        refuse: Callable[[str, Reason, str], None],
        observer: Observer | None = None,
    ) -> None:
        self._streams = tuple(config.streams())
        self._sync = config.sync
        self._trigger = config.trigger
        #: Targets that may wait: beyond as many as the trigger's samples, those of the oldest are gone.
        self._most_waiting = next((s.buffer_depth for s in self._streams if s.name == self._trigger), None)
        #: By the stream that gives the motion, those whose samples need it.
        self._moved: dict[str, list[StreamConfig]] = {}
        for stream in self._streams:
            if stream.motion_source:
                self._moved.setdefault(stream.motion_source, []).append(stream)
        self._accounts = accounts
        self._targets = targets
        self._refuse = refuse
        self._observer = observer or Observer()
        self.buffers = {
            s.name: StreamBuffer(
                accounts[s.name], depth=s.buffer_depth, max_bytes=s.queue.max_bytes, span_ns=s.buffer_ns
            )
            for s in self._streams
        }
        self.clocks = Clocks(self.buffers, self._sync.time_jump_ns)
        self._aside: dict[str, Aside] = {}
        #: By stream or ``ROS_CLOCK``.
        self.jumps: dict[str, Jumps] = {}
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
    def reached_ns(self) -> int | None:
        """Stamp that two streams have reached in this epoch, ns; where one alone has come, its newest."""
        return reached_by_two(self.clocks.newest())

    def num_aside(self, name: str) -> int:
        """Samples of a stream that are set aside."""
        return int(name in self._aside and self._aside[name].sample is not None)

    def push(self, name: str, sample: Sample) -> None:
        """Take a sample of stream ``name``; what cannot be used is counted as dropped."""
        stamp = sample.stamp_ns
        if name in self._aside and stamp == self._aside[name].stamp_ns:
            self._accounts[name].drop(Reason.DUPLICATE)  # the same message confirms nothing
            return
        self._judge_aside(name, stamp)
        if self._is_straggler(name, stamp):
            self._accounts[name].drop(Reason.TIME_JUMP)
        elif self._is_back(name, stamp):
            self._aside[name] = Aside(stamp, sample)
            if self.clocks.confirm(name, stamp):
                self._jump_back(name)
        elif self.clocks.runs_ahead(name, stamp):
            self._aside[name] = Aside(stamp, sample)
        else:
            self._insert(name, sample)

    def conclude(self) -> None:
        """Judge the samples that were set aside by what the other streams show: nothing more comes.

        Of one that is refused the stamp stays: should the stream go on from there after all, it is followed.
        """
        for name, aside in tuple(self._aside.items()):
            if self._aside.get(name) is not aside or aside.sample is None:  # an epoch has taken it; refused already
                continue
            stamp, is_back = aside.stamp_ns, self._is_back(name, aside.stamp_ns)
            doubted = {other: each.stamp_ns for other, each in self._aside.items()}
            is_explained = not is_back and not self.clocks.runs_ahead(name, stamp)
            if not is_explained and self.clocks.contradict(name, stamp, doubted):
                self._aside[name] = Aside(stamp, None)
                self._refuse_stray(name, stamp - self._newest_ns(name), 'the one before it')
            elif is_back:
                self._jump_back(name)
            else:
                del self._aside[name]
                self._insert(name, aside.sample)

    def _jump_back(self, name: str) -> None:
        """Start an epoch with the sample of ``name`` that was set aside."""
        stamp = self._aside[name].stamp_ns
        self._count_jump(name, self._newest_ns(name) - stamp)
        self.start_epoch(stamp)

    def _newest_ns(self, name: str) -> int:
        """Newest stamp of a stream that has come in this epoch, ns."""
        newest = self.buffers[name].newest_ns
        assert newest is not None
        return newest

    def _is_back(self, name: str, stamp_ns: int) -> bool:
        """Whether a stamp is before its stream's newest by more than messages overtake each other."""
        newest = self.buffers[name].newest_ns
        return newest is not None and stamp_ns < newest - self._sync.time_jump_ns

    def _judge_aside(self, name: str, next_ns: int) -> None:
        """Take or refuse the sample that was set aside, by whether the stream's next one goes on from it."""
        aside = self._aside.get(name)
        if aside is None:
            return
        newest, stamp, jump = self._newest_ns(name), aside.stamp_ns, self._sync.time_jump_ns
        if stamp > newest:
            goes_on, off_ns, other = next_ns >= stamp - jump, stamp - next_ns, 'the next one'
        else:
            goes_on = -jump <= next_ns - stamp <= jump + self.clocks.period_ns(name) and self._is_back(name, next_ns)
            off_ns, other = stamp - newest, 'the one before it'
        if goes_on and stamp < newest:
            self._jump_back(name)
            return
        del self._aside[name]
        if aside.sample is None and goes_on:
            self.buffers[name].newest_ns = stamp  # as if its sample had been taken
            self.clocks.advance(name, newest)
        elif aside.sample is not None and goes_on:
            self._insert(name, aside.sample)
        elif aside.sample is not None:
            self._refuse_stray(name, off_ns, other)

    def _refuse_stray(self, name: str, off_ns: int, other: str) -> None:
        """Refuse a sample that is ahead of another by ``off_ns`` (negative: behind), and count a jump."""
        self._count_jump(name, abs(off_ns))
        off = f'{abs(off_ns) / SECOND:.3f} s {"ahead of" if off_ns > 0 else "behind"} {other}'
        self._refuse(name, Reason.TIME_JUMP, f'its stamp is {off}: a stray, or another clock')

    def _insert(self, name: str, sample: Sample) -> None:
        buffer = self.buffers[name]
        before = buffer.newest_ns
        entry = buffer.push(sample)
        if buffer.newest_ns != before:
            self.clocks.advance(name, before)
        if entry is None:
            return
        if name == self._trigger:
            self._add_target(name, sample.stamp_ns, entry)
        elif not self._trigger:
            self._add_grid_targets(name)

    def _count_jump(self, name: str, size_ns: int) -> None:
        self.jumps[name] = Jumps(self.jumps.get(name, Jumps()).count + 1, size_ns)

    def _is_straggler(self, name: str, stamp_ns: int) -> bool:
        """Whether a stream's first sample goes on where it was before the jump: streams do not jump all at once."""
        if self.buffers[name].newest_ns is not None or name not in self._before:
            return False
        reached, jump = self.reached_ns, self._sync.time_jump_ns
        here = self._began_ns if reached is None else reached
        return stamp_ns > here + jump and abs(stamp_ns - self._before[name]) <= jump

    def clear(self, reason: str) -> None:
        """Drop all samples and waiting targets for ``reason``, and forget all stamps."""
        for buffer in self.buffers.values():
            buffer.clear(reason)
        for name, aside in self._aside.items():
            if aside.sample is not None:
                self._accounts[name].drop(reason)
        self._aside.clear()
        self.clocks.clear()
        for stamp_ns in self.waiting:
            self._drop_target(stamp_ns, reason)
        self.waiting.clear()
        self._grid_index = None

    def start_epoch(self, now_ns: int) -> None:
        """Clear everything, as dropped ``time_jump``, and count a new epoch that begins at ``now_ns``.

        Samples that were set aside because they are back become its first.
        """
        back = {name: aside.sample for name, aside in self._aside.items() if self._is_back(name, aside.stamp_ns)}
        for name in back:
            del self._aside[name]
        self._before = {name: b.newest_ns for name, b in self.buffers.items() if b.newest_ns is not None}
        self._began_ns = now_ns
        self.clear(Reason.TIME_JUMP)
        self.epoch += 1
        self._observer.began_epoch(self.epoch, now_ns)
        for name, sample in back.items():
            if sample is not None:
                self._insert(name, sample)

    def clock_jumped(self, now_ns: int) -> None:
        """Start a new epoch if the ROS clock was set back to ``now_ns`` and the stamps have not shown it already."""
        reached = self.reached_ns
        last = reached_by_two(self._before) if reached is None else reached
        if last is None or last <= now_ns + self._sync.time_jump_ns:
            return
        self._count_jump(ROS_CLOCK, last - now_ns)
        if reached is not None:
            self.start_epoch(now_ns)

    def _add_target(self, name: str, stamp_ns: int, entry: Entry | None = None) -> None:
        self._targets.receive()
        self._num_due += 1
        if self._num_due % self.keep_every:
            self._drop_target(stamp_ns, Reason.THINNED)
            if entry is not None:
                entry.blame(Reason.THINNED)
        else:
            insort(self.waiting, stamp_ns)
            self.clocks.mark(stamp_ns, name)
            if self._most_waiting is not None and len(self.waiting) > self._most_waiting:
                self.clocks.forget(self.waiting.pop(0))
                self._targets.drop(Reason.BUFFER_FULL)

    def _drop_target(self, stamp_ns: int, reason: str) -> None:
        self._targets.drop(reason)
        self._observer.dropped(stamp_ns, reason)

    def _add_grid_targets(self, name: str) -> None:
        """Add the multiples of the period up to the time that the streams show, from the first one of the epoch."""
        now = self.clocks.time_ns()
        if now is None:
            return
        assert self._period is not None
        # After a gap there is no use in targets that could only time out; a dead stream is found out late.
        first = -(-(now - self._sync.max_wait_ns - self._sync.time_jump_ns) // self._period)
        if self._grid_index is None:
            first = -(-now // self._period)
            self._grid_index = first
        self._grid_index = max(self._grid_index, first)
        while (stamp := int(self._grid_index * self._period)) <= now:
            self._add_target(name, stamp)
            self._grid_index += 1

    def pop_ready(self, *, give_up: bool = False) -> Target | None:
        """Return the oldest waiting target if it is ready, or if ``give_up``: then with what there is."""
        if not self.waiting:
            return None
        stamp = self.waiting[0]
        behind = self.behind(stamp)
        if behind and not give_up and not self._times_out(stamp, behind):
            return None
        self.waiting.pop(0)
        self.clocks.forget(stamp)
        picks = {s.name: self._pick(s, stamp) for s in self._streams}
        target = Target(stamp, self.epoch, picks, self._motion(picks, stamp), tuple(behind))
        target.hold()
        self._discard_before(stamp)
        return target

    def _times_out(self, stamp_ns: int, behind: Iterable[str]) -> bool:
        witnesses = self.buffers.keys() - set(behind)
        return self.clocks.has_passed(self._sync.max_wait_ns, stamp_ns, witnesses)

    def behind(self, stamp_ns: int) -> list[str]:
        """Streams that have not come as far as the target ``stamp_ns`` needs."""
        return list(self.shortfall(stamp_ns))

    def shortfall(self, stamp_ns: int) -> dict[str, int | None]:
        """Streams that are ``behind`` the target ``stamp_ns``, and by how much, ns (None: no sample)."""
        short: dict[str, int | None] = {}
        for stream in self._streams:
            newest = self.buffers[stream.name].newest_ns
            if newest is None:
                short[stream.name] = None
            elif (lack_ns := self.needed_ns(stream, stamp_ns) - newest) > 0:
                short[stream.name] = lack_ns
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
        """By stream, the readings from the earliest begin that its sample, or the target, can have, and to its end."""
        motion = {}
        for source, streams in self._moved.items():
            for stream in streams:
                before, after = stream.motion_reach_ns
                stamps = [entry.sample.stamp_ns for entry in picks[stream.name].entries]
                first = min((stamp_ns, *(sample_ns - before for sample_ns in stamps)))
                last = max((stamp_ns, *(sample_ns + after for sample_ns in stamps)))
                motion[stream.name] = self.buffers[source].window(first, last, EARLIER) if stamps else ()
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
            buffer.discard_before(self._keep_from_ns(s, stamp_ns), EARLIER if s.name in self._moved else 0)
            if s.name == self._trigger:
                buffer.close_at(stamp_ns)

    def _keep_from_ns(self, stream: StreamConfig, stamp_ns: int) -> int:
        """Earliest instant of ``stream`` that a target after ``stamp_ns`` may need, ns."""
        first = min(stream.instants(stamp_ns))
        for moved in self._moved.get(stream.name, ()):
            older = 0 if moved.name == self._trigger else moved.tolerance_ns
            first = min(first, stamp_ns - older - moved.motion_reach_ns[0])
        return first
