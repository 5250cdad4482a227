# SPDX-License-Identifier: Apache-2.0
"""The log: every event is documented, one line, readable as text and as JSON, and paced."""

import json
import logging
from pathlib import Path

import pytest
import rclpy.logging
from support.runtime import FRONT, LIDAR, Lines, SetClock, cloud, image, make

from robocache_core.config import PipelineConfig
from robocache_ros.drop_log import DropLog
from robocache_ros.event_log import EventLog, Tally
from robocache_ros.events import Event, command

ROOT = Path(__file__).parents[2]
HOSTILE = 'a"}\n{"event": "active"}\r\u2028\u202e\x1b[2J\x00\ud800 %s {0} ' + '\\' * 50
SENT = HOSTILE.replace('\ud800', '')  # a message can have it
LIMITED = {'message_dropped', 'message_damaged', 'exception', 'incompatible_qos', 'frames_untraced'}


def fields(event: Event, value: object = 'x') -> dict[str, object]:
    return dict.fromkeys((name for name in event.fields if name != 'left_out'), value)


def written(event: Event, style: str, **given: object) -> str:
    lines = Lines()
    EventLog(lines, SetClock(), lambda: 7, style).emit(event, **given)
    ((level, line),) = lines.lines
    assert level == event.level
    return line


@pytest.mark.parametrize('event', Event)
def test_a_line_of_json_has_what_every_line_has_and_the_fields_of_the_event(event):
    found = json.loads(written(event, 'json', **fields(event)))
    assert found.keys() == {'event', 'level', 'stamp_ns', 'text', *event.fields}
    assert (found['event'], found['level'], found['stamp_ns']) == (event.value, event.level, 7)
    assert found['text'] == written(event, 'text', **fields(event)).partition('\n')[0]


@pytest.mark.parametrize('style', ['text', 'json'])
@pytest.mark.parametrize('event', Event)
def test_what_a_sender_wrote_breaks_no_line(event, style):
    given = fields(event, HOSTILE) | ({'trace': 'Traceback\nError'} if 'trace' in event.fields else {})
    line = written(event, style, **given)
    several = style == 'text' and 'trace' in event.fields
    assert all(part.isprintable() for part in (line.split('\n') if several else [line]))
    assert line.count('\n') == (2 if several else 0)
    if style == 'json':
        assert json.loads(line)['event'] == event.value


@pytest.mark.parametrize('style', ['text', 'json'])
def test_a_field_of_any_length_is_cut(style):
    assert len(written(Event.NO_FRAME, style, blocker='\x00' * 10**6)) < 100_000


@pytest.mark.parametrize('given', [{}, {'detail': 'x', 'stream': 'lidar'}])
def test_other_fields_than_the_event_has_are_refused(given):
    with pytest.raises(TypeError, match='twin has the fields'):
        EventLog(Lines(), SetClock()).emit(Event.TWIN, **given)


def test_names_are_stable_and_those_that_can_flood_are_limited():
    assert {event.value for event in Event if event.is_limited} == LIMITED
    assert all(event.value == event.name.lower() for event in Event)


def test_a_line_a_second_by_stream_and_reason_with_the_number_that_was_left_out():
    lines, clock = Lines(), SetClock()
    log = EventLog(lines, clock, style='json')
    drops = DropLog(log)
    for _ in range(10):
        drops.explain('lidar', 'empty_cloud', 'no points')
        drops.explain('rear', 'empty_cloud', 'no points')
        drops.explain('lidar', 'zero_stamp', 'no stamp')
        clock.advance(0.1)
    drops.explain('lidar', 'empty_cloud', 'again')
    found = [json.loads(line) for line in lines.of('warning')]
    assert [(each['stream'], each['reason'], each['left_out']) for each in found] == [
        ('lidar', 'empty_cloud', 0),
        ('rear', 'empty_cloud', 0),
        ('lidar', 'zero_stamp', 0),
        ('lidar', 'empty_cloud', 9),
    ]


