# SPDX-License-Identifier: Apache-2.0
"""Durations: the last ones for percentiles, all of them in buckets."""

import math

import pytest

from robocache_core.units import MS, SECOND
from robocache_ros.durations import BOUNDS_NS, Durations


@pytest.mark.parametrize(
    ('duration_ns', 'bucket', 'sum_ns'),
    [
        (0, 0, 0),
        (BOUNDS_NS[0], 0, BOUNDS_NS[0]),
        (BOUNDS_NS[0] + 1, 1, BOUNDS_NS[0] + 1),
        (BOUNDS_NS[-1], len(BOUNDS_NS) - 1, BOUNDS_NS[-1]),
        (3600 * SECOND, len(BOUNDS_NS), 3600 * SECOND),
        (-5 * SECOND, 0, 0),  # another host's clock is ahead
    ],
)
def test_a_duration_is_in_the_first_bucket_that_reaches_it(duration_ns, bucket, sum_ns):
    durations = Durations()
    durations.add(duration_ns)
    found = durations.histogram()
    assert [at for at, count in enumerate(found.counts) if count] == [bucket]
    assert (found.count, found.sum_ns) == (1, sum_ns)
    assert list(durations.recent) == [duration_ns]


def test_all_are_counted_and_the_last_ones_kept():
    durations = Durations()
    for _ in range(2000):
        durations.add(3 * SECOND)
    for _ in range(512):
        durations.add(MS)
    assert durations.histogram().count == 2512
    assert durations.percentiles_ms() == (1.0, 1.0)


def test_nothing_has_no_percentiles():
    assert all(map(math.isnan, Durations().percentiles_ms()))
