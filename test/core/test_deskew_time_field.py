# SPDX-License-Identifier: Apache-2.0
"""How drivers state the times of points, and what is refused because it cannot be known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.timed_scans import COLUMNS, STAMP, D, find, refusal_of

from robocache_core.config import DeskewConfig
from robocache_core.samples import DataError
from robocache_core.time_field import TimeField
from robocache_core.units import MS, SECOND


@pytest.mark.parametrize(
    ('name', 'dtype', 'values', 'expected'),
    [
        ('t', 'uint32', COLUMNS, TimeField('t', 1, False, 0, 0)),  # Ouster
        ('time', 'float32', COLUMNS / SECOND, TimeField('time', SECOND, False, 0, 0)),  # Velodyne, first packet
        ('time', 'float32', (COLUMNS - 98.7 * MS) / SECOND, TimeField('time', SECOND, False, 0, -D)),  # last packet
        ('timestamp', 'float64', (STAMP + COLUMNS) / SECOND, TimeField('timestamp', SECOND, True, 0, 0)),  # Hesai
        ('timestamp', 'float64', (STAMP - D + COLUMNS) / SECOND, TimeField('timestamp', SECOND, True, 0, -D)),
        ('timestamp', 'float64', (STAMP + COLUMNS).astype(float), TimeField('timestamp', 1, True, 0, 0)),  # Livox
        ('offset_time', 'uint32', COLUMNS, TimeField('offset_time', 1, False, 0, 0)),
        ('time_stamp', 'uint32', COLUMNS, TimeField('time_stamp', 1, False, 0, 0)),  # Autoware
        ('t_us', 'uint32', COLUMNS // 1000, TimeField('t_us', 1000, False, 0, 0)),
        ('time_offset_ns', 'int32', COLUMNS - D, TimeField('time_offset_ns', 1, False, 0, -D)),
        ('timeOffset', 'float32', COLUMNS / MS, TimeField('timeOffset', MS, False, 0, 0)),
        ('ts', 'uint16', COLUMNS // 10_000 // 100 * 10, None),  # a unit of 100 us, which nothing names
        ('point_time_offset', 'float32', COLUMNS.astype(float), TimeField('point_time_offset', 1, False, 0, 0)),
        ('timestamp_ms', 'float64', (STAMP + COLUMNS) / MS, TimeField('timestamp_ms', MS, True, 0, 0)),
        ('T', 'float64', COLUMNS / 1000, TimeField('T', 1000, False, 0, 0)),
    ],
)
@pytest.mark.parametrize('bigendian', [False, True])
def test_fields_of_real_drivers(name, dtype, values, expected, bigendian):
    if expected is None:
        with pytest.raises(DataError, match='are not known'):
            find((name, dtype, values), bigendian=bigendian)
    else:
        assert find((name, dtype, values), bigendian=bigendian, row_padding=12) == expected


def test_missing_returns_have_no_time_of_their_own():
    values = (STAMP + COLUMNS) / SECOND
    missing = range(0, 1000, 3)
    assert find(('timestamp', 'float64', values), missing=missing) == TimeField('timestamp', SECOND, True, 0, 0)


def test_other_fields_are_not_taken_for_times():
    ring = ('ring', 'uint16', np.arange(1000) % 64)
    distance = ('distance', 'float32', np.linspace(0, 0.1, 1000))
    assert find(ring, distance, ('t', 'uint32', COLUMNS)).name == 't'
    with pytest.raises(DataError, match='no field has the name of a time') as refusal:
        find(ring, distance)
    assert refusal.value.reason == 'unknown_time_field'
    for expected in ('ring uint16', 'distance float32', 'deskew.time_field'):
        assert expected in str(refusal.value)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([('ns', 1), ('us', 1000), ('ms', MS), ('s', SECOND)]),
    st.integers(11, 999),
    st.sampled_from(['float64', 'float32', 'uint32', 'int32']),
    st.sampled_from(['start', 'end', 'absolute']),
)
def test_every_unit_and_reference_is_found_or_refused_never_mistaken(unit, duration_ms, dtype, reference):
    _, unit_ns = unit
    config = DeskewConfig(scan_duration_ns=duration_ms * MS)
    instants = np.linspace(0, duration_ms * MS, 10_000)
    exact = {'start': instants, 'end': instants - duration_ms * MS, 'absolute': STAMP + instants}[reference] / unit_ns
    with np.errstate(all='ignore'):
        stored = exact.astype(dtype)
    begin = -duration_ms * MS if reference == 'end' else 0
    expected = TimeField('t', unit_ns, reference == 'absolute', 0, begin)
    holds = np.abs((stored - exact) * unit_ns).max() < MS / 10
    try:
        assert find(('t', dtype, stored), config=config) == expected
    except DataError:
        assert not holds


# ---- what cannot be known --------------------------------------------------------------------------------------------


def test_absolute_float32_is_refused_since_it_has_no_precision():
    seconds = ((STAMP + COLUMNS) / SECOND).astype(np.float32)
    text = refusal_of(('timestamp', 'float32', seconds))
    assert 'float32 cannot hold absolute time' in text
    assert '128 apart' in text
    text = refusal_of(('timestamp', 'float32', seconds), config=DeskewConfig(time_unit='s', time_reference='absolute'))
    assert 'float32 cannot hold absolute time' in text


def test_absolute_float32_is_refused_near_the_epoch_of_simulated_time_when_named():
    values = (COLUMNS + 5 * SECOND) / SECOND
    config = DeskewConfig(time_reference='absolute')
    assert 'float32 cannot hold' in refusal_of(('t', 'float32', values), stamp_ns=5 * SECOND, config=config)


def test_another_clock_is_refused_with_its_distance():
    text = refusal_of(('timestamp', 'float64', (STAMP + 37 * SECOND + COLUMNS) / SECOND))
    assert '+37' in text
    assert 'neither the start nor the end' in text


def test_a_stamp_in_the_middle_of_the_scan_is_refused():
    assert 'begin -0.05 s' in refusal_of(('t', 'float32', COLUMNS / SECOND - 0.05))


def test_a_scan_that_lasts_longer_than_set_is_refused():
    text = refusal_of(('t', 'uint32', 2 * COLUMNS))
    assert 'more than deskew.scan_duration = 0.1 s' in text
    assert find(('t', 'uint32', 2 * COLUMNS), config=DeskewConfig(scan_duration_ns=200 * MS)).unit_ns == 1


def test_a_fragment_of_a_scan_shows_no_unit():
    assert 'different values' in refusal_of(('t', 'uint32', COLUMNS[:2] * 1000))
    assert 'no finite value' in refusal_of(('t', 'uint32', COLUMNS), missing=range(1000))


def test_a_constant_is_no_time():
    assert 'all have the same time' in refusal_of(('t', 'float32', np.zeros(1000)))


def test_two_fields_that_both_fit_are_refused_by_name():
    fields = ('t', 'uint32', COLUMNS), ('timestamp', 'float64', (STAMP + COLUMNS) / SECOND)
    assert "'t' and 'timestamp' can both be it" in refusal_of(*fields)
    assert find(*fields, config=DeskewConfig(time_field='timestamp')).is_absolute


def test_of_two_fields_the_one_that_fits_is_taken():
    assert find(('t', 'uint32', COLUMNS), ('time_s', 'uint32', np.full(1000, STAMP // SECOND))).name == 't'


def test_relative_and_absolute_look_alike_at_the_zero_of_simulated_time():
    assert 'look alike' in refusal_of(('t', 'float64', COLUMNS / SECOND), stamp_ns=0)
    assert find(('t', 'float64', COLUMNS / SECOND), stamp_ns=SECOND) == TimeField('t', SECOND, False, 0, 0)
    assert find(('t', 'float64', COLUMNS / SECOND + 1), stamp_ns=SECOND) == TimeField('t', SECOND, True, 0, 0)


# ---- overrides ------------------------------------------------------------------------------------------------------


def test_an_override_names_a_field_that_no_rule_would():
    assert find(('azimuth_clock', 'uint32', COLUMNS), config=DeskewConfig(time_field='azimuth_clock')).unit_ns == 1
    text = refusal_of(('t', 'uint32', COLUMNS), config=DeskewConfig(time_field='tt'))
    assert "there is no field 'tt'" in text


def test_an_override_of_the_unit_is_not_questioned_by_the_span():
    short = COLUMNS // 50  # a flash of 2 ms
    assert 'a scan lasts' in refusal_of(('t', 'uint32', short))
    config = DeskewConfig(time_unit='ns', scan_duration_ns=2 * MS)
    assert find(('t', 'uint32', short), config=config) == TimeField('t', 1, False, 0, 0)


def test_a_stamp_at_the_end_of_times_from_the_start_must_be_named():
    config = DeskewConfig(time_reference='end')
    assert find(('t', 'uint32', COLUMNS), config=config) == TimeField('t', 1, False, -D, -D)
    assert find(('t', 'int32', COLUMNS - D), config=config) == TimeField('t', 1, False, 0, -D)


def test_an_override_that_contradicts_the_values_is_refused():
    config = DeskewConfig(time_reference='start')
    assert 'does not fit deskew.time_reference = start' in refusal_of(('t', 'int32', COLUMNS - D), config=config)
    config = DeskewConfig(time_reference='absolute')
    assert 'does not fit' in refusal_of(('t', 'uint32', COLUMNS), config=config)
    config = DeskewConfig(time_unit='s')
    assert 'more than deskew.scan_duration' in refusal_of(('t', 'uint32', COLUMNS), config=config)


@pytest.mark.parametrize('later_ms', [0, 100, 200, 950])
@pytest.mark.parametrize(
    ('sec', 'nsec'), [('timestamp_sec', 'timestamp_nsec'), ('t_s', 't_ns'), ('time_sec', 'timeUsec')]
)
def test_what_counts_on_from_whole_seconds_is_not_taken_for_relative_times(later_ms, sec, nsec):
    """At a full second, or where the stamp is at the end of the scan, it looks like such."""
    stamp_ns = STAMP // SECOND * SECOND + later_ms * MS
    for instants in (stamp_ns + COLUMNS, stamp_ns - D + COLUMNS):
        rest = instants % SECOND // (1000 if nsec == 'timeUsec' else 1)
        fields = (sec, 'uint32', instants // SECOND), (nsec, 'uint32', rest)
        text = refusal_of(*fields, stamp_ns=stamp_ns)
        assert f"'{nsec}' (uint32) counts on from the whole seconds in another field" in text
    assert find(
        *fields,
        stamp_ns=stamp_ns,
        config=DeskewConfig(time_field=nsec, time_reference='start', scan_duration_ns=SECOND),
    )


def test_the_end_of_a_scan_is_not_reckoned_from_a_duration_that_it_does_not_have():
    config = DeskewConfig(time_reference='end')
    assert 'must be the time that a scan takes, it is 0.1 s' in refusal_of(('t', 'uint32', COLUMNS // 2), config=config)
    config = DeskewConfig(time_reference='end', scan_duration_ns=50 * MS)
    assert find(('t', 'uint32', COLUMNS // 2), config=config) == TimeField('t', 1, False, -50 * MS, -50 * MS)


def test_raw_values_of_instants():
    relative, absolute = TimeField('t', 1000, False, -D, -D), TimeField('t', SECOND, True, 0, 0)
    assert relative.raw_at(STAMP, STAMP - D) == 0.0
    assert relative.raw_at(STAMP, STAMP) == 100_000.0
    assert absolute.raw_at(STAMP, STAMP) == STAMP / SECOND
