# SPDX-License-Identifier: Apache-2.0
"""The one line that says why nothing comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from robocache_core.align import ROS_CLOCK
from robocache_core.ledger import Reason
from robocache_core.pipeline import Pipeline
from robocache_core.text import printable
from robocache_core.units import SECOND
from robocache_ros.drop_log import Explanation
from robocache_ros.metrics import Metrics
from robocache_ros.period import Period, listed, span

#: Drops that follow from the stamps of other streams, and so say less than what those show.
_BY_STAMPS = {Reason.LATE, Reason.BUFFER_AGE, Reason.BUFFER_FULL, Reason.TIME_JUMP}
#: Drops whose explanation names what to set.
_BY_CONFIGURATION = (Reason.NO_TRANSFORM, Reason.MISSING_FIELD)
#: Characters that are shown of an explanation, and of the names of message types.
_MAX_EXPLANATION, _MAX_TYPES = 400, 300


class Blocker:
    """Finds out why no frame came in a period; reads metrics, whose lock the caller holds.

    Args:
        pipeline: what its oldest target waits for.
        metrics: when messages arrived.
        topics: resolved topic and short message type by stream.
        types_on: returns the full message types of a topic's publishers.
        explanations: by stream and reason, why messages were dropped.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        metrics: Metrics,
        topics: Mapping[str, tuple[str, str]],
        types_on: Callable[[str], list[str]],
        explanations: Mapping[tuple[str, str], Explanation],
    ) -> None:
        self._pipeline = pipeline
        self._metrics = metrics
        self._topics = topics
        self._types_on = types_on
        self._explanations = explanations

    def describe(self, period: Period) -> str:
        """Return in one line why no frame came; empty where one did."""
        if period.num_frames > 0:
            return ''
        if period.num_failures > 0:
            return f'unforeseen exception: {self._metrics.last_failure}'
        jumps = self.jumps(period)
        if jumps:
            return jumps
        behind, drops = self._pipeline.behind(), period.target_drops
        if not behind and not drops:
            return self._without_target(period)
        missing = [name for cause, _, name in (reason.partition(':') for reason in drops) if cause == Reason.MISSING]
        details = [self._fault(name, period) or self._began_after(name) or self._off(name) for name in missing]
        # That the next target waits, too, is no fault by itself.
        details += [
            self._fault(name, period) or ('' if drops else _lag(name, lag_ns))
            for name, lag_ns in behind.items()
            if name not in missing
        ]
        summary = f'targets dropped: {listed(drops)}' if drops else f'the oldest target waits for {", ".join(behind)}'
        details = list(dict.fromkeys(filter(None, details)))
        return f'{summary} ({"; ".join(details)})' if details else summary

    def _without_target(self, period: Period) -> str:
        """Say why no target waits for a stream, and none was dropped; empty where none was due yet."""
        if self._pipeline.num_ready:
            return f'{self._pipeline.num_ready} targets wait for compute'
        trigger = self._pipeline.config.trigger
        found = (self._fault(name, period) for name in ([trigger] if trigger else self._pipeline.streams))
        return '; '.join(filter(None, found))

    def silent(self, name: str) -> str:
        """Return why no message of a stream has come at all."""
        topic, kind = self._topics[name]
        if self._metrics.inputs[name].incompatible:
            return self._metrics.inputs[name].incompatible_text
        types = self._types_on(topic)
        if not types:
            return f'{name}: no publisher on {topic} ({kind})'
        if others := self.other_types(name):
            return f'{name}: {topic} carries {others}, not {kind}'
        return f'{name}: no message on {topic}, though it has {len(types)} publisher(s) of {kind}'

    def other_types(self, name: str) -> str:
        """Return the message types on a stream's topic that are not its own; a stranger may have named them."""
        topic, kind = self._topics[name]
        others = {found for found in self._types_on(topic) if found.rpartition('/')[2] != kind}
        return printable(', '.join(sorted(others)), _MAX_TYPES)

    def jumps(self, period: Period) -> str:
        """Say whose stamps jump again and again; empty where none do."""
        often = {name: jumps for name, jumps in period.jumps.items() if jumps.count > 1}
        if not often:
            return ''
        name, jumps = max(often.items(), key=lambda item: item[1].count)
        size, times = span(jumps.last_ns), f'({jumps.count} times)'
        if name == ROS_CLOCK:
            return f'the ROS clock goes back by {size} again and again {times}: two publishers of /clock?'
        stamps = f'the stamps of {name} on {self._topics[name][0]}'
        return f'{stamps} jump by {size} to and fro {times}: two publishers, or two clocks?'

    def odd_clocks(self, period: Period) -> dict[str, str]:
        """Say by stream whose stamps do not fit those of the others, and by how much; of two, that they do not fit."""
        readings = self._pipeline.clock_readings()
        if len(readings) == 2:  # nothing shows which of them is wrong
            behind, ahead = sorted(readings, key=lambda name: readings[name])
            apart = self._apart(behind, ahead, readings, period)
            return {f'{behind} and {ahead}': apart} if apart else {}
        newest, odd = self._pipeline.newest_ns(), self._pipeline.odd_clocks()
        return {name: _compared(name, offset_ns, newest.keys() - odd.keys()) for name, offset_ns in odd.items()}

    def _clock_fault(self, name: str, period: Period) -> str:
        """Say whose clock keeps a stream from being aligned: its own, or the trigger's; empty where none does."""
        odd, trigger = self.odd_clocks(period), self._pipeline.config.trigger
        for suspect in (name, trigger):
            if suspect in odd:
                return odd[suspect]
        readings = {each: ns for each, ns in self._pipeline.clock_readings().items() if each not in odd}
        if name not in readings:
            return ''
        furthest = max(readings, key=lambda each: abs(readings[each] - readings[name]))
        other = trigger if trigger in readings and trigger != name else furthest
        behind, ahead = sorted((name, other), key=lambda each: readings[each])
        return self._apart(behind, ahead, readings, period)

    def _apart(self, behind: str, ahead: str, readings: Mapping[str, int], period: Period) -> str:
        """Say by how much the clocks of two streams differ; empty where it is too little to be known."""
        apart_ns, max_wait_ns = readings[ahead] - readings[behind], self._pipeline.config.sync.max_wait_ns
        # What a clock shows between two samples is known no better than the samples of the other come.
        if apart_ns <= max(max_wait_ns, *(self._period_ns(each, period) or SECOND for each in (behind, ahead))):
            return ''
        return (
            f'the stamps of {behind} are {span(apart_ns)} behind those of {ahead}: one clock is wrong, or {behind} '
            f'comes late (sync.max_wait is {span(max_wait_ns)})'
        )

    def _period_ns(self, name: str, period: Period) -> int:
        """Usual time between two messages of a stream; 0 where it is not known."""
        rate_hz = self._metrics.inputs[name].rate_hz(period.now_ns)
        return round(SECOND / rate_hz) if rate_hz else 0

    def _fault(self, name: str, period: Period) -> str:
        """Say why a stream gives nothing that can be aligned; empty where it does."""
        record = self._metrics.inputs[name]
        silence = record.silence_ns(period.now_ns)
        if silence is None:
            return self.silent(name)
        if silence > max(SECOND, 1.5 * self._period_ns(name, period)):
            return f'{name}: no message for {silence / SECOND:.1f} s'
        # What was dropped with its target says nothing of the stream itself.
        losses = {r: n for r, n in period.drops(name).items() if ':' not in r and r != Reason.UNSELECTED}
        if losses.keys() - _BY_STAMPS:
            return f'{name}: dropped {listed(losses)}{self._explained(name, losses)}'
        return self._clock_fault(name, period) or (f'{name}: dropped {listed(losses)}' if losses else '')

    def _explained(self, name: str, losses: Mapping[str, int]) -> str:
        """What to set against drops of a stream, in brackets; empty where nothing can be set."""
        keys = [(name, str(reason)) for reason in _BY_CONFIGURATION if reason in losses]
        found = [self._explanations[key].message for key in keys if key in self._explanations]
        return f' ({printable("; ".join(found), _MAX_EXPLANATION)})' if found else ''

    def _began_after(self, name: str) -> str:
        """Say by how much a stream began too late for the targets that lacked it; empty where it was there for one."""
        stream, first = self._pipeline.streams[name], self._pipeline.first_ns()
        target_ns = self._pipeline.last_dropped_ns[Reason.MISSING.of_stream(name)]
        if name not in first or first[name] < target_ns:
            return ''
        late_ns = first[name] - min(stream.instants(target_ns))
        if late_ns <= 0:
            return ''
        when = (
            'the window of the last target without it begins' if stream.reads_window else 'the last target without it'
        )
        return f'{name}: its first message is {span(late_ns)} after {when}'

    def _off(self, name: str) -> str:
        """Say how far a stream's samples, which do come, are from what targets need."""
        newest = self._pipeline.newest_ns()
        offset = f', its newest is {(max(newest.values()) - newest[name]) / 1e6:.0f} ms old' if name in newest else ''
        tolerance_ms = self._pipeline.streams[name].tolerance_ns / 1e6
        return f'{name}: nothing within its tolerance of {tolerance_ms:.0f} ms{offset}'


def _compared(name: str, offset_ns: int, others: Iterable[str]) -> str:
    side, excuse = ('ahead of', '') if offset_ns > 0 else ('behind', ', or it comes late')
    rest, apart = ', '.join(sorted(others)), span(abs(offset_ns))
    return f'the stamps of {name} are {apart} {side} those of {rest}: its clock is wrong{excuse}'


def _lag(name: str, lag_ns: int | None) -> str:
    return f'{name}: is {span(lag_ns)} behind' if lag_ns else ''
