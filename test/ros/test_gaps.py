# SPDX-License-Identifier: Apache-2.0
"""How many messages stamps show to be missing."""

import numpy as np
import pytest

from robocache_core.units import MS
from robocache_ros.gaps import Gaps

RNG = np.random.default_rng(5)
REGULAR = np.arange(300) * 100 * MS


def without(stamps, *lost):
    return np.delete(stamps, lost)


def jittered(stamps, part):
    return stamps + RNG.normal(0, part * 100 * MS, len(stamps)).astype(np.int64)


def held_up(stamps, at, num):
    """The sender waits for ``num`` periods at a place, and then stamps in quick succession what was due."""
    held = stamps.copy()
    held[at : at + num] = stamps[at + num] - np.arange(num, 0, -1) * MS
    return held


def swapped(stamps, *places):
    order = np.arange(len(stamps))
    for at in places:
        order[[at, at + 1]] = at + 1, at
    return stamps[order]


def stepped(*steps_ms):
    """Stamps by the steps between them, each with its number."""
    steps = [step * MS for step, number in steps_ms for _ in range(number)]
    return np.cumsum([0, *steps])


#: Stamps that arrive, and how many are missing: the least, and the most, that may be said.
STREAMS = {
    'regular': (REGULAR, 0, 0),
    'one lost': (without(REGULAR, 150), 1, 1),
    'three in a row': (without(REGULAR, 150, 151, 152), 3, 3),
    'a third at random': (without(REGULAR, *RNG.choice(np.arange(20, 299), 100, replace=False)), 75, 100),
    'three of four, as without the DDS profile': (np.sort(RNG.choice(REGULAR, 72, replace=False)), 120, 228),
    'a jitter of 2 % and one lost': (without(jittered(REGULAR, 0.02), 150), 1, 1),
    'a jitter of 10 %': (jittered(REGULAR, 0.1), 0, 0),
    'a sender that is held up': (held_up(held_up(REGULAR, 100, 4), 200, 7), 0, 0),
    'held up, and one lost': (without(held_up(REGULAR, 100, 4), 200), 1, 1),
    'out of order': (swapped(REGULAR, 100, 120, 140), 0, 0),
    'out of order, and one lost': (without(swapped(REGULAR, 100), 200), 1, 1),
    'a pause of the sensor': (np.concatenate([REGULAR, REGULAR + 60_000 * MS]), 0, 0),
    'a bag that loops': (np.concatenate([REGULAR, REGULAR]), 0, 0),
    'pairs': (np.sort(np.concatenate([REGULAR, REGULAR + 2 * MS])), 0, 0),
    'at random': (np.cumsum(RNG.exponential(100 * MS, 300)).astype(np.int64), 0, 30),
    'all the same': (np.zeros(300, np.int64), 0, 0),
    'every second one from the middle on': (np.concatenate([REGULAR[:150], REGULAR[150::2]]), 0, 0),
    'a third of the rate, and one lost': (without(np.concatenate([REGULAR[:150], REGULAR[150::3]]), 180), 1, 1),
    'half of the rate, unevenly, then a pause': (stepped((100, 30), (181, 5), (219, 3), (5000, 1), (100, 20)), 0, 8),
    'few': (REGULAR[[0, 5, 6, 9]], 0, 0),
}


@pytest.mark.parametrize(('stamps', 'least', 'most'), STREAMS.values(), ids=STREAMS)
def test_what_is_missing_by_the_stamps(stamps, least, most):
    gaps = Gaps()
    for stamp in stamps.tolist():
        gaps.take(stamp)
    assert least <= gaps.missing <= most


def test_a_lower_rate_is_named():
    gaps = Gaps()
    for stamp in STREAMS['a third of the rate, and one lost'][0].tolist():
        gaps.take(stamp)
    assert gaps.num_slowdowns == 1
    assert gaps.slowdown == 'comes at 3.33 Hz, came at 10 Hz'
