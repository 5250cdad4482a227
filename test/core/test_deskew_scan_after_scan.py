# SPDX-License-Identifier: Apache-2.0
"""A lidar whose scans follow each other: the times of each are looked at, none is believed for the sake of another."""

import numpy as np
import pytest
from support.timed_scans import COLUMNS, STAMP, D, scan

from robocache_core.config import DeskewConfig, ImuConfig
from robocache_core.deskew import Deskewer
from robocache_core.motion_source import GyroMotion
from robocache_core.samples import DataError
from robocache_core.time_field import TimeField
from robocache_core.units import MS, SECOND


class Driver:
    """A lidar whose scans follow each other: gives for each what was made of its times."""

    def __init__(self, **config):
        self.deskewer = Deskewer(DeskewConfig(source='imu', **config), GyroMotion(ImuConfig('imu'), (0.0, 0.0, 0.0)))

    def send(self, values, dtype='uint32', stamp_ns=STAMP, name='t', **changes):
        """Return the field, and which points were left out."""
        sent = scan((name, dtype, values), stamp_ns=stamp_ns, **changes)
        timed, field = self.deskewer.timed(sent)
        return field, np.flatnonzero(x_of(sent) != x_of(timed)).tolist()

    def refusal(self, *args, **kwargs):
        with pytest.raises(DataError) as refusal:
            self.send(*args, **kwargs)
        assert refusal.value.reason == 'unknown_time_field'
        return str(refusal.value)


def x_of(scan):
    points = scan.data.numpy().reshape(-1, scan.layout.point_step)[:, :4]
    return np.frombuffer(points.tobytes(), '>f4' if scan.layout.is_bigendian else '<f4')


NS, US = TimeField('t', 1, False, 0, 0), TimeField('t', 1000, False, 0, 0)
MANY = np.linspace(0, D - MS, 50_000).astype(np.int64)


def test_the_times_of_a_layout_are_found_once():
    driver = Driver()
    assert driver.send(COLUMNS) == (NS, [])
    assert driver.send(COLUMNS[:10] // 100) == (NS, [])  # too few to show a unit by themselves
    assert 'different values' in Driver().refusal(COLUMNS[:10] // 100)


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        (np.zeros(1000), 'all have the same time'),
        (np.full(1000, 5 * MS), 'all have the same time'),
        (2**32 - 1 - COLUMNS, 'begin +4.19507 s from the stamp'),
        ((COLUMNS + 300 * MS), 'begin +0.3 s from the stamp'),
        ((COLUMNS * 10), 'more than deskew.scan_duration'),
        (np.where(np.arange(1000) % 2, COLUMNS, 3_604_000_000), 'that spans 3.6'),
        (np.where(np.arange(1000) < 20, 400 * MS, COLUMNS), 'more than deskew.scan_duration'),
    ],
)
@pytest.mark.parametrize('named', [{}, {'time_field': 't', 'time_unit': 'ns', 'time_reference': 'start'}])
def test_a_scan_whose_times_are_wrong_is_refused_after_a_good_one_too(values, expected, named):
    driver = Driver(**named)
    driver.send(COLUMNS)
    refusal = driver.refusal(values)
    assert expected in refusal or 'does not fit deskew.time_reference' in refusal
    assert driver.send(COLUMNS) == (NS, [])
    assert driver.refusal(values) == refusal == Driver(**named).refusal(values)


@pytest.mark.parametrize(('num', 'span_ns'), [(128, 53_300), (64, 20_000), (200, 53_300), (256, 99_000), (384, 99_900)])
def test_a_fragment_that_comes_first_decides_nothing(num, span_ns):
    driver = Driver()
    assert 'a part of a scan does not show the unit' in driver.refusal(np.linspace(0, span_ns, num))
    assert driver.send(MANY) == (NS, [])
    assert driver.send(np.linspace(0, span_ns, num)) == (NS, [])
    assert Driver(time_unit='ns').send(np.linspace(0, span_ns, num)) == (NS, [])


