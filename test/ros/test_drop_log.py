# SPDX-License-Identifier: Apache-2.0
"""Drops in the log: a line a second for each stream and reason, and none is forgotten."""

import itertools
import re
import threading

import pytest
from support.runtime import Lines, SetClock

from robocache_core.units import SECOND
from robocache_ros.drop_log import DAMAGED, DropLog
from robocache_ros.event_log import EventLog


def test_a_line_a_second_for_each_stream_and_reason():
    lines, clock = Lines(), SetClock()
    log = DropLog(EventLog(lines, clock))
    for _ in range(10):
        log.explain('lidar', 'empty_cloud', 'no points')
        log.explain('lidar', 'zero_stamp', 'no stamp')
        log.explain('rear', 'empty_cloud', 'no points')
        clock.advance(0.09)
    assert lines.of('warning') == [
        'lidar: message dropped (empty_cloud): no points',
        'lidar: message dropped (zero_stamp): no stamp',
        'rear: message dropped (empty_cloud): no points',
    ]
    clock.advance(0.1)
    log.explain('lidar', 'empty_cloud', 'again')
    assert lines.of('warning')[3:] == ['lidar: message dropped (empty_cloud): again (and 9 more since the last line)']
    clock.advance(1.0)
    log.explain('lidar', 'empty_cloud', 'once')
    assert lines.of('warning')[4:] == ['lidar: message dropped (empty_cloud): once']


@pytest.mark.parametrize('period_s', [0.1, 1.0])
def test_what_goes_on_unchanged_is_logged_ever_less_often_and_counted(period_s):
    lines, clock = Lines(), SetClock()
    log, begin_ns = DropLog(EventLog(lines, clock)), clock.now_ns
    logged_s, count = [], 0

    def drop(seconds, text):
        nonlocal count
        for _ in range(round(seconds / period_s)):
            before = len(lines.lines)
            log.explain('lidar', 'no_transform', text)
            count += 1
            logged_s.extend([(clock.now_ns - begin_ns) / SECOND] * (len(lines.lines) - before))
            clock.advance(period_s)

    drop(200, 'lidar in base_link')
    assert logged_s == [0, 1, 3, 7, 15, 31, 63, 123, 183]
    drop(10, 'lidar in odom')  # another text counts at once
    assert logged_s[9:] == [200, 201, 203, 207]
    clock.advance(60)  # as does the same after a pause
    drop(8, 'lidar in odom')
    assert logged_s[13:] == [270, 271, 273, 277]
    left_out = sum(int(found[1]) for line in lines.of('warning') if (found := re.search(r'and (\d+) more', line)))
    unsaid = round(1 / period_s) - 1  # after the last line
    assert len(logged_s) + left_out == count - unsaid
    assert log.explanations['lidar', 'no_transform'].count == count


def test_one_line_a_second_where_threads_log_at_once():
    """The threads that read topics and the worker share a log: here one comes while another compares the times."""
    lines, differences = Lines(), itertools.count()
    other = threading.Thread(target=lambda: log.explain('lidar', 'internal_error', 'second'))

    class Time(int):
        def __sub__(self, earlier):
            if next(differences) == 1:  # that to the last line, which was read
                other.start()
                other.join(0.2)
            return int(self) - earlier

    clock = SetClock()
    clock.steady_ns = lambda: Time(0)
    log = DropLog(EventLog(lines, clock))
    log.explain('lidar', 'internal_error', 'first')
    other.join()
    assert lines.of('warning') == ['lidar: message dropped (internal_error): first']
    assert log.explanations['lidar', 'internal_error'].count == 2


def test_the_last_explanation_is_kept_with_the_count():
    log = DropLog(EventLog(Lines(), SetClock()))
    for text in ('first', 'second', 'third'):
        log.explain('lidar', 'bad_layout', text)
    log.explain('front', 'decode_failed', 'cut short')
    kept = {key: (each.message, each.count) for key, each in log.explanations.items()}
    assert kept == {('lidar', 'bad_layout'): ('third', 3), ('front', 'decode_failed'): ('cut short', 1)}


def test_damage_that_is_kept_is_no_drop():
    lines, clock = Lines(), SetClock()
    log = DropLog(EventLog(lines, clock))
    log.explain('front', 'decode_failed', 'cut short')
    for text in ('a code', 'a block'):
        log.explain_damage('front', text)
    clock.advance(1.0)
    log.explain_damage('front', 'its end')
    assert lines.of('warning') == [
        'front: message dropped (decode_failed): cut short',
        'front: message used, invalid in the frame (decode_failed): a code',
        'front: message used, invalid in the frame (decode_failed): its end (and 1 more since the last line)',
    ]
    kept = {key: (each.message, each.count) for key, each in log.explanations.items()}
    assert kept == {('front', 'decode_failed'): ('cut short', 1), ('front', DAMAGED): ('its end', 3)}


def test_an_exception_is_logged_with_its_traceback_and_reported():
    lines, clock, traces = Lines(), SetClock(), []
    log = DropLog(EventLog(lines, clock), traces.append)
    for number in range(3):
        try:
            [][number]
        except IndexError:
            log.fail('lidar', 'lidar: message dropped (internal_error)')
    (line,) = lines.of('error')
    assert line.startswith('lidar: message dropped (internal_error):\nTraceback')
    assert 'IndexError: list index out of range' in line
    assert len(traces) == 3
    assert log.explanations['lidar', 'internal_error'].message == 'IndexError: list index out of range'
    assert log.explanations['lidar', 'internal_error'].count == 3
