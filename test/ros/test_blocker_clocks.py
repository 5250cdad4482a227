# SPDX-License-Identifier: Apache-2.0
"""Clocks that differ, jump or are two: diagnostics name the stream that is at fault, with the number that shows it."""

import re

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from support.runtime import FRONT, IMU, LIDAR, START_NS, assert_adds_up, cloud, image, imu, make

from robocache_core.config import PipelineConfig, SyncConfig
from robocache_core.units import SECOND

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
STREAMS = {'imu': (10, imu), 'front': (50, image), 'lidar': (100, cloud)}


def robot(**sync):
    return make(PipelineConfig(lidars=(LIDAR,), cameras=(FRONT,), imus=(IMU,), sync=SyncConfig(**sync)))


def drive(bench, offsets, first, last):
    """All streams from ``first`` to ``last``, ms; the stamps of a stream are ahead by each of its offsets in turn."""
    for ms in range(first, last, 10):
        bench.clock.advance(0.01)
        for name, (period, make_message) in STREAMS.items():
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
    assert message == 'the stamps of imu are 0.3 s ahead of those of front, lidar: its clock is wrong'
    assert len(bench.frames) == 11
    assert all(frame.age_ns['front'] == 0 for frame in bench.frames)


def test_what_was_not_waited_for_is_a_warning_of_its_period():
    bench = robot()
    drive(bench, {}, 0, 1000)
    assert sync_of(bench)[0] == WARN  # the first window cannot be filled
    drive(bench, {'front': (-400,)}, 1000, 2000)
    _, message, values = sync_of(bench)
    assert 'targets that did not wait: ' in message
    assert 'front' in message
    assert int(values['given_up.front']) > 5


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


def test_what_is_dropped_for_its_content_is_named_before_any_clock():
    def broken(ms):
        message = image(ms - 5000)
        message.data = b''
        return message

    bench = robot()
    drive(bench, {}, 0, 500)
    bench.report()
    for ms in range(500, 1500, 50):
        bench.clock.advance(0.05)
        bench.put('front', broken(50_000 + ms))
        bench.put('imu', *(imu(50_000 + ms + each) for each in range(0, 50, 10)))
        bench.put('lidar', *([cloud(50_000 + ms)] if ms % 100 == 0 else []))
        bench.work()
    bench.report()
    for ms in range(1500, 2500, 50):
        bench.clock.advance(0.05)
        bench.put('front', broken(50_000 + ms))
        bench.put('lidar', *([cloud(50_000 + ms)] if ms % 100 == 0 else []))
        bench.work()
    assert 'front: dropped 20 data_too_short' in sync_of(bench)[1]


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


def test_two_streams_of_which_nobody_can_say_who_is_wrong():
    bench = make(PipelineConfig(lidars=(LIDAR,), imus=(IMU,)))
    for ms in range(0, 3000, 100):
        bench.clock.advance(0.1)
        bench.put('lidar', cloud(50_000 + ms - 37_000))
        bench.put('imu', imu(50_000 + ms))
        bench.work()
    assert 'the stamps of lidar are 37.0 s behind those of imu: one clock is wrong' in sync_of(bench)[1]
