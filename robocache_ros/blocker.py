# SPDX-License-Identifier: Apache-2.0
"""The one line that says why nothing comes out, and its causes by stream and name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from robocache_core.align import ROS_CLOCK
from robocache_core.explained import Explained
from robocache_core.ledger import Reason
from robocache_core.pipeline import Pipeline
from robocache_core.text import printable
from robocache_core.units import SECOND
from robocache_ros import dds_environment
from robocache_ros.clock_differences import Suspect, against_arrival, explained
from robocache_ros.drop_log import Explanation
from robocache_ros.metrics import Metrics
from robocache_ros.near_topics import near
from robocache_ros.period import Period, listed, span
from robocache_ros.sources import choice

#: Drops that follow from the stamps of other streams, and so say less than what those show.
_BY_STAMPS = {Reason.LATE, Reason.BUFFER_AGE, Reason.BUFFER_FULL, Reason.TIME_JUMP}
#: Drops of messages that the worker did not take in time.
_UNREAD = {Reason.INBOX_FULL, Reason.INBOX_AGE}
#: A step of the worker, after which it looks for what has waited too long, is taken to be no longer than this.
_STEP_NS = SECOND
_OVERLOAD = 'the worker does not keep up: give it more cores, or less work a frame (docs/tuning.md)'
#: Drops whose explanation names what to set.
_BY_CONFIGURATION = (Reason.NO_TRANSFORM, Reason.MISSING_FIELD)
#: Characters that are shown of an explanation, and of the names of message types.
_MAX_EXPLANATION, _MAX_TYPES = 400, 300


class Cause(Explained):
    """Why no frame comes, beside the reasons of the ledger: its name, and a ``sentence`` that explains it."""

    INACTIVE = 'inactive', 'the node is not active'
    NO_CLOCK = 'no_clock', '`use_sim_time` is true and no `/clock` comes'
    EXCEPTION = 'exception', 'an unforeseen exception: the log has the traceback'
    COMPUTE = 'compute', 'targets are ready and wait for compute'
    INCOMPATIBLE_QOS = 'incompatible_qos', 'the QoS of a publisher of the stream does not fit'
    NO_PUBLISHER = 'no_publisher', "the stream's topic has no publisher"
    OTHER_TYPE = 'other_type', "the stream's topic carries messages of another type"
    NO_MESSAGE = 'no_message', "the stream's topic has a publisher, and no message has come"
    SILENT = 'silent', 'the stream had messages, and none comes any more'
    WRONG_CLOCK = 'wrong_clock', 'the stamps of the stream do not fit those of the others'
    BEGAN_LATE = 'began_late', 'the first message of the stream came after the last target'
    BEYOND_TOLERANCE = 'beyond_tolerance', 'no sample of the stream is within its `tolerance`'
    BEHIND = 'behind', 'the oldest target waits for the stream'


@dataclass(frozen=True)
class Fault:
    """One thing that keeps frames from coming.

    Attributes:
        reason: a ``Cause``, or a ``Reason`` for which messages or targets are dropped.
        stream: the stream at fault; empty where no stream is.
        text: the same as a line.
    """

    reason: str
    stream: str
    text: str


@dataclass(frozen=True)
class Blockage:
    """Why no frame came, in one line; empty where one did. ``faults`` are what it follows from."""

    text: str = ''
    faults: tuple[Fault, ...] = ()

    @classmethod
    def of(cls, *faults: Fault) -> Blockage:
        """Return what follows from faults that need no summary."""
        return cls('; '.join(fault.text for fault in faults), faults)


class Blocker:
    """Finds out why no frame came in a period; reads metrics, whose lock the caller holds.

    Args:
        pipeline: what its oldest target waits for.
        metrics: when messages arrived.
        topics: resolved topic and short message type by stream.
        types_on: returns the full message types of a topic's publishers.
        published: returns the full message types of every topic that another node publishes.
        explanations: by stream and reason, why messages were dropped.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        metrics: Metrics,
        topics: Mapping[str, tuple[str, str]],
        types_on: Callable[[str], list[str]],
        published: Callable[[], Mapping[str, Sequence[str]]],
        explanations: Mapping[tuple[str, str], Explanation],
    ) -> None:
        self._pipeline = pipeline
        self._metrics = metrics
        self._topics = topics
        self._types_on = types_on
        self._published = published
        self._explanations = explanations

    def find(self, period: Period) -> Blockage:
        """Return why no frame came."""
        if period.num_frames > 0:
            return Blockage()
        if period.num_failures > 0:
            text = f'unforeseen exception: {self._metrics.last_failure}'
            return Blockage.of(Fault(Cause.EXCEPTION, '', text))
        jumps = self._jumps(period)
        if jumps:
            return Blockage.of(jumps)
        behind, drops = self._pipeline.behind(), period.target_drops
        if not behind and not drops:
            return Blockage.of(*self._without_target(period))
        summary = f'targets dropped: {listed(drops)}' if drops else f'the oldest target waits for {", ".join(behind)}'
        faults = list(dict.fromkeys(self._faults(behind, drops, period)))
        details = '; '.join(fault.text for fault in faults)
        named = {fault.stream for fault in faults}
        rest = (Fault(cause, name, summary) for cause, _, name in (reason.partition(':') for reason in drops))
        faults += [fault for fault in rest if not fault.stream or fault.stream not in named]
        faults = faults or [Fault(Cause.BEHIND, name, summary) for name in behind]
        return Blockage(f'{summary} ({details})' if details else summary, tuple(faults))

    def _faults(self, behind: Mapping[str, int | None], drops: Mapping[str, int], period: Period) -> Iterator[Fault]:
        """Yield what is wrong with the streams that targets were dropped for, or wait for."""
        causes = [(cause, name) for cause, _, name in (reason.partition(':') for reason in drops)]
        missing = [name for cause, name in causes if cause == Reason.MISSING]
        for name in missing:
            yield self._fault(name, period) or self._began_after(name) or self._overload(period) or self._off(name)
        # A scan that cannot be deskewed is not at fault where the stream that gives the motion is.
        for source in (
            self._pipeline.streams[name].motion_source for cause, name in causes if cause == Reason.NO_MOTION
        ):
            fault = self._fault(source, period) if source and source not in missing else None
            if fault is not None:
                yield fault
        for name, lag_ns in behind.items():
            if name not in missing:
                fault = self._fault(name, period)
                # That the next target waits, too, is no fault by itself.
                if fault is None and lag_ns and not drops:
                    fault = Fault(Cause.BEHIND, name, f'{name}: is {span(lag_ns)} behind')
                if fault is not None:
                    yield fault

    def _without_target(self, period: Period) -> list[Fault]:
        """Say why no target waits for a stream, and none was dropped; empty where none was due yet."""
        if self._pipeline.num_ready:
            return [Fault(Cause.COMPUTE, '', f'{self._pipeline.num_ready} targets wait for compute')]
        trigger = self._pipeline.config.trigger
        found = (self._fault(name, period) for name in ([trigger] if trigger else self._pipeline.streams))
        return [fault for fault in found if fault is not None]

    def silent(self, name: str) -> Fault:
        """Return why no message of a stream has come at all."""
        topic, kind = self._topics[name]
        if self._metrics.inputs[name].incompatible:
            return Fault(Cause.INCOMPATIBLE_QOS, name, self._metrics.inputs[name].incompatible_text)
        types = self._types_on(topic)
        if not types:
            text = f'{name}: no publisher on {topic} ({kind}){near(topic, kind, self._unclaimed())}'
            return Fault(Cause.NO_PUBLISHER, name, text)
        if others := self.other_types(name):
            text = f'{name}: {topic} carries {others}, not {kind}'
            cure = choice(name, self._pipeline.streams[name].message_type, others)
            return Fault(Cause.OTHER_TYPE, name, '; '.join(filter(None, (text, cure))))
        text = (
            f'{name}: no message on {topic}, though it has {len(types)} publisher(s) of {kind}; if large ones are sent '
            f'and lost, {dds_environment.sender_remedy()}'
        )
        return Fault(Cause.NO_MESSAGE, name, text)

    def _unclaimed(self) -> dict[str, Sequence[str]]:
        """Message types of the published topics that no stream takes."""
        claimed = {topic for topic, _ in self._topics.values()}
        return {topic: types for topic, types in self._published().items() if topic not in claimed}

    def other_types(self, name: str) -> str:
        """Return the message types on a stream's topic that are not its own; a stranger may have named them."""
        topic, kind = self._topics[name]
        others = {found for found in self._types_on(topic) if found.rpartition('/')[2] != kind}
        return printable(', '.join(sorted(others)), _MAX_TYPES)

    def several_publishers(self, name: str) -> str:
        """Say how many publishers a stream's topic has; empty where it has at most one."""
        topic, _ = self._topics[name]
        num_publishers = len(self._types_on(topic))
        return f'{topic} has {num_publishers} publishers: give each a topic of its own' if num_publishers > 1 else ''

    def several_senders(self, name: str) -> str:
        """Say what shows that the messages of a stream are of several publishers; empty where nothing does."""
        record, several = self._metrics.inputs[name], self.several_publishers(name)
        if frames := record.frames.alternating():
            remedy = several or f'give each sender on {self._topics[name][0]} a topic of its own'
            return f'its messages are of {frames} in turn: {remedy}'
        return f'its stamps are not evenly spaced, and {several}' if several and record.gaps.are_uneven else ''

    def jumps(self, period: Period) -> str:
        """Say whose stamps jump again and again; empty where none do."""
        fault = self._jumps(period)
        return '' if fault is None else fault.text

    def _jumps(self, period: Period) -> Fault | None:
        often = {name: jumps for name, jumps in period.jumps.items() if jumps.count > 1}
        if not often:
            return None
        name, jumps = max(often.items(), key=lambda item: item[1].count)
        size, times = span(jumps.last_ns), f'({jumps.count} times)'
        if name == ROS_CLOCK:
            text = f'the ROS clock goes back by {size} again and again {times}: two publishers of /clock?'
        else:
            stamps = f'the stamps of {name} on {self._topics[name][0]}'
            text = f'{stamps} jump by {size} to and fro {times}: two publishers, or two clocks?'
        return Fault(Reason.TIME_JUMP, name, text)

    def odd_clocks(self, period: Period) -> dict[str, str]:
        """Say by stream whose stamps do not fit those of the others, and by how much; of two, that they do not fit.

        What messages that the worker did not take in time explain is left out.
        """
        readings = self._pipeline.clocks.readings()
        if len(readings) == 2:  # nothing shows which of them is wrong
            behind, ahead = sorted(readings, key=lambda name: readings[name])
            apart = self._apart(behind, ahead, readings, period)
            return {f'{behind} and {ahead}': apart} if apart else {}
        newest, odd = self._pipeline.clocks.alive(), self._pipeline.odd_clocks()
        unread_ns = self._unread_ns(period)
        return {
            name: _compared(name, offset_ns, newest.keys() - odd.keys())
            + explained({name: self._suspect(name, offset_ns, newest[name])})
            for name, offset_ns in odd.items()
            if abs(offset_ns) > unread_ns
        }

    def off_arrival(self, name: str, *, with_all: bool) -> str:
        """Say that the stamps of a stream do not fit their arrival for a known cause; empty where they do.

        ``with_all``: also where no stream's do.
        """
        wrong, base_ns = against_arrival(self._delays())
        if base_ns and not with_all:
            return ''
        ahead_ns = wrong.get(name, 0) + base_ns
        known = explained({name: self._suspect(name, ahead_ns, self._newest_stamp_ns(name))})
        if not ahead_ns or not known:
            return ''
        side = 'ahead of' if ahead_ns > 0 else 'behind'
        return f'its stamps are {span(abs(ahead_ns))} {side} their arrival{known}'

    def _delays(self) -> dict[str, int]:
        """Least time from stamp to arrival of each stream that is stamped by its sender, ns."""
        streams = (name for name, stream in self._pipeline.streams.items() if not stream.stamped_by_arrival)
        least = {name: self._metrics.inputs[name].delays.least_ns for name in streams}
        return {name: delay for name, delay in least.items() if delay is not None}

    def _suspect(self, name: str, ahead_ns: int, stamp_ns: int) -> Suspect:
        return Suspect(ahead_ns, stamp_ns, self._pipeline.streams[name].stamp_offset_ns)

    def _newest_stamp_ns(self, name: str) -> int:
        return next(reversed(self._metrics.inputs[name].stamps_ns), 0)

    def _clock_fault(self, name: str, period: Period) -> Fault | None:
        """Say whose clock keeps a stream from being aligned: its own, or the trigger's; None where none does."""
        odd, trigger = self.odd_clocks(period), self._pipeline.config.trigger
        for suspect in (name, trigger):
            if suspect in odd:
                return Fault(Cause.WRONG_CLOCK, suspect, odd[suspect])
        readings = {each: ns for each, ns in self._pipeline.clocks.readings().items() if each not in odd}
        if name not in readings:
            return None
        furthest = max(readings, key=lambda each: abs(readings[each] - readings[name]))
        other = trigger if trigger in readings and trigger != name else furthest
        behind, ahead = sorted((name, other), key=lambda each: readings[each])
        apart = self._apart(behind, ahead, readings, period)
        return Fault(Cause.WRONG_CLOCK, behind, apart) if apart else None

    def _apart(self, behind: str, ahead: str, readings: Mapping[str, int], period: Period) -> str:
        """Say by how much the clocks of two streams differ; empty where it is too little to be known."""
        apart_ns, max_wait_ns = readings[ahead] - readings[behind], self._pipeline.config.sync.max_wait_ns
        # What a clock shows between two samples is known no better than the samples of the other come.
        periods_ns = (self._period_ns(each, period) or SECOND for each in (behind, ahead))
        if apart_ns <= max(max_wait_ns, self._unread_ns(period), *periods_ns):
            return ''
        text = (
            f'the stamps of {behind} are {span(apart_ns)} behind those of {ahead}: one clock is wrong, or {behind} '
            f'comes late (sync.max_wait is {span(max_wait_ns)})'
        )
        suspects = {
            name: self._suspect(name, ahead_ns, readings[name])
            for name, ahead_ns in ((behind, -apart_ns), (ahead, apart_ns))
        }
        wrong, base_ns = against_arrival(self._delays())
        shown = {name: suspect for name, suspect in suspects.items() if name in wrong and not base_ns}
        return text + explained(shown or suspects)

    def _period_ns(self, name: str, period: Period) -> int:
        """Usual time between two messages of a stream; 0 where it is not known."""
        rate_hz = self._metrics.inputs[name].rate_hz(period.now_ns)
        return round(SECOND / rate_hz) if rate_hz else 0

    def _fault(self, name: str, period: Period) -> Fault | None:
        """Say why a stream gives nothing that can be aligned; None where it does."""
        record = self._metrics.inputs[name]
        silence = record.silence_ns(period.now_ns)
        if silence is None:
            return self.silent(name)
        if silence > max(SECOND, 1.5 * self._period_ns(name, period)):
            text = f'{name}: no message for {silence / SECOND:.1f} s{self._without(name)}'
            return Fault(Cause.SILENT, name, text)
        # What was dropped with its target says nothing of the stream itself.
        losses = {r: n for r, n in period.drops(name).items() if ':' not in r and r != Reason.UNSELECTED}
        fault = None if losses.keys() - _BY_STAMPS else self._clock_fault(name, period)
        if fault is None and losses and losses.keys() <= _BY_STAMPS | _UNREAD:
            fault = self._overload(period)
        if fault is None and losses:
            text = f'{name}: dropped {listed(losses)}{self._explained(name, losses)}'
            fault = Fault(max(losses, key=losses.__getitem__), name, text)
        return fault

    def _without(self, name: str) -> str:
        """What to set to go on without a stream, as the end of a sentence; empty where frames cannot do without it."""
        config, streams = self._pipeline.config, self._pipeline.streams
        needed = {config.trigger, *(stream.motion_source for stream in streams.values())}
        can_be_left = streams[name].required and name not in needed and len(streams) > 1
        return f'; {name}.required: false goes on without it' if can_be_left else ''

    def _unread(self, period: Period) -> dict[str, Counter[str]]:
        """Messages that the worker did not take in time, by stream and reason."""
        drops = {name: period.drops(name) for name in self._pipeline.streams}
        unread = {name: Counter({r: n for r, n in lost.items() if r in _UNREAD}) for name, lost in drops.items()}
        return {name: lost for name, lost in unread.items() if lost}

    def _unread_ns(self, period: Period) -> int:
        """How far messages that the worker did not take in time may set the stamps of streams apart, ns."""
        longest = (self._pipeline.streams[name].queue.max_age_ns for name in self._unread(period))
        return max((waited_ns + _STEP_NS for waited_ns in longest), default=0)

    def _overload(self, period: Period) -> Fault | None:
        """Say that the worker does not keep up, and what it did not take; None where it did."""
        unread = self._unread(period)
        if not unread:
            return None
        total: Counter[str] = sum(unread.values(), Counter())
        worst = max(unread, key=lambda name: unread[name].total())
        text = f'{", ".join(unread)}: dropped {listed(total)} ({_OVERLOAD})'
        return Fault(max(total, key=total.__getitem__), worst, text)

    def _explained(self, name: str, losses: Mapping[str, int]) -> str:
        """What to set against drops of a stream, in brackets; empty where nothing can be set."""
        keys = [(name, str(reason)) for reason in _BY_CONFIGURATION if reason in losses]
        found = [self._explanations[key].message for key in keys if key in self._explanations]
        return f' ({printable("; ".join(found), _MAX_EXPLANATION)})' if found else ''

    def _began_after(self, name: str) -> Fault | None:
        """Say by how much a stream began too late for the last target that lacked it; None where it did not.

        One that was there before the target, and is too slow for its tolerance, would have lacked it all the same.
        """
        stream, first = self._pipeline.streams[name], self._pipeline.clocks.first
        target_ns = self._pipeline.last_dropped_ns[Reason.MISSING.of_stream(name)]
        is_slow = self._pipeline.clocks.period_ns(name) > 2 * stream.tolerance_ns
        if name not in first or (is_slow and first[name] < target_ns):
            return None
        late_ns = first[name] - min(stream.instants(target_ns))
        if late_ns <= 0:
            return None
        when = (
            'the window of the last target without it begins' if stream.reads_window else 'the last target without it'
        )
        return Fault(Cause.BEGAN_LATE, name, f'{name}: its first message is {span(late_ns)} after {when}')

    def _off(self, name: str) -> Fault:
        """Say how far a stream's samples, which do come, are from what targets need."""
        newest = self._pipeline.clocks.alive()
        behind_ns = max(newest.values()) - newest[name] if name in newest else 0
        age = f'; its newest message is {span(behind_ns)} behind the newest of all streams' if behind_ns else ''
        tolerance = span(self._pipeline.streams[name].tolerance_ns)
        text = f'{name}: nothing within its tolerance of {tolerance}{age}'
        return Fault(Cause.BEYOND_TOLERANCE, name, text)


def _compared(name: str, offset_ns: int, others: Iterable[str]) -> str:
    side, excuse = ('ahead of', '') if offset_ns > 0 else ('behind', ', or it comes late')
    rest, apart = ', '.join(sorted(others)), span(abs(offset_ns))
    return f'the stamps of {name} are {apart} {side} those of {rest}: its clock is wrong{excuse}'
