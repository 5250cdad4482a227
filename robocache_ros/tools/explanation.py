# SPDX-License-Identifier: Apache-2.0
"""Why each target of a flight record came out as it did, in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from robocache_core.ledger import Reason
from robocache_core.units import MS, SECOND
from robocache_ros.record_file import Record
from robocache_ros.recorder import Kind

Fields = Mapping[str, Any]

#: How long before a decision refused messages are counted as what led to it.
_LEAD_NS = SECOND


@dataclass(frozen=True)
class Fate:
    """What became of a target.

    Attributes:
        ready: the entry of when its picks were final; None where it was dropped before.
        end: the entry of its frame or its drop; None where it waited for compute when the record was written.
    """

    stamp_ns: int
    ready: Fields | None
    end: Fields | None

    @property
    def reason(self) -> str:
        """Why it was dropped; empty where it was not."""
        return str(self.end['reason']) if self.end is not None and self.end['kind'] == Kind.DROPPED else ''

    @property
    def decided_ns(self) -> int:
        """When its picks were final, or it was dropped, steady clock."""
        return int((self.ready or self.end or {})['steady_ns'])


def fates(record: Record) -> list[Fate]:
    """Return the targets of a record, in the order in which they ended; those that wait come last."""
    found: list[Fate] = []
    ready: dict[int, Fields] = {}
    for entry in record.entries:
        if entry['kind'] == Kind.READY:
            ready[entry['stamp_ns']] = entry
        elif entry['kind'] in (Kind.FRAME, Kind.DROPPED):
            found.append(Fate(entry['stamp_ns'], ready.pop(entry['stamp_ns'], None), entry))
    return found + [Fate(stamp_ns, entry, None) for stamp_ns, entry in ready.items()]


def summary(record: Record, targets: list[Fate]) -> Iterator[str]:
    """Yield whose record it is, how long, why it was written, and how many targets became what."""
    header, entries = record.header, record.entries
    span_ns = header['steady_ns'] - entries[0]['steady_ns'] if entries else 0
    until = f'{seconds(header["ros_time_ns"])} (ROS time)'
    yield f'{header["node"]}: the {span_ns / SECOND:.1f} s before {until}, written because of: {header["cause"]}'
    if header['blocker']:
        yield f'no frame came as of the last report: {header["blocker"]}'
    dropped = Counter(fate.reason for fate in targets if fate.reason)
    reasons = ', '.join(f'{n} {reason}' for reason, n in dropped.most_common())
    waiting = sum(fate.end is None for fate in targets)
    frames = len(targets) - dropped.total() - waiting
    yield (
        f'{len(targets)} targets: {frames} frames, {dropped.total()} dropped{f" ({reasons})" if reasons else ""}'
        + (f', {waiting} wait for compute' if waiting else '')
    )


class Explainer:
    """Explains targets of one record."""

    def __init__(self, record: Record) -> None:
        self._header = record.header
        self._streams: Mapping[str, Fields] = record.header['streams']
        self._by_kind = {kind: [entry for entry in record.entries if entry['kind'] == kind] for kind in Kind}
        self._arrived: dict[str, list[Fields]] = {name: [] for name in self._streams}
        for entry in self._by_kind[Kind.ARRIVED]:
            if entry['stamp_ns'] is not None:
                self._arrived.setdefault(entry['stream'], []).append(entry)

    def explain(self, fate: Fate) -> Iterator[str]:
        """Yield a line on what became of a target, then indented ones on why."""
        yield f'target {seconds(fate.stamp_ns)}: {self._outcome(fate)}'
        if fate.reason:
            yield from (f'  {line}' for line in self._why_dropped(fate))
        if fate.ready is not None:
            yield from (f'  {self._pick(name, fate)}' for name in self._streams)
            yield from (f'  {self._not_waited(name, fate)}' for name in fate.ready['given_up'])

    def _outcome(self, fate: Fate) -> str:
        if fate.end is None:
            return 'ready, and waits for compute'
        if fate.reason:
            return f'dropped, {fate.reason}'
        waited_ns = fate.end['steady_ns'] - fate.decided_ns
        return f'frame {fate.end["sequence"]} of epoch {fate.end["epoch"]}, {ms(waited_ns)} after it was ready'

    def _why_dropped(self, fate: Fate) -> Iterator[str]:
        reason, _, name = fate.reason.partition(':')
        sentence = next(
            (each.sentence for each in Reason if each == reason), 'a reason that this version does not know'
        )
        yield f'{reason}: {sentence}'
        if name:
            yield from self._refusals(name, fate)
        if reason == Reason.MISSING:
            yield self._window(name, fate) or self._nearest(name, fate)
        elif reason == Reason.THINNED:
            before = [e for e in self._by_kind[Kind.THINNING] if e['steady_ns'] <= fate.decided_ns]
            if before:
                since_ns = fate.decided_ns - before[-1]['steady_ns']
                yield (
                    f'one target in {before[-1]["keep_every"]} was kept since {ms(since_ns)} before, when '
                    f'{before[-1]["num_waiting"]} targets waited'
                )
        elif reason == Reason.TIME_JUMP:
            for epoch in (e for e in self._by_kind[Kind.EPOCH] if e['steady_ns'] >= fate.decided_ns - MS):
                yield f'epoch {epoch["epoch"]} began: time went on from {seconds(epoch["stamp_ns"])}'
                break

    def _refusals(self, name: str, fate: Fate) -> Iterator[str]:
        """Yield what was refused of a stream shortly before a target was decided, or with it."""
        last_ns = (fate.end or fate.ready or {})['steady_ns']
        refused = [
            entry
            for entry in self._by_kind[Kind.REFUSED]
            if entry['stream'] == name and fate.decided_ns - _LEAD_NS <= entry['steady_ns'] <= last_ns
        ]
        for reason, count in Counter(entry['reason'] for entry in refused).most_common():
            detail = next((e['detail'] for e in reversed(refused) if e['reason'] == reason and e['detail']), '')
            explained = f': {detail}' if detail else ''
            yield f'{name}: {count} of its messages were dropped in the second before, {reason}{explained}'

    def _window(self, name: str, fate: Fate) -> str:
        """Say how the readings of a stream covered its window for a target; empty where it has none, or no reading."""
        stream, pick = self._streams.get(name, {}), (fate.ready or {'picks': {}})['picks'].get(name)
        if stream.get('window_ns') is None or pick is None:
            return ''
        first, last = (off(fate.stamp_ns + each, fate.stamp_ns) for each in stream['window_ns'])
        begin, end = (off(each, fate.stamp_ns) for each in pick[:2])
        return (
            f'{name}: its window is from {first} to {last} the target, its readings for it are from {begin} to {end} '
            f'the target, its tolerance is {ms(stream["tolerance_ns"])}'
        )

    def _nearest(self, name: str, fate: Fate) -> str:
        """Say how near the messages of a stream that had come were to a target."""
        tolerance = f'its tolerance is {ms(self._streams.get(name, {}).get("tolerance_ns", 0))}'
        arrived = [e for e in self._arrived.get(name, ()) if e['steady_ns'] <= fate.decided_ns]
        if not arrived:
            return f'{name}: no message had arrived within the record; {tolerance}'
        nearest = min(arrived, key=lambda entry: abs(entry['stamp_ns'] - fate.stamp_ns))
        silent_ns = fate.decided_ns - arrived[-1]['steady_ns']
        return (
            f'{name}: the nearest message that had arrived is {off(nearest["stamp_ns"], fate.stamp_ns)} the target, '
            f'{tolerance}; the last one arrived {ms(silent_ns)} before the decision'
        )

    def _pick(self, name: str, fate: Fate) -> str:
        assert fate.ready is not None
        pick = fate.ready['picks'].get(name)
        if pick is None:
            return f'{name}: nothing'
        first_ns, last_ns, count, is_valid = pick
        first, last = off(first_ns, fate.stamp_ns), off(last_ns, fate.stamp_ns)
        where = f'{first} the target' if count == 1 else f'{count}, from {first} to {last} the target'
        if fate.end is not None and fate.end['kind'] == Kind.FRAME:
            is_valid = fate.end['valid'].get(name, is_valid)
        elif self._streams[name].get('window_ns') is not None:  # whether it is valid was not computed
            return f'{name}: {where}'
        damaged = ' (damaged)' if fate.end is not None and name in fate.end.get('damaged', ()) else ''
        return f'{name}: {where}, {"valid" if is_valid else "not valid"}{damaged}'

    def _not_waited(self, name: str, fate: Fate) -> str:
        max_wait = f'{ms(self._header["max_wait_ns"])} (sync.max_wait)'
        wait = f'{name} was not waited for: the stamps of the others showed that {max_wait} had gone by'
        later = [e for e in self._arrived.get(name, ()) if e['steady_ns'] > fate.decided_ns]
        if not later:
            return f'{wait}; none of its messages has arrived since'
        where = off(later[0]['stamp_ns'], fate.stamp_ns)
        return (
            f'{wait}; its next message, {where} the target, arrived {ms(later[0]["steady_ns"] - fate.decided_ns)} later'
        )


def seconds(stamp_ns: int) -> str:
    """A stamp in seconds, with all its digits."""
    return f'{stamp_ns // SECOND}.{stamp_ns % SECOND:09d}'


def ms(duration_ns: int) -> str:
    """A duration."""
    return f'{duration_ns / MS:.1f} ms' if abs(duration_ns) < SECOND else f'{duration_ns / SECOND:.2f} s'


def off(stamp_ns: int, target_ns: int) -> str:
    """Where a stamp is, seen from the target."""
    if stamp_ns == target_ns:
        return 'at'
    return f'{ms(abs(stamp_ns - target_ns))} {"before" if stamp_ns < target_ns else "after"}'
