# SPDX-License-Identifier: Apache-2.0
"""Which clocks are wrong, by record times: of topics that were stamped by another clock than the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from robocache_core.units import MS, SECOND
from robocache_ros.clock_differences import against_arrival, cause, remedy

_CURE = (
    'synchronise the clocks of sensor and recorder (PTP, chrony), or let the driver stamp with the clock of the host'
)
_RECORD_CURE = 'look at the clocks of recorder and sensors; of a bag that was recorded from a bag nothing is to be done'


class ClockFinding(NamedTuple):
    """``level``, ``code``, ``subject``, ``what`` and ``remedy`` of a finding."""

    level: str
    code: str
    subject: str
    what: str
    remedy: str


def find(topics: Mapping[str, Mapping[str, Any]], start_ns: int) -> Iterator[ClockFinding]:
    """Yield what is wrong with the clocks of ``topics`` of a report, of a bag that was recorded from ``start_ns`` on.

    Stamps are looked at as streams have them: with the ``stamp_offset`` of the configuration; those of streams that are
    stamped by arrival are not looked at.
    """
    delays = {
        name: round(t['delay_ms']['least'] * MS) - round(t['stamping']['offset_s'] * SECOND)
        for name, t in topics.items()
        if t['delay_ms']['least'] is not None and not t['stamping']['by_arrival']
    }
    wrong, base_ns = against_arrival(delays)
    if base_ns:
        yield _of_all(delays, base_ns, start_ns)
    for name in delays:
        if _has_jumps(topics[name]):
            continue
        if name in wrong:
            yield _offset(name, topics[name], wrong[name], start_ns - delays[name], base_ns)
        yield from _drift(name, topics[name])


def _of_all(delays: Mapping[str, int], base_ns: int, start_ns: int) -> ClockFinding:
    """That most topics do not fit the record times; one cannot say which of both clocks is wrong."""
    found = cause(base_ns, start_ns + base_ns)
    what = f'the stamps of {"all" if len(delays) > 1 else "the only"} topics are {_span(base_ns)} the record times'
    streams = 'each of the streams' if len(delays) > 1 else 'the stream'
    cure = _RECORD_CURE + (f'; {remedy("<stream>", base_ns, start_ns + base_ns)}, for {streams}' if found else '')
    return ClockFinding('note', 'record_clock', 'bag', f'{what}: {found}' if found else what, cure)


def _offset(name: str, topic: Mapping[str, Any], ahead_ns: int, stamp_ns: int, base_ns: int) -> ClockFinding:
    others = 'those of most topics, compared by the record times' if base_ns else 'the record times'
    what, found = f'its stamps are {_span(ahead_ns)} {others}', cause(ahead_ns, stamp_ns)
    offset_ns = round(topic['stamping']['offset_s'] * SECOND)
    cures = [remedy(stream, ahead_ns, stamp_ns, offset_ns) for stream in topic['streams']] if found else []
    cures = cures or ["set its stream's stamp_offset"]
    return ClockFinding(
        'error', 'clock_offset', name, f'{what}: {found}' if found else what, f'{_CURE}; or {", ".join(cures)}'
    )


def _drift(name: str, topic: Mapping[str, Any]) -> Iterator[ClockFinding]:
    drift = topic['drift']
    if drift is not None and drift['is_clear']:
        pace = 'fast' if drift['ppm'] > 0 else 'slow'
        excuse = '' if drift['ppm'] > 0 else ', or it comes later and later'
        what = (
            f'its stamps run {abs(drift["ppm"]):.0f} ppm {pace} against the record times, '
            f'{abs(drift["total_ms"]):.0f} ms over the bag: its clock drifts{excuse}'
        )
        yield ClockFinding('error', 'clock_drift', name, what, _CURE)


def _span(ahead_ns: int) -> str:
    return f'{abs(ahead_ns) / SECOND:.4g} s {"ahead of" if ahead_ns > 0 else "behind"}'


def _has_jumps(topic: Mapping[str, Any]) -> bool:
    return bool(topic['stamps']['ahead']) or topic['stamps']['furthest_back_ms'] >= 1000
