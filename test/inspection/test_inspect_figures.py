# SPDX-License-Identifier: Apache-2.0
"""Figures of streams of any length in bounded memory, against those that NumPy finds of all values."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from robocache_ros.tools.inspect.spread import Spread
from robocache_ros.tools.inspect.stamps import Stamps

SECOND, MS = 10**9, 10**6


@pytest.mark.parametrize('scale', [1, 1000, 10**9, 10**15])
def test_a_spread_is_that_of_all_values(scale: int) -> None:
    values = (np.random.default_rng(scale).normal(1.0, 0.7, 20_000) * scale).astype(np.int64)
    spread = Spread()
    for value in values.tolist():
        spread.take(value)
    assert (spread.count, spread.least, spread.greatest) == (len(values), values.min(), values.max())
    for share in (0.01, 0.5, 0.99):
        expected = float(np.quantile(values, share, method='inverted_cdf'))
        assert spread.percentile(share) == pytest.approx(expected, rel=0.011, abs=0.01 * scale)
    assert spread.deviation(np.inf) == pytest.approx(values.std(), rel=1e-9)
    assert spread.deviation(scale) == pytest.approx(values[values <= scale].std(), rel=0.02)


def test_a_spread_of_nothing_has_no_percentile() -> None:
    assert Spread().percentile(0.5) is None
    assert Spread().deviation(1.0) == 0.0


def test_a_spread_of_equal_values_is_exact() -> None:
    spread = Spread()
    for _ in range(1000):
        spread.take(66_666_667)
    assert spread.percentile(0.5) == 66_666_667
    assert spread.deviation(np.inf) == 0.0


def stamps_of(stamps_ns: list[int], record_ns: list[int] | None = None) -> Stamps:
    stamps = Stamps(0, max(record_ns or stamps_ns), is_stamped=True)
    for stamp, record in zip(stamps_ns, record_ns or stamps_ns, strict=True):
        stamps.take(record, stamp)
    return stamps


@pytest.mark.parametrize('jitter_ms', [0.0, 0.1, 2.0])
def test_period_and_jitter_are_those_of_the_stamps(jitter_ms: float) -> None:
    noise = np.random.default_rng(1).normal(0.0, jitter_ms, 2000)
    times = (SECOND + (np.arange(2000) * 50.0 + noise) * MS).astype(np.int64)
    stamps = stamps_of(times.tolist())
    steps = np.diff(times)
    assert stamps.period_ns == pytest.approx(np.median(steps), rel=0.01)
    assert stamps.jitter_ns == pytest.approx(steps.std(), rel=0.01)
    assert stamps.rate_hz == pytest.approx(20, rel=1e-3)


@pytest.mark.parametrize('kept', [1.0, 0.99, 0.75, 0.4])
def test_what_is_missing_is_counted(kept: float) -> None:
    times = SECOND + 10 * MS * np.arange(5000)
    there = np.random.default_rng(2).random(5000) < kept
    there[[0, -1]] = True
    assert stamps_of(times[there].tolist()).missing == 5000 - there.sum()


def test_what_comes_out_of_order_is_not_missing() -> None:
    times = SECOND + 10 * MS * np.arange(1000)
    swapped = times.reshape(-1, 4)[:, [0, 2, 1, 3]].reshape(-1)
    stamps = stamps_of(swapped.tolist(), times.tolist())
    assert (stamps.back, stamps.furthest_back_ns, stamps.missing, stamps.duplicates) == (250, 10 * MS, 0, 0)


def test_what_a_sender_that_was_held_up_sends_late_is_not_missing() -> None:
    times = SECOND + 10 * MS * np.arange(1000)
    for at in range(100, 900, 50):
        times[at : at + 5] = times[at + 5] - 1000 * np.arange(5, 0, -1)
    assert stamps_of(times.tolist()).missing == 0


def test_irregular_stamps_miss_nothing() -> None:
    times = SECOND + np.cumsum(np.random.default_rng(3).exponential(50 * MS, 2000)).astype(np.int64)
    assert stamps_of(times.tolist()).missing == 0


@pytest.mark.parametrize('ppm', [-5000.0, -300.0, 300.0, 5000.0])
def test_a_drift_is_found_beside_jitter_and_late_messages(ppm: float) -> None:
    random = np.random.default_rng(4)
    record = (SECOND + np.arange(6000) * 20 * MS).astype(np.int64)
    delay = (random.exponential(3 * MS, 6000) + 500 * MS * (random.random(6000) < 0.01)).astype(np.int64)
    clock = SECOND + ((record - SECOND) * (1 + ppm * 1e-6)).astype(np.int64)
    drift = stamps_of((clock - delay).tolist(), record.tolist()).delays.drift()
    assert drift is not None
    assert drift.is_clear
    assert drift.ppm == pytest.approx(ppm, rel=0.05)
    assert drift.total_ns == pytest.approx(ppm * 120_000, rel=0.05)


def test_jitter_is_no_drift() -> None:
    record = (SECOND + np.arange(6000) * 20 * MS).astype(np.int64)
    delay = np.random.default_rng(5).exponential(20 * MS, 6000).astype(np.int64)
    drift = stamps_of((record - delay).tolist(), record.tolist()).delays.drift()
    assert drift is not None
    assert not drift.is_clear


def test_memory_does_not_grow_with_the_recording() -> None:
    random = np.random.default_rng(6)
    stamps = Stamps(0, 10**15, is_stamped=True)

    def take(begin: int, end: int) -> None:
        for index, noise in zip(range(begin, end), random.normal(0, 0.2, end - begin), strict=True):
            stamp = SECOND + round((index + noise) * 5 * MS)
            stamps.take(stamp + round(abs(noise) * MS), stamp)

    take(0, 50_000)
    tracemalloc.start()
    try:
        take(50_000, 200_000)
        assert tracemalloc.get_traced_memory()[0] < 200_000
    finally:
        tracemalloc.stop()
