# SPDX-License-Identifier: Apache-2.0
"""Which clocks are wrong, by when messages arrive, and what a difference is that clocks of robots are known for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from robocache_core.units import MS, SECOND

#: Delays that sensors and networks have, ns; by how much a stamp may be ahead of its arrival.
LONGEST_NS, AHEAD_NS = SECOND, 10 * MS
#: Beyond this the time from stamp to frame is no latency, but the difference of two clocks, ns.
MOST_LATENCY_NS = 60 * SECOND

_HOUR_NS = 3600 * SECOND
_YEAR_NS = 365 * 24 * _HOUR_NS
#: Time zones are multiples of a quarter of an hour apart, up to 14 hours from UTC; clocks there are no better set.
_ZONE_NS, _FURTHEST_NS, _ZONE_SLACK_NS = _HOUR_NS // 4, 26 * _HOUR_NS, 2 * SECOND
#: How near a difference must be to that of two time scales: messages take time, and the scales are a second apart.
_SLACK_NS = SECOND // 2
#: A clock that shows less began when its device did; one that is behind by more began with GPS, in 1980.
_BOOT_NS, _GPS_EPOCH_NS = 5 * _YEAR_NS, 315_964_800 * SECOND


class Suspect(NamedTuple):
    """A stream that may be wrong: by how much it is ahead then, one of its stamps, and its ``stamp_offset``, ns."""

    ahead_ns: int
    stamp_ns: int
    offset_ns: int = 0


class Scales(NamedTuple):
    """Two time scales that are taken for one another: by how much the one is ahead, ns, and in words."""

    ahead_ns: int
    text: str


#: Leap seconds are those since 2017.
_SCALES = (
    Scales(37 * SECOND, '37 s is what TAI, the time of PTP, is ahead of UTC'),
    Scales(18 * SECOND, '18 s is what GPS time is ahead of UTC'),
    Scales(19 * SECOND, '19 s is what TAI, the time of PTP, is ahead of GPS time'),
)


def against_arrival(delays: Mapping[str, int]) -> tuple[dict[str, int], int]:
    """Find the streams whose stamps do not fit their arrival.

    Where none fits, arrivals are of another clock, as those of a bag that was recorded from a bag: each is then
    compared with most.

    Args:
        delays: by stream, the least time from stamp to arrival, ns.

    Returns:
        By stream that does not fit, how far its stamps are ahead (negative: behind), ns; and what most are ahead of
        their arrival, 0 where any fits.
    """
    each = sorted(delays.values())
    bases = [0] if not each or any(_fits(delay, 0) for delay in each) else each
    base = max(bases, key=lambda base: sum(_fits(delay, base) for delay in each))
    return {name: base - delay for name, delay in delays.items() if not _fits(delay, base)}, -base


def _fits(delay: int, base: int) -> bool:
    return -AHEAD_NS <= delay - base <= LONGEST_NS


def cause(ahead_ns: int, stamp_ns: int) -> str:
    """Return what makes stamps wrong by so much, in words; empty where that is not known.

    Args:
        ahead_ns: by how much they are ahead (negative: behind), ns.
        stamp_ns: one of them, ns.
    """
    found = _scales(ahead_ns)
    if found is not None:
        return found.text
    if _is_since_boot(ahead_ns, stamp_ns):
        return f'{stamp_ns / SECOND:.1f} s is the time since its device, or a simulation, was started'
    return ''


def remedy(name: str, ahead_ns: int, stamp_ns: int, offset_ns: int = 0) -> str:
    """Return what to set for stream ``name``, whose stamps are ahead by so much; empty where the cause is not known.

    ``offset_ns``: the ``stamp_offset`` that it has, with which the stamps are ahead; the one to set replaces it.
    """
    found = _scales(ahead_ns)
    if found is not None:
        return f'set {name}.stamp_offset: {(offset_ns - found.ahead_ns) / SECOND:.1f}'
    if _is_since_boot(ahead_ns, stamp_ns):
        return (
            f'set {name}.stamp: arrival, or use_sim_time where all come from a simulation; for one run '
            f'{name}.stamp_offset: {(offset_ns - ahead_ns) / SECOND:.3f}'
        )
    return ''


def explained(suspects: Mapping[str, Suspect]) -> str:
    """Return cause and remedies in brackets, as they follow a sentence; empty where they are not known.

    Args:
        suspects: by stream that may be wrong.
    """
    causes = filter(None, (cause(suspect.ahead_ns, suspect.stamp_ns) for suspect in suspects.values()))
    remedies = filter(None, (remedy(name, *suspect) for name, suspect in suspects.items()))
    found = next(causes, '')
    return f' ({found}: {", or ".join(remedies)})' if found else ''


def _scales(ahead_ns: int) -> Scales | None:
    """The time scales, or zones, that are so far apart, with the sign of ``ahead_ns``."""
    sign, size = (1, ahead_ns) if ahead_ns >= 0 else (-1, -ahead_ns)
    for scales in _SCALES:
        if abs(size - scales.ahead_ns) <= _SLACK_NS:
            return Scales(sign * scales.ahead_ns, scales.text)
    quarters = round(size / _ZONE_NS)
    if quarters and quarters * _ZONE_NS <= _FURTHEST_NS and abs(size - quarters * _ZONE_NS) <= _ZONE_SLACK_NS:
        return Scales(sign * quarters * _ZONE_NS, f'{quarters / 4:g} h is what local times are apart')
    since_1980 = _GPS_EPOCH_NS - 18 * SECOND
    if sign < 0 and abs(size - since_1980) <= _SLACK_NS:
        return Scales(-since_1980, 'it counts from the begin of GPS time, in 1980')
    return None


def _is_since_boot(ahead_ns: int, stamp_ns: int) -> bool:
    return stamp_ns < _BOOT_NS and -ahead_ns > 2 * _BOOT_NS
