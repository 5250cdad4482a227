# SPDX-License-Identifier: Apache-2.0
"""Differences that clocks are known for are named with the remedy, whichever stream is wrong; drift by arrivals."""

import dataclasses

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from support.runtime import FRONT, IMU, LIDAR, START_NS, cloud, image, imu, make

from robocache_core.config import PipelineConfig
from robocache_core.units import MS, SECOND
from robocache_ros.clock_differences import Suspect, against_arrival, cause, explained, remedy
from robocache_ros.delays import RecentDelays

HOUR = 3600 * SECOND
NOW = START_NS
TAI, GPS = 'TAI, the time of PTP, is ahead of UTC', '18 s is what GPS time is ahead of UTC'


@pytest.mark.parametrize(
    ('ahead_ns', 'named', 'offset'),
    [
        (37 * SECOND - 40 * MS, TAI, '-37.0'),
        (-37 * SECOND - 40 * MS, TAI, '37.0'),
        (18 * SECOND - 300 * MS, GPS, '-18.0'),
        (19 * SECOND, 'ahead of GPS time', '-19.0'),
        (HOUR - 5 * MS, '1 h is what local times are apart', '-3600.0'),
        (-2 * HOUR - SECOND, '2 h is what local times are apart', '7200.0'),
        (5 * HOUR + HOUR // 2, '5.5 h', '-19800.0'),
        (18 * SECOND - 315_964_800 * SECOND, 'begin of GPS time', '315964782.0'),
        (12 * SECOND - NOW, '12.0 s is the time since its device', f'{(NOW - 12 * SECOND) / SECOND:.3f}'),
        (0, '', ''),
        (5 * SECOND, '', ''),
        (-36 * SECOND, '', ''),
        (27 * HOUR, '', ''),
        (1_000_000 * SECOND, '', ''),
    ],
)
def test_a_difference_is_named_with_its_remedy(ahead_ns, named, offset):
    stamp_ns = NOW + ahead_ns
    assert named in cause(ahead_ns, stamp_ns)
    assert bool(cause(ahead_ns, stamp_ns)) == bool(named)
    found = remedy('lidar', ahead_ns, stamp_ns)
    assert found.endswith(f'lidar.stamp_offset: {offset}') if offset else found == ''
    assert bool(explained({'lidar': Suspect(ahead_ns, stamp_ns)})) == bool(named)


@pytest.mark.parametrize(
    ('delays', 'wrong', 'base'),
    [
        ({'a': 5 * MS, 'b': 300 * MS}, {}, 0),
        ({'a': 5 * MS, 'b': -37 * SECOND}, {'b': 37 * SECOND}, 0),
        ({'a': 5 * MS, 'b': 5 * SECOND}, {'b': -5 * SECOND}, 0),
        ({'a': -HOUR, 'b': 20 * MS - HOUR, 'c': -HOUR - 37 * SECOND}, {'c': 37 * SECOND}, HOUR),
        ({}, {}, 0),
    ],
)  # fmt: skip
def test_streams_that_do_not_fit_their_arrival(delays, wrong, base):
    assert against_arrival(delays) == (wrong, base)


def test_the_delay_is_the_least_of_a_second_and_a_stray_stamp_does_not_turn_it():
    delays = RecentDelays()
    assert delays.least_ns is None
    for step in range(300):
        noise_ns = (7 + step * 37 % 90) * MS
        stray_ns = 37 * SECOND * (step == 150)
        delays.take(NOW + step * 100 * MS + noise_ns, NOW + step * 100 * MS + stray_ns)
    assert 7 * MS <= delays.least_ns <= 25 * MS
    delays.take(NOW - HOUR, NOW - 2 * HOUR)  # /clock was set back
    assert delays.least_ns == HOUR


@pytest.mark.parametrize('ppm', [500, -500, 0])
def test_drift_is_that_of_the_clock(ppm):
    delays = RecentDelays()
    for step in range(1200):
        arrived_ns = NOW + step * 50 * MS
        clock_ns = arrived_ns + arrived_ns * ppm // 10**6
        delays.take(arrived_ns + (1 + step * 13 % 7) * MS, clock_ns)
    assert delays.drift().ppm == pytest.approx(ppm, abs=30)
    assert delays.drift().is_clear == bool(ppm)


STREAMS = {'imu': (10, imu), 'front': (50, image), 'lidar': (100, cloud)}


def statuses(ahead_ms, names=tuple(STREAMS), **changes):
    """What a node reports after 3 s of streams whose stamps are ahead by so many ms."""
    groups = (('lidars', LIDAR), ('cameras', FRONT), ('imus', IMU))
    streams = {
        group: (dataclasses.replace(stream, **changes.get(stream.name, {})),)
        for group, stream in groups
        if stream.name in names
    }
    bench = make(PipelineConfig(**streams))
    for ms in range(0, 3000, 10):
        if ms == 2000:
            bench.report()
        bench.clock.advance(0.01)
        for name in names:
            period, make_message = STREAMS[name]
            if ms % period == 0:
                bench.put(name, make_message(ms + ahead_ms.get(name, 0)))
        bench.work()
    return bench.report(), bench


def values_of(status):
    return {pair.key: pair.value for pair in status.values}


@pytest.mark.parametrize('names', [tuple(STREAMS), ('lidar', 'imu')])
@pytest.mark.parametrize('wrong', ['lidar', 'imu'])
def test_arrivals_show_which_stream_is_wrong_the_trigger_too(wrong, names):
    found, _ = statuses({wrong: 37_000}, names)
    for name in names:
        status = found[f'input {name}']
        said = f'(37 s is what {TAI}: set {wrong}.stamp_offset: -37.0)'
        assert (said in status.message) == (name == wrong), status.message
    remedies = found['sync'].message.count('stamp_offset')
    assert f'set {wrong}.stamp_offset: -37.0' in found['sync'].message
    assert remedies == found['sync'].message.count(f'{wrong}.stamp_offset: -37.0')


@pytest.mark.parametrize('wrong', ['lidar', 'imu'])
def test_with_the_offset_that_is_named_all_is_well(wrong):
    found, bench = statuses({wrong: 37_000}, **{wrong: {'stamp_offset_ns': -37 * SECOND}})
    assert found['sync'].message == 'aligned'
    assert found[f'input {wrong}'].level == DiagnosticStatus.OK
    assert values_of(found[f'input {wrong}'])['stamp_offset_s'] == '-37.000'
    assert float(values_of(found[f'input {wrong}'])['least_delay_ms']) == pytest.approx(10, abs=10)
    assert {frame.stamp_offset_ns[wrong] for frame in bench.frames} == {-37 * SECOND}
    assert len(bench.frames) > 25


@pytest.mark.parametrize('names', [tuple(STREAMS), ('lidar', 'imu')])
def test_the_offset_that_is_named_replaces_one_that_is_wrong(names):
    found, _ = statuses({'imu': 3_600_000}, names, imu={'stamp_offset_ns': HOUR})
    for status in ('input imu', 'sync'):
        assert '(2 h is what local times are apart: set imu.stamp_offset: -3600.0)' in found[status].message


def test_all_streams_may_be_an_hour_ahead():
    found, bench = statuses(dict.fromkeys(STREAMS, 3_600_000))
    assert found['sync'].message == 'aligned'
    assert len(bench.frames) > 25
    for name in STREAMS:
        assert found[f'input {name}'].level == DiagnosticStatus.WARN
        assert f'set {name}.stamp_offset: -3600.0' in found[f'input {name}'].message


def test_a_recording_that_is_played_is_no_wrong_clock():
    found, _ = statuses(dict.fromkeys(STREAMS, -110_000_000))
    assert {found[f'input {name}'].level for name in STREAMS} == {DiagnosticStatus.OK}


def test_a_stream_by_arrival_needs_no_stamps():
    found, bench = statuses(
        {'imu': 12_000 - START_NS // MS, 'front': -START_NS // MS}, imu={'stamp': 'arrival'}, front={'stamp': 'arrival'}
    )
    assert found['sync'].message == 'aligned'
    assert values_of(found['input imu'])['stamp'] == 'arrival'
    assert {frame.stamped_by_arrival for frame in bench.frames} == {('front', 'imu')}
    assert len(bench.frames) > 25


def test_a_clock_since_boot_is_named():
    found, _ = statuses({'imu': 12_000 - START_NS // MS})
    message = found['input imu'].message
    assert 's is the time since its device' in message
    assert 'set imu.stamp: arrival' in message
