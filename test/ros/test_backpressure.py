# SPDX-License-Identifier: Apache-2.0
"""Thinning begins where a backlog is not worked off, has hysteresis and comes back step by step."""

import pytest

from robocache_core.config import BackpressureConfig
from robocache_core.units import MS, SECOND
from robocache_ros.backpressure import Backpressure

CONFIG = BackpressureConfig(max_ready=16, high_watermark=4, low_watermark=1, max_keep_every=8, patience_ns=500 * MS)


def updates(control, *depths, every_ms=100):
    """What is kept after each of the depths, which follow each other in ``every_ms``."""
    control.now_ns = getattr(control, 'now_ns', 0)
    kept = []
    for depth in depths:
        control.now_ns += every_ms * MS
        kept.append(control.update(depth, control.now_ns))
    return kept


def test_nothing_happens_below_the_high_mark():
    control = Backpressure(CONFIG)
    assert updates(control, *(3, 2, 3, 2) * 20) == [1] * 80
    assert control.state == 'normal'


@pytest.mark.parametrize(
    'depths', [(4,) * 5, (9, 8, 7, 6, 5, 5, 5, 4), range(40, 0, -1), (5, 3) * 20, (20, 30, 29, 19)]
)
def test_a_backlog_that_is_worked_off_costs_nothing(depths):
    assert set(updates(Backpressure(CONFIG), *depths)) == {1}


@pytest.mark.parametrize('depths', [(4,) * 6, (4, 5, 6, 7, 8, 9), (9, 9, 12, 10, 9, 9)])
def test_one_that_stands_or_grows_is_thinned_after_the_patience(depths):
    control = Backpressure(CONFIG)
    assert updates(control, *depths) == [1] * 5 + [2]
    assert control.state == 'thinning'


def test_thins_further_until_the_backlog_becomes_smaller():
    control = Backpressure(CONFIG)
    assert updates(control, 4, 6, 8, 10, 12, every_ms=500) == [1, 2, 4, 8, 8]
    assert updates(control, 11, 9, 7, 5, every_ms=500) == [8, 8, 8, 8]


def test_comes_back_step_by_step_and_thins_again():
    control = Backpressure(CONFIG)
    updates(control, 4, 6, 8, 10, every_ms=500)
    assert updates(control, 3, 2, 1, 0, 0) == [8, 8, 4, 2, 1]
    assert control.state == 'normal'
    assert updates(control, 4, 4, every_ms=500) == [1, 2]


class Robot:
    """A trigger, and a worker that takes its time for each target, by a set clock."""

    def __init__(self, period_ms, compute_ms):
        self.control = Backpressure(BackpressureConfig())
        self.period_ms, self.compute_ms = period_ms, compute_ms
        self.now_ms, self.next_ms, self.index = 0, 0, 0
        self.waiting = 0
        self.thinned_ms = []

    def run(self, until_ms, asleep_ms=0):
        self.now_ms += asleep_ms
        while self.now_ms < until_ms:
            self._arrive()
            if self.waiting:
                self.waiting -= 1
                self.now_ms += self.compute_ms
                self._arrive()
                self.control.update(self.waiting, self.now_ms * MS)
            else:
                self.now_ms = self.next_ms

    def _arrive(self):
        while self.next_ms <= self.now_ms:
            self.index += 1
            if self.index % self.control.keep_every:
                self.thinned_ms.append(self.now_ms)
            else:
                self.waiting += 1
            self.next_ms += self.period_ms


@pytest.mark.parametrize('compute_ms', [10, 40, 60])
@pytest.mark.parametrize('asleep_ms', [400, 1000, 2000])
def test_one_late_wake_up_loses_nothing(compute_ms, asleep_ms):
    robot = Robot(100, compute_ms)
    robot.run(3_000)
    robot.run(20_000, asleep_ms)
    assert robot.thinned_ms == []
    assert robot.waiting <= 1


@pytest.mark.parametrize(('period_ms', 'compute_ms'), [(100, 150), (100, 400), (25, 40), (25, 100), (10, 50)])
def test_overload_thins_within_a_second_of_the_high_mark_and_comes_back(period_ms, compute_ms):
    robot = Robot(period_ms, 5)
    robot.run(3_000)
    robot.compute_ms = compute_ms
    high = robot.control._config.high_watermark
    growth = 1 / period_ms - 1 / compute_ms
    robot.run(3_000 + high / growth + SECOND / MS + 2 * compute_ms)
    assert robot.thinned_ms
    robot.run(20_000)
    robot.compute_ms = 5
    robot.run(30_000)
    assert robot.control.state == 'normal'
    assert robot.thinned_ms[-1] < 25_000
