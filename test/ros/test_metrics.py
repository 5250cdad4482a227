# SPDX-License-Identifier: Apache-2.0
"""What is observed of an input."""

import pytest

from robocache_core.units import MS, SECOND
from robocache_ros.metrics import InputRecord


def record(*arrivals_ns: int) -> InputRecord:
    made = InputRecord()
    made.arrivals_ns.extend(arrivals_ns)
    return made


@pytest.mark.parametrize(
    ('period_ns', 'rate_hz'), [(10 * MS, 100.0), (SECOND, 1.0), (5 * SECOND, 0.2), (60 * SECOND, 1 / 60)]
)
def test_the_rate_of_any_input_is_its_rate(period_ns: int, rate_hz: float) -> None:
    """That of one slower than the window too, also just before its next message."""
    made = record(*range(0, 10 * period_ns + 1, period_ns))
    for since_ns in (0, period_ns - 1):
        assert made.rate_hz(10 * period_ns + since_ns) == pytest.approx(rate_hz)


def test_an_input_that_has_stopped_has_no_rate() -> None:
    made = record(*range(0, 2 * SECOND, 100 * MS))
    assert made.rate_hz(2 * SECOND) == pytest.approx(10.0)
    assert made.rate_hz(60 * SECOND) == 0.0
    assert record().rate_hz(0) == record(5).rate_hz(10) == 0.0


def test_jitter_is_the_deviation_of_the_period() -> None:
    assert record(0, 100 * MS, 200 * MS, 300 * MS).jitter_ms(400 * MS) == 0.0
    assert record(0, 90 * MS, 200 * MS, 290 * MS).jitter_ms(400 * MS) == pytest.approx(9.428, abs=1e-3)
