# SPDX-License-Identifier: Apache-2.0
"""Diagnostics name the stream that is at fault: its drops, its clock or its late start."""

import dataclasses
import re
import struct

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from support.runtime import FRONT, IMU, LIDAR, START_NS, assert_adds_up, cloud, image, imu, make

from robocache_core.config import PipelineConfig, SyncConfig
from robocache_core.streams.base import QueueConfig
from robocache_core.units import MS, SECOND

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
STREAMS = {'imu': (10, imu), 'front': (50, image), 'lidar': (100, cloud)}

TAI = '37 s is what TAI, the time of PTP, is ahead of UTC'


def robot(names=tuple(STREAMS), *, tolerance_ms=100, required=tuple(STREAMS), **sync):
    front = dataclasses.replace(FRONT, tolerance_ns=tolerance_ms * MS)
    streams = {
        group: (dataclasses.replace(stream, required=stream.name in required),)
        for group, stream in (('lidars', LIDAR), ('cameras', front), ('imus', IMU))
        if stream.name in names
    }
    return make(PipelineConfig(**streams, sync=SyncConfig(**sync)))


def drive(bench, offsets, first, last, streams=STREAMS):
    """The streams from ``first`` to ``last``, ms; the stamps of each are ahead by its offsets in turn."""
    for ms in range(first, last, 10):
        bench.clock.advance(0.01)
        for name, (period, make_message) in streams.items():
            if ms % period == 0:
                turn = offsets.get(name, (0,))
                bench.put(name, make_message(50_000 + ms + turn[ms // period % len(turn)]))
        bench.work()


def sync_of(bench):
    status = bench.report()['sync']
    return status.level, status.message, {pair.key: pair.value for pair in status.values}


@pytest.mark.parametrize('sync', [{}, {'rate_hz': 10.0}])
@pytest.mark.parametrize(
    ('name', 'offset', 'said'),
    [
        ('imu', 5000, 'ahead of those of front, lidar: its clock is wrong'),
        ('front', 5000, 'ahead of those of imu, lidar: its clock is wrong'),
        ('lidar', 5000, 'ahead of those of front, imu: its clock is wrong'),
        ('lidar', -37_000, 'behind those of front, imu: its clock is wrong, or it comes late'),
        ('imu', -5000, 'behind those of front, lidar: its clock is wrong, or it comes late'),
    ],
)
def test_the_stream_whose_clock_is_wrong_is_named_with_its_number(name, offset, said, sync):
    bench = robot(**sync)
    drive(bench, {name: (offset,)}, 0, 2500)
    bench.report()
    drive(bench, {name: (offset,)}, 2500, 3500)
    level, _, values = sync_of(bench)
    assert level == ERROR
    assert f'(the stamps of {name} are ' in values['blocker'].replace('; ', ' (')
    assert said in values['blocker']
    assert float(values[f'ahead_ms.{name}']) == pytest.approx(offset, abs=150)
    assert [key for key in values if key.startswith('ahead_ms')] == [f'ahead_ms.{name}']
    assert_adds_up(bench.runtime)


def test_a_clock_that_is_ahead_costs_nothing_and_is_named():
    bench = robot()
    drive(bench, {'imu': (300,)}, 0, 2000)
    bench.report()
    bench.frames.clear()
    drive(bench, {'imu': (300,)}, 2000, 3010)
    level, message, values = sync_of(bench)
    assert (level, values['given_up.front']) == (WARN, '0')
    assert message == 'the stamps of imu are 300 ms ahead of those of front, lidar: its clock is wrong'
    assert len(bench.frames) == 11
    assert all(frame.age_ns['front'] == 0 for frame in bench.frames)


@pytest.mark.parametrize('sync', [{}, {'rate_hz': 10.0}])
@pytest.mark.parametrize(
    ('names', 'ahead', 'offset', 'apart'),
    [
        (('lidar', 'imu'), 'lidar', 300, '300 ms'),
        (('lidar', 'imu'), 'imu', 300, '300 ms'),
        (('lidar', 'imu'), 'imu', 37_000, '37.0 s'),
        (('lidar', 'front'), 'lidar', 300, '300 ms'),
        (('lidar', 'front'), 'front', 5000, '5.0 s'),
        (('lidar', 'front'), 'front', 150, ''),
    ],
)
def test_of_two_clocks_that_differ_both_are_named_with_the_number_though_frames_come(names, ahead, offset, apart, sync):
    streams = {name: STREAMS[name] for name in names}
    bench = robot(streams, required=('lidar',), **sync)
    drive(bench, {ahead: (offset,)}, 0, 2500, streams)
    bench.report()
    bench.frames.clear()
    drive(bench, {ahead: (offset,)}, 2500, 3500, streams)
    level, message, _ = sync_of(bench)
    (behind,) = set(names) - {ahead}
    said = (
        f'the stamps of {behind} are {apart} behind those of {ahead}: one clock is wrong, or {behind} comes late '
        '(sync.max_wait is 200 ms)'
    )
    if offset == 37_000:
        said += f' ({TAI}: set lidar.stamp_offset: 37.0, or set imu.stamp_offset: -37.0)'
    assert len(bench.frames) == 10
    assert level == (WARN if apart else OK)
    assert message.split('; ')[-1] == (said if apart else 'aligned')


def test_what_was_not_waited_for_is_a_warning_of_its_period():
    bench = robot()
    drive(bench, {}, 0, 1000)
    assert sync_of(bench)[0] == WARN  # the first window cannot be filled
    drive(bench, {'front': (-400,)}, 1000, 2000)
    _, message, values = sync_of(bench)
    assert 'targets that did not wait: ' in message
    assert 'front' in message
    assert int(values['given_up.front']) > 5


SLOW = (
    'imu comes every 400 ms, and sync.max_wait is 200 ms: targets take what has come of it and do not wait for its '
    'next message; to wait, set sync.max_wait above 400 ms'
)


def test_a_stream_that_is_too_slow_to_be_waited_for_is_said_once_and_is_no_warning_of_each_period():
    slow = dataclasses.replace(IMU, window_size=1, interpolation='previous', tolerance_ns=SECOND)
    bench = make(PipelineConfig(lidars=(LIDAR,), imus=(slow,)))
    streams = {'lidar': (100, cloud), 'imu': (400, imu)}
    for first in range(0, 4000, 1000):
        drive(bench, {}, first, first + 1000, streams)
        bench.runtime.reporter.tick()
    drive(bench, {}, 4000, 5000, streams)
    level, message, values = sync_of(bench)
    assert (level, message) == (OK, 'aligned')
    assert int(values['given_up.imu']) > 10
    assert values['slow.imu'] == SLOW
    assert [line for line in bench.log.of('warning') if 'imu comes' in line] == [SLOW]
    drive(bench, {}, 5000, 7500, {'lidar': (100, cloud)})  # it has died
    bench.report()
    drive(bench, {}, 7500, 8500, {'lidar': (100, cloud)})
    level, _, values = sync_of(bench)
    assert level == ERROR
    assert 'slow.imu' not in values


@pytest.mark.parametrize(('name', 'topic'), [('lidar', '/lidar'), ('front', '/front'), ('imu', '/imu')])
def test_two_clocks_on_one_topic_are_named_with_the_jump(name, topic):
    bench = robot()
    pairs = {name: (0, 0, 37_000, 37_000)}  # a second one believes the first: the epoch starts again and again
    drive(bench, pairs, 0, 2000)
    bench.report()
    drive(bench, pairs, 2000, 4000)
    _, message, values = sync_of(bench)
    assert re.search(f'the stamps of {name} on {topic} jump by 3(6.9|7.0) s to and fro', message)
    assert message.endswith(' times): two publishers, or two clocks?')
    assert int(values[f'time_jumps.{name}']) >= 8
    assert_adds_up(bench.runtime)


def test_two_publishers_of_the_clock_are_named_with_the_jump():
    bench = robot()
    drive(bench, {}, 0, 1000)
    bench.report()
    for lap in range(3):
        bench.runtime.pipeline.clock_jumped(START_NS - 50 * SECOND)
        drive(bench, {}, 1000 + 100 * lap, 1100 + 100 * lap)
    level, message, values = sync_of(bench)
    assert level == ERROR
    assert message == 'the ROS clock goes back by 101.0 s again and again (3 times): two publishers of /clock?'
    assert values['time_jumps./clock'] == '3'
    assert values['blocker'] == message


def short(make_message):
    """The maker of such messages with too few bytes."""

    def make(ms):
        message = make_message(ms)
        message.data = bytes(4)
        return message

    return make


def not_a_number(ms):
    message = cloud(ms)
    message.data = struct.pack('<3f', *[float('nan')] * 3)
    return message


def not_finite(ms):
    message = imu(ms)
    message.angular_velocity.x = float('nan')
    return message


@pytest.mark.parametrize('sync', [{}, {'rate_hz': 10.0}])
@pytest.mark.parametrize('others', [('front', 'lidar'), ('lidar', 'imu'), ('front', 'lidar', 'imu')])
@pytest.mark.parametrize('good_ms', [0, 500])
@pytest.mark.parametrize(
    ('name', 'broken', 'reason'),
    [
        ('front', short(image), 'data_too_short'),
        ('lidar', short(cloud), 'data_too_short'),
        ('imu', not_finite, 'non_finite'),
    ],
)
def test_what_is_dropped_for_its_content_is_named_before_any_clock(name, broken, reason, good_ms, others, sync):
    streams = {each: STREAMS[each] for each in STREAMS if each in (name, *others)}
    bench = robot(streams, **sync)
    drive(bench, {}, 0, good_ms, streams)
    bench.report()
    streams[name] = STREAMS[name][0], broken
    for first in range(good_ms, good_ms + 2500, 500):
        bench.frames.clear()
        drive(bench, {name: (-1900,)}, first, first + 500, streams)
        blocker = sync_of(bench)[2]['blocker']
        assert bench.frames or f'{name}: dropped {500 // STREAMS[name][0]} {reason}' in blocker
        assert not re.search('clock|behind|ahead', blocker)
    assert not bench.frames
    assert_adds_up(bench.runtime)


def test_another_publisher_is_a_warning_of_the_output():
    bench = robot()
    drive(bench, {}, 0, 1000)
    bench.twin = '2 nodes are called /preprocess'
    output = bench.report()['output']
    assert (output.level, output.message) == (WARN, bench.twin)


def test_a_twin_is_logged_once():
    bench = robot()
    for twin in ('', 'two nodes', 'two nodes', '', 'two nodes'):
        bench.twin = twin
        bench.runtime.reporter.tick()
        bench.work()
        bench.clock.advance(1.0)
    assert [line for line in bench.log.of('warning') if 'no frame' not in line] == ['two nodes'] * 2


@pytest.mark.parametrize(
    ('names', 'offsets', 'said'),
    [
        (
            ('lidar', 'imu'),
            {'lidar': (-37_000,)},
            'the stamps of lidar are 37.0 s behind those of imu: one clock is wrong, or lidar comes late '
            f'(sync.max_wait is 200 ms) ({TAI}: set lidar.stamp_offset: 37.0, or set imu.stamp_offset: -37.0)',
        ),
        (
            ('lidar', 'front'),
            {'lidar': (-37_000,)},
            'the stamps of lidar are 37.0 s behind those of front: one clock is wrong, or lidar comes late '
            f'(sync.max_wait is 200 ms) ({TAI}: set lidar.stamp_offset: 37.0, or set front.stamp_offset: -37.0)',
        ),
        (
            ('lidar', 'front'),
            {'front': (-450,)},
            'the stamps of front are 450 ms behind those of lidar: one clock is wrong, or front comes late '
            '(sync.max_wait is 200 ms)',
        ),
        (
            ('lidar', 'front'),
            {'front': (-250,)},
            'the stamps of front are 250 ms behind those of lidar: one clock is wrong, or front comes late '
            '(sync.max_wait is 200 ms)',
        ),
        (
            ('lidar', 'front', 'imu'),
            {'front': (-250,)},
            'the stamps of front are 250 ms behind those of imu, lidar: its clock is wrong, or it comes late',
        ),
    ],
)
def test_a_stream_that_is_not_waited_for_is_named_and_no_other(names, offsets, said):
    streams = {name: STREAMS[name] for name in names}
    bench = robot(streams, tolerance_ms=20)
    drive(bench, offsets, 0, 2500, streams)
    bench.report()
    drive(bench, offsets, 2500, 3500, streams)
    assert re.fullmatch(rf'targets dropped: 10 missing:(front|imu) \({re.escape(said)}\)', sync_of(bench)[1])


@pytest.mark.parametrize('sync', [{}, {'rate_hz': 10.0}])
@pytest.mark.parametrize(
    ('max_age', 'limited', 'num_steps', 'costs_frames'),
    [
        (0.3, ('front',), 1, False),
        (0.3, ('lidar', 'front'), 1, True),
        (1.0, ('lidar', 'front'), 0, True),
        (1.0, ('lidar', 'front'), 1, False),
    ],
)
def test_a_worker_that_does_not_keep_up_is_named_and_no_clock(max_age, limited, num_steps, costs_frames, sync):
    """It takes a tenth to two thirds of what comes; what it drops are gaps in the stamps."""
    queue = QueueConfig(max_age_ns=round(max_age * SECOND))
    streams = [dataclasses.replace(each, queue=queue) if each.name in limited else each for each in (LIDAR, FRONT, IMU)]
    groups = dict(zip(('lidars', 'cameras', 'imus'), ((each,) for each in streams), strict=True))
    bench, said = make(PipelineConfig(**groups, sync=SyncConfig(**sync))), []
    for ms in range(0, 6000, 10):
        bench.clock.advance(0.01)
        for name, (period, make_message) in STREAMS.items():
            if ms % period == 0:
                bench.put(name, make_message(50_000 + ms))
        for _ in range(num_steps if ms % 100 else 1):
            bench.runtime.worker.step(0.0)
        if ms % 1000 == 990:
            said.append(sync_of(bench)[1])
    assert not [message for message in said if 'clock' in message]
    overload = r'(\w+, )*\w+: dropped \d+ inbox_\w+(, \d+ inbox_\w+)? \(the worker does not keep up: .*tuning.md\)'
    found = [message for message in said if re.search(overload, message)]
    assert bool(found) == costs_frames
    assert all(message.count('the worker does not keep up') == 1 for message in found)


def test_two_slow_streams_out_of_step_have_no_wrong_clock():
    bench = robot(('lidar', 'front'), tolerance_ms=20)
    for ms in range(0, 6000, 1000):
        for name, message in (('lidar', cloud(ms)), ('front', image(ms + 500))):
            bench.put(name, message)
            bench.clock.advance(0.5)
            bench.work()
            assert 'clock' not in sync_of(bench)[1]


@pytest.mark.parametrize(
    ('name', 'begin_ms', 'said'),
    [
        ('imu', 1200, 'its first message is 20 ms after the window of the last target without it begins'),
        ('imu', 1260, 'its first message is 80 ms after the window of the last target without it begins'),
        ('front', 1250, 'its first message is 50 ms after the last target without it'),
    ],
)
def test_a_stream_that_begins_after_the_others_is_named_with_how_late_it_is(name, begin_ms, said):
    bench = robot(tolerance_ms=20)
    drive(bench, {}, 0, begin_ms, {each: row for each, row in STREAMS.items() if each != name})
    assert f'{name}: no publisher' in sync_of(bench)[1]
    drive(bench, {}, begin_ms, begin_ms + 10)
    assert not bench.frames
    assert f'({name}: {said})' in sync_of(bench)[1]
    drive(bench, {}, begin_ms + 10, begin_ms + 210)
    assert bench.frames


def test_a_window_that_is_not_full_yet_is_named_with_what_it_lacks():
    bench = robot(('lidar', 'imu'))
    drive(bench, {}, 0, 90, {'lidar': (100, cloud)})
    drive(bench, {}, 90, 110, {'lidar': (100, cloud), 'imu': (10, imu)})
    said = 'imu: its first message is 10 ms after the window of the last target without it begins'
    assert sync_of(bench)[1].endswith(f'({said})')


def test_a_slow_stream_that_was_there_before_the_target_that_lacks_it_began_in_time():
    slow = dataclasses.replace(IMU, window_size=2, window_period_ns=SECOND, buffer_ns=3 * SECOND)
    bench = make(PipelineConfig(lidars=(LIDAR,), imus=(slow,)))
    drive(bench, {}, 0, 810, {'lidar': (100, cloud), 'imu': (400, imu)})
    assert '(imu: nothing within its tolerance of 100 ms' in sync_of(bench)[1]


def test_a_target_that_waits_is_no_fault_of_the_stream_that_it_waits_for():
    streams = {'lidar': (100, cloud), 'front': (100, image), 'imu': (10, imu)}
    bench = robot(streams)
    undecodable = {**streams, 'lidar': (100, not_a_number)}
    drive(bench, {'imu': (-60,)}, 0, 1000, undecodable)
    bench.report()
    drive(bench, {'imu': (-60,)}, 1000, 2010, undecodable)
    assert sync_of(bench)[1] == 'targets dropped: 10 all_non_finite:lidar'
