# SPDX-License-Identifier: Apache-2.0
"""What must hold of a faulty recording's frames and ledger, counted from the list of injections alone."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from support.bags import START_NS
from support.faults.cases import SECONDS, Case
from support.faults.recording import POSE, STREAMS, recorded

from robocache_core import payload
from robocache_core.frame import FusedFrame
from robocache_core.ledger import Counts
from robocache_core.units import SECOND

#: Reasons that do not hold of a message by itself: other streams decide, or its target.
_BY_OTHERS = {'unselected', 'buffer_age', 'time_jump', 'no_motion'}

#: How far ahead of its stamp a frame looks: to the end of the scan, and the reading behind it.
_REACH_NS = 110_000_000

PARAMETERS: dict[str, Any] = {
    'lidars': ['lidar'],
    'cameras': ['front', 'rear'],
    'imus': ['imu'],
    'target_frame': 'base_link',
    'lidar': {
        'topic': STREAMS['lidar'],
        'deskew': {'source': 'imu'},
        'voxel': {'size': [1.0, 1.0, 1.0], 'lower': [-8.0, -8.0, -2.0], 'upper': [8.0, 8.0, 3.0], 'max_voxels': 2000},
    },
    'front': {'topic': STREAMS['front'], 'width': 8, 'height': 6},
    'rear': {'topic': STREAMS['rear'], 'message': 'compressed', 'width': 16, 'height': 12, 'required': False},
    'imu': {'topic': STREAMS['imu'], 'window_size': 5, 'window_period': 0.01},
}


def parameters_of(case: Case) -> dict[str, Any]:
    """Parameters of the node for a case."""
    if case.needs_tf:
        return PARAMETERS
    return {
        name: {**value, 'extrinsics': list(POSE)} if name in ('lidar', 'imu') else value
        for name, value in PARAMETERS.items()
    }


#: A frame's stamp since the start, ns, and how many frames of this stamp came before it.
Key = tuple[int, int]


def digests(frames: Iterable[FusedFrame], moved_ns: Mapping[int, int] | None = None) -> dict[Key, str]:
    """By stamp, the digest of all that a frame says of the sensors; ``moved_ns``: what is added to a stamp."""
    found: dict[Key, str] = {}
    seen: Counter[int] = Counter()
    for frame in frames:
        stamp_ns = frame.stamp_ns + (moved_ns or {}).get(frame.stamp_ns, 0)
        plain = dataclasses.replace(frame, stamp_ns=stamp_ns, epoch=0, sequence=0)
        found[stamp_ns - START_NS, seen[stamp_ns]] = payload.digest(plain)
        seen[stamp_ns] += 1
    return found


@dataclass(frozen=True)
class Outcome:
    """What came of a faulty recording.

    Attributes:
        frames: in the order in which they came.
        counts: by stream, its account.
        held: by stream, messages that wait, counted one by one.
        targets: the account of targets.
        blockers: the lines that say why no frame came.
        sayings: all lines: blockers, the log, the levels of inputs.
    """

    frames: Sequence[FusedFrame]
    counts: Mapping[str, Counts]
    held: Mapping[str, int]
    targets: Counts
    blockers: Sequence[str]
    sayings: Sequence[str]


def check_ledger(case: Case, injections: Sequence[Mapping[str, Any]], outcome: Outcome) -> None:
    """Every message of each stream is accounted for, as the recording and the injections have them."""
    sent = Counter(topic for _, topic, _, _ in recorded(SECONDS))
    for name, topic in STREAMS.items():
        own = [each for each in injections if each['topic'] == topic]
        counts = outcome.counts[name]
        assert counts.received == sent[topic] + sum(each['added'] for each in own), (name, counts)
        assert counts.received == counts.used + outcome.held[name] + sum(counts.dropped.values()), (name, counts)
        dropped = {r: n for r, n in counts.dropped.items() if ':' not in r and r not in _BY_OTHERS}
        if name == case.stream:
            if case.dropped:
                assert dropped.pop(case.dropped, 0) == len(own), (name, counts)
            assert dropped.keys() <= set(case.may), (name, counts)
        elif not case.needs_tf:
            assert not dropped, (name, counts)
    assert len(outcome.frames) == outcome.targets.used == outcome.counts['lidar'].used
    assert outcome.targets.received == outcome.targets.used + sum(outcome.targets.dropped.values())


def check_frames(
    case: Case, injections: Sequence[Mapping[str, Any]], whole: Sequence[FusedFrame], outcome: Outcome
) -> float:
    """Frames that no fault reaches are as without faults, to the bit; return the time until all are again, s."""
    stamps = [each['stamp_ns'] for each in injections if each['stamp_ns'] is not None and not each['lap']]
    moved = {each + round(case.moved_s * SECOND): -round(case.moved_s * SECOND) for each in stamps}
    expected = digests([*whole] * case.laps)
    found = digests(outcome.frames, moved if case.moved_s else None)
    differ = sorted(ns for ns, lap in expected.keys() | found.keys() if expected.get((ns, lap)) != found.get((ns, lap)))
    if case.laps > 1 or not differ:
        assert not differ
        return 0.0
    if case.moved_s:
        stamps = [min(stamps)]  # from there on nothing is wrong but the jump itself
    first, last = (edge(stamps, default=0) - START_NS for edge in (min, max))
    assert differ[0] >= first - _REACH_NS, (
        f'{differ[0] / SECOND} s differs, before the first fault at {first / SECOND} s'
    )
    if case.needs_tf and not outcome.frames:
        return 0.0
    assert len(expected) - len(differ) >= 15
    return max(0, differ[-1] - last) / SECOND


def check_sayings(case: Case, outcome: Outcome) -> str:
    """The fault and the stream at fault are named; return the line that does it."""
    lines = outcome.blockers if case.blocked else outcome.sayings
    if not case.said:
        assert not outcome.blockers
        return ''
    named = [line for line in lines if re.search(case.said, line)]
    assert named, f'{case.said} is not in\n' + '\n'.join(dict.fromkeys([*outcome.blockers, *outcome.sayings]))
    return re.sub(r'; start what publishes them with \S+=[^;]+', '', named[len(named) // 2])  # a path of this machine