def test_times_that_become_absolute_are_taken_as_such():
    """The lidar's clock was not set when it started."""
    driver = Driver()
    absolute = TimeField('t', SECOND, True, 0, 0)
    for stamp_ns, values, expected in (
        (STAMP, COLUMNS / SECOND, TimeField('t', SECOND, False, 0, 0)),
        (STAMP + D, (STAMP + D + COLUMNS) / SECOND, absolute),
        (STAMP + 2 * D, (STAMP + 2 * D + COLUMNS) / SECOND, absolute),
    ):
        assert driver.send(values, 'float64', stamp_ns) == (expected, [])


@pytest.mark.parametrize('stray', [3_604_000_000, 150 * MS, 2**32 - 1])
@pytest.mark.parametrize('bigendian', [False, True])
@pytest.mark.parametrize('named', [{}, {'time_field': 't', 'time_unit': 'ns', 'time_reference': 'start'}])
def test_a_few_points_with_impossible_times_are_left_out(stray, bigendian, named):
    values = COLUMNS.copy()
    strays = [0, 411, 999]
    values[strays] = stray
    driver = Driver(**named)
    assert driver.send(values, bigendian=bigendian) == (NS, strays)
    assert driver.send(COLUMNS, bigendian=bigendian) == (NS, [])
    assert driver.send(values, bigendian=bigendian) == (NS, strays)


def test_points_without_a_time_are_left_out():
    values = COLUMNS / SECOND
    values[[7, 8]] = np.nan
    assert Driver().send(values, 'float32') == (TimeField('t', SECOND, False, 0, 0), [7, 8])
    values[::5] = np.nan
    assert 'have no time within the scan' in Driver().refusal(values, 'float32')


def test_missing_returns_with_any_time_are_no_returns_outside():
    driver = Driver()
    values = (STAMP + COLUMNS).astype(np.float64)
    missing = range(0, 1000, 3)
    for _ in range(2):
        assert driver.send(values, 'float64', missing=missing) == (TimeField('t', 1, True, 0, 0), [])


@pytest.mark.parametrize('odd', ['missing', 'nan', 'stray', 'two others', 'none'])
def test_equal_times_are_refused_whatever_else_is_in_the_scan(odd):
    values = np.full(1000, 0.05)
    missing = range(0, 1000, 3) if odd == 'missing' else ()
    values[[3, 500, 700]] = {'nan': np.nan, 'stray': 7.0, 'two others': 0.01}.get(odd, 0.05)
    driver = Driver()
    first = driver.refusal(values, 'float32', missing=missing)
    driver.send(COLUMNS / SECOND, 'float32')
    assert driver.refusal(values, 'float32', missing=missing) == first
    assert 'all have the same time' in first


@pytest.mark.parametrize(
    ('dtype', 'before', 'after'), [('uint32', 1, 1000), ('float64', 1, SECOND), ('float64', MS, SECOND)]
)
def test_a_whole_scan_in_a_greater_unit_is_read_in_that_one(dtype, before, after):
    driver = Driver()
    for unit_ns in (before, after, before):
        assert driver.send(MANY / unit_ns, dtype) == (TimeField('t', unit_ns, False, 0, 0), [])


def test_a_scan_without_a_return_has_no_times_to_be_wrong():
    driver = Driver()
    covered = scan(('t', 'uint32', np.zeros(1000)), missing=range(1000))
    assert driver.deskewer.timed(covered) == (covered, None)
    driver.send(COLUMNS)
    assert driver.deskewer.timed(covered) == (covered, NS)


def test_scans_of_a_hundred_hertz():
    values = np.linspace(0, 9_990_000, 3000)
    assert Driver(scan_duration_ns=10 * MS).send(values) == (NS, [])


def test_a_refusal_is_not_remembered():
    driver = Driver()
    assert 'all have the same time' in driver.refusal(np.zeros(1000), name='time')
    assert driver.send(COLUMNS, name='time')[0].name == 'time'


def test_a_sender_that_makes_up_layouts_fills_no_table():
    deskewer = Deskewer(DeskewConfig(source='imu'), GyroMotion(ImuConfig('imu'), (0.0, 0.0, 0.0)))
    for i in range(100):
        made_up = scan(('t', 'uint32', COLUMNS), (f'field_{i}', 'uint8', COLUMNS * 0))
        assert deskewer.timed(made_up)[1] == TimeField('t', 1, False, 0, 0)
    assert len(deskewer._fields) <= 16