def test_topics_are_counted_apart_and_other_events_are_not_limited():
    lines = Lines()
    log = EventLog(lines, SetClock())
    for _ in range(3):
        log.emit(Event.INCOMPATIBLE_QOS, topic='/a', detail='/a does not fit')
        log.emit(Event.INCOMPATIBLE_QOS, topic='/b', detail='/b does not fit')
        log.emit(Event.ACTIVE)
    assert lines.of('warning') == ['/a does not fit', '/b does not fit']
    assert lines.of('info') == ['active'] * 3


@pytest.mark.parametrize(
    ('found', 'said'), [(None, 'explain'), ('/opt/ros/jazzy/bin/ros2', 'ros2 run robocache_ros explain')]
)
def test_a_tool_is_named_by_the_command_that_there_is(monkeypatch, found, said):
    line = written(Event.RECORD_WRITTEN, 'text', cause='request', path='/log/a.jsonl')
    assert line == f'flight record (request): /log/a.jsonl; to read it: {command("explain")} /log/a.jsonl'
    monkeypatch.setattr('shutil.which', {'ros2': found}.get)
    assert command('explain') == said


def test_counts_are_numbers_in_json_and_words_in_text():
    given = {'used': 3, 'dropped': 3, 'by_reason': Tally({'late': 1, 'missing:front': 2})}
    assert written(Event.INACTIVE, 'text', **given) == (
        'inactive: 3 frames published, 3 targets dropped (2 missing:front, 1 late)'
    )
    assert json.loads(written(Event.INACTIVE, 'json', **given))['by_reason'] == {'late': 1, 'missing:front': 2}
    none = {'used': 0, 'dropped': 0, 'by_reason': Tally({})}
    assert written(Event.INACTIVE, 'text', **none) == 'inactive: 0 frames published, 0 targets dropped'


@pytest.mark.parametrize('logger', [rclpy.logging.get_logger('test'), logging.getLogger('test')], ids=['ros', 'python'])
def test_every_level_can_be_logged_by_one_log(logger):
    log = EventLog(logger, SetClock())
    for event in (Event.ACTIVE, Event.TWIN, Event.CONFIGURATION_REFUSED, Event.TWIN_AT_START, Event.ACTIVE):
        log.emit(event, **fields(event))


def robot(**settings):
    """A robot to which much happens: messages that cannot be used, a silence, its end, timings."""
    bench = make(PipelineConfig(lidars=(LIDAR,), cameras=(FRONT,)), **settings)
    bench.runtime.log_configuration()
    bench.put('lidar', cloud(0, SENT * 5))
    bench.put('front', image(0, encoding=SENT))
    bench.work()
    bench.runtime.reporter.tick()
    for ms in range(100, 400, 100):
        bench.clock.advance(0.4)
        bench.put('lidar', cloud(ms))
        bench.put('front', image(ms))
        bench.work()
        bench.runtime.reporter._report(active=True)
    return bench


def test_a_robot_s_log_can_be_parsed_line_by_line():
    found = [json.loads(line) for _, line in robot(log_format='json', timings_ns=1).log.lines]
    names = [each['event'] for each in found]
    assert {'configured', 'voxel_grid', 'message_dropped', 'timings'} <= set(names)
    for each in found:
        assert each.keys() == {'event', 'level', 'stamp_ns', 'text', *Event(each['event']).fields}
    stages = next(each['stages'] for each in found if each['event'] == 'timings')
    assert {'decode', 'align', 'compute', 'publish'} <= stages.keys()
    assert all(0 <= stage['p50_ms'] <= stage['p99_ms'] for stage in stages.values())


def test_timings_are_logged_once_a_period_where_they_are_asked_for():
    assert not [line for line in robot().log.of('info') if line.startswith('timings')]
    idle = make(PipelineConfig(lidars=(LIDAR,)), timings_ns=1)
    idle.clock.advance(1.0)
    idle.runtime.reporter._report(active=True)
    assert not [line for line in idle.log.of('info') if line.startswith('timings')]
    lines = [line for line in robot(timings_ns=10**9).log.of('info') if line.startswith('timings')]
    assert len(lines) == 1
    assert lines[0].startswith('timings, p50/p99 ms: decode ')
