# SPDX-License-Identifier: Apache-2.0
"""Thinning has hysteresis and comes back step by step."""

from robocache_core.config import BackpressureConfig
from robocache_ros.backpressure import Backpressure

CONFIG = BackpressureConfig(max_ready=16, high_watermark=4, low_watermark=1, max_keep_every=8)


def test_nothing_happens_below_the_high_mark():
    control = Backpressure(CONFIG)
    assert [control.update(depth) for depth in (0, 3, 2, 3)] == [1, 1, 1, 1]
    assert control.state == 'normal'


def test_thins_further_only_while_the_backlog_grows():
    control = Backpressure(CONFIG)
    assert [control.update(depth) for depth in (4, 4, 3, 5, 5, 6, 9, 12)] == [2, 2, 2, 4, 4, 8, 8, 8]
    assert control.state == 'thinning'


def test_comes_back_step_by_step():
    control = Backpressure(CONFIG)
    for depth in (4, 5, 6):
        control.update(depth)
    assert [control.update(depth) for depth in (3, 2, 1, 0, 0)] == [8, 8, 4, 2, 1]
    assert control.state == 'normal'


def test_thins_again_after_coming_back():
    control = Backpressure(CONFIG)
    for depth in (4, 6, 1, 1):
        control.update(depth)
    assert control.keep_every == 1
    assert control.update(4) == 2
