# SPDX-License-Identifier: Apache-2.0
"""Which clocks are wrong, by record times: of topics that were stamped by another clock than the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import median_low
from typing import Any

#: Delays that sensors and networks have, ms; by how much a stamp may be ahead of its recording.
_LONGEST_MS, _AHEAD_MS = 1000.0, 10.0
_CURE = (
    'synchronise the clocks of sensor and recorder (PTP, chrony), or let the driver stamp with the clock of the host'
)


def find(topics: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str, str, str]]:
    """Yield code, topic, what is wrong and what to do, for each of ``topics`` of a report whose clock is wrong.

    Where no topic fits the record times, these are of another clock, as those of a bag that was recorded from a bag:
    then each topic is compared with most.
    """
    least = {name: t['delay_ms']['least'] for name, t in topics.items() if t['delay_ms']['least'] is not None}
    fits = not least or any(-_AHEAD_MS <= delay <= _LONGEST_MS for delay in least.values())
    base = 0.0 if fits else median_low(least.values())
    for name, delay in least.items():
        if not -_AHEAD_MS <= delay - base <= _LONGEST_MS and not _has_jumps(topics[name]):
            side = 'behind' if delay > base else 'ahead of'
            others = 'the record times' if base == 0 else 'those of most topics, compared by the record times'
            what = f'its stamps are {abs(delay - base) / 1000:.4g} s {side} {others}'
            yield 'clock_offset', name, what, _CURE
        drift = topics[name]['drift']
        if drift is not None and drift['is_clear'] and not _has_jumps(topics[name]):
            pace = 'fast' if drift['ppm'] > 0 else 'slow'
            excuse = '' if drift['ppm'] > 0 else ', or it comes later and later'
            what = (
                f'its stamps run {abs(drift["ppm"]):.0f} ppm {pace} against the record times, '
                f'{abs(drift["total_ms"]):.0f} ms over the bag: its clock drifts{excuse}'
            )
            yield 'clock_drift', name, what, _CURE


def _has_jumps(topic: Mapping[str, Any]) -> bool:
    return bool(topic['stamps']['ahead']) or topic['stamps']['furthest_back_ms'] >= 1000
