# SPDX-License-Identifier: Apache-2.0
"""Each fault that was put into a recording is found, with its number and a remedy; and in a good one nothing is."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import yaml
from support import faulty
from support.faulty import FRONT, IMU, INFO, LIDAR, every, faulty_bag, restamped, scaled, with_stamp, without

from robocache_ros.tools.inspect.inspection import inspect

DEGREES = 57.29578
#: name: fault, and code, subject and a pattern of each error that it must cause.
ERRORS = {
    'nothing': (faulty.none(), []),
    'a pause': (without(FRONT, 1.0, 2.6), [('pause', FRONT, r'1 pause.* longest 1\.6\d* s at (0\.9|1\.0)')]),
    'one scan in five lost': (
        every(LIDAR, 5, lambda *_: None),
        [('missing_messages', LIDAR, r'7 messages are missing \(17\.9%\)')],
    ),
    'a sensor that dies': (without(IMU, 2.0), [('ends_early', IMU, r'last message is 2\.\d* s before the end')]),
    'a clock ahead': (
        restamped(IMU, lambda ns, _: ns + 37 * 10**9),
        [('clock_offset', IMU, r'stamps are 37 s ahead of the record times: 37 s is what TAI')],
    ),
    'a clock behind': (
        restamped(FRONT, lambda ns, _: ns - 5 * 10**9),
        [('clock_offset', FRONT, r'stamps are 5\.01\d* s behind the record times')],
    ),
    'the clock of the trigger ahead': (
        restamped(LIDAR, lambda ns, _: ns + 18 * 10**9),
        [('clock_offset', LIDAR, r'stamps are 17\.\d* s ahead of the record times: 18 s is what GPS')],
    ),
    'a clock since boot': (
        restamped(IMU, lambda ns, s: round((20 + s) * 10**9)),
        [('clock_offset', IMU, r'behind the record times: 2\d\.\d s is the time since its device')],
    ),
    'a clock that drifts': (
        restamped(IMU, lambda ns, s: ns + round(s * 20_000_000)),
        [('clock_drift', IMU, r'run (199\d\d|200\d\d) ppm fast .*, 80 ms over the bag: its clock drifts$')],
    ),
    'stamps that are there twice': (
        every(IMU, 10, lambda message, previous: with_stamp(message, faulty.stamp_ns(previous))),
        [('duplicate_stamps', IMU, r'84 of 840 messages have a stamp')],
    ),
    'time that goes back': (
        restamped(IMU, lambda ns, s: ns - 9 * 10**9 * (s > 2)),
        [('stamps_back', IMU, r'goes back 1 times, by 8995 ms')],
    ),
    'time that jumps ahead': (
        restamped(FRONT, lambda ns, s: ns + 9 * 10**9 * (s > 2)),
        [('stamps_ahead', FRONT, r'jumps ahead 1 times, by 9\.0\d* s')],
    ),
    'no stamps': (
        every(FRONT, 4, lambda message, _: with_stamp(message, 0)),
        [('unset_stamps', FRONT, r'15 of 60 messages have no stamp')],
    ),
    'IMU in g': (scaled('linear_acceleration', 1 / 9.80665), [('unit', IMU, r'in g, not m/s²: its median is 1')]),
    'IMU in mg': (scaled('linear_acceleration', 1000 / 9.80665), [('unit', IMU, r'in mg, not m/s²: its median is 10')]),
    'IMU in degrees': (scaled('angular_velocity', DEGREES), [('unit', IMU, r'in degrees, not rad/s')]),
    'clouds cut short': (
        every(LIDAR, 10, faulty.cut),
        [('dropped_data_too_short', 'lidar', r'4 of 40 messages would be dropped data_too_short.*262044 bytes')],
    ),
}  # fmt: skip


@pytest.mark.parametrize('name', ERRORS)
def test_a_fault_is_an_error_with_its_number_and_remedy(name: str, tmp_path: Path) -> None:
    fault, expected = ERRORS[name]
    report = inspect(faulty_bag(tmp_path / 'bag', fault))
    errors = [finding for finding in report['findings'] if finding['level'] == 'error']
    for code, subject, pattern in expected:
        (found,) = [each for each in errors if (each['code'], each['subject']) == (code, subject)]
        assert re.search(pattern, found['what']), found['what']
        assert all(each['remedy'] for each in errors)
    assert bool(errors) == bool(expected)
    # What follows from the fault is found on its stream, or of the frames as a whole.
    assert {each['subject'] for each in errors} <= {
        *(subject for _, subject, _ in expected), 'frames', *report['configuration']['streams'],
    }  # fmt: skip
    assert report['verdict']['exit_status'] == bool(expected)


#: name: fault, and code, subject and a pattern of the note that it causes: nothing is lost by it.
NOTES = {
    'no tf': (without('/tf_static'), 'doubt', 'configuration', r"no /tf_static joins 'lidar' to base_link"),
    'no calibration': (without(INFO), 'camera_info', FRONT, 'camera_info: the bag has no CameraInfo for it'),
    'calibration of another image': (
        every(INFO, 1, lambda message, _: dataclasses.replace(message, width=333)),
        'camera_info', FRONT, '333 x 480',
    ),
    'point times that stand still': (
        every(LIDAR, 1, faulty.of_one_time), 'point_times', LIDAR, r"cannot be deskewed: .*'t' \(uint32\) is 7 to 7",
    ),
    'stamps of the end of a scan': (
        restamped(LIDAR, lambda ns, _: ns + 10**8), 'recorded_early', LIDAR, r'recorded 2\.\d* ms after .* 9\d\.\d* ms',
    ),
    'two frames': (every(IMU, 100, faulty.in_frame('imu2')), 'frame_changes', IMU, "2 frames: 'imu', 'imu2'"),
    'a layout that changes': (
        every(FRONT, 30, lambda message, _: dataclasses.replace(message, format='jpeg')),
        'layout_changes', FRONT, r'changes 3 times during the run: 640 x 480 JPEG, .* \| 640 x 480 JPEG',
    ),
    'all an hour ahead': (
        lambda messages: [each._replace(record_ns=each.record_ns - 3600 * 10**9) for each in messages],
        'record_clock', 'bag', '3600 s ahead of the record times: 1 h is what local times are apart',
    ),
    'a bag of a bag': (
        lambda messages: [each._replace(record_ns=each.record_ns + 10**15) for each in messages],
        'record_clock', 'bag', r'all topics are 1e\+06 s behind the record times$',
    ),
    'a stamp out of order': (
        every(IMU, 100, lambda message, _: with_stamp(message, faulty.stamp_ns(message) - 7_000_000)),
        'stamps_back', IMU, r'goes back 8 times, by 2 ms',
    ),
}  # fmt: skip


@pytest.mark.parametrize('name', NOTES)
def test_what_loses_nothing_is_a_note(name: str, tmp_path: Path) -> None:
    fault, code, subject, pattern = NOTES[name]
    report = inspect(faulty_bag(tmp_path / 'bag', fault))
    (found,) = [each for each in report['findings'] if (each['code'], each['subject']) == (code, subject)]
    assert found['level'] == 'note'
    assert re.search(pattern, found['what']), found['what']
    assert report['verdict']['exit_status'] == 0, report['findings']


def configured(path: Path, **changes: object) -> Path:
    """A parameter file for the simulated robot."""
    tree = {
        'lidars': ['top'], 'cameras': ['eye'], 'imus': ['inertial'], 'target_frame': 'base_link',
        'top': {'topic': LIDAR, 'voxel': {'channels': ['count']}}, 'inertial': {'topic': IMU, 'window_size': 4},
        'eye': {'topic': FRONT, 'width': 32, 'height': 32}, **changes,
    }  # fmt: skip
    path.write_text(yaml.safe_dump({'/**/preprocess': {'ros__parameters': tree}}))
    return path


def test_a_lidar_without_a_pose_beside_another_is_left_out_by_name(tmp_path: Path) -> None:
    def second(messages: faulty.Messages) -> faulty.Messages:
        move = faulty.in_frame('rear_lidar')
        clouds = [each for each in messages if each.topic == LIDAR]
        return messages + [each._replace(topic='/rear/points', message=move(each.message, None)) for each in clouds]

    report = inspect(faulty_bag(tmp_path / 'bag', second))
    (found,) = [each for each in report['findings'] if each['level'] == 'error']
    assert (found['code'], found['subject']) == ('left_out', '/rear/points')
    assert found['what'] == "no /tf_static joins its frame 'rear_lidar' to 'base_link', the frame of most lidars"
    assert 'extrinsics' in found['remedy']


def test_targets_that_are_rarer_than_a_buffer_is_long_are_the_first_remedy_of_its_age(tmp_path: Path) -> None:
    config = configured(tmp_path / 'robot.yaml', **{'sync.rate_hz': 0.3, 'eye.buffer': 0.5})
    report = inspect(faulty_bag(tmp_path / 'bag', faulty.none()), config)
    (found,) = [each for each in report['findings'] if (each['code'], each['subject']) == ('dropped_buffer_age', 'eye')]
    assert found['remedy'].startswith('where targets come less often than its buffer is long, set buffer of the stream')


#: name: fault, changes of the configuration, and code, subject and a pattern of the error; none: nothing is wrong.
CONFIGURED = {
    'nothing': (faulty.none(), {}, None),
    'no pose': (
        without('/tf_static'), {}, ('dropped_no_transform', 'top', r"40 of 40 messages .* no_transform.*'lidar'"),
    ),
    'no calibration to rectify by': (
        without(INFO), {'eye.rectify': True}, ('absent', 'configuration', '/camera/front/camera_info'),
    ),
    'a topic that the bag lacks': (
        faulty.none(), {'imus': ['inertial', 'other'], 'other': {'topic': '/imu2'}},
        ('absent', 'configuration', '/imu2'),
    ),
    'a tolerance that no image keeps': (
        faulty.none(), {'eye.tolerance': 0.0001, 'eye.read': 'previous'},
        ('alignment', 'frames', 'targets were lost: .*missing:eye'),
    ),
    'a fault on a topic that no stream takes': (
        scaled('linear_acceleration', 0.1), {'imus': []}, None,
    ),
    'readings that begin after the first scan': (
        without(IMU, 0.0, 0.25), {'top.deskew.source': 'inertial', 'inertial.window_size': 1}, None,
    ),
    'a vector of an array that no message has': (
        faulty.none(),
        {
            'vectors': ['info'],
            'info': {'topic': INFO, 'message': 'sensor_msgs/msg/CameraInfo', 'fields': ['d[:99]'], 'required': False},
        },
        ('dropped_wrong_size', 'info', 'messages .* wrong_size.*d.:99.: the array has'),
    ),
    'point times to deskew by': (
        every(LIDAR, 1, faulty.of_one_time), {'top.deskew.source': 'inertial'},
        ('dropped_unknown_time_field', 'top', '40 of 40 messages'),
    ),
}  # fmt: skip


@pytest.mark.parametrize('name', CONFIGURED)
def test_a_configuration_decides_what_is_lost(name: str, tmp_path: Path) -> None:
    fault, changes, expected = CONFIGURED[name]
    report = inspect(faulty_bag(tmp_path / 'bag', fault), configured(tmp_path / 'robot.yaml', **changes))
    errors = [each for each in report['findings'] if each['level'] == 'error']
    assert report['verdict']['exit_status'] == (expected is not None), errors
    if expected:
        code, subject, pattern = expected
        found = [each['what'] for each in errors if (each['code'], each['subject']) == (code, subject)]
        assert any(re.search(pattern, what) for what in found), errors
        assert all(each['remedy'] for each in errors)


def test_a_topic_that_may_be_meant_is_named(tmp_path: Path) -> None:
    file = configured(tmp_path / 'robot.yaml', eye={'topic': '/camera/front/image_color/compressed', 'required': False})
    report = inspect(faulty_bag(tmp_path / 'bag', faulty.none()), file)
    (found,) = [each for each in report['findings'] if each['code'] == 'absent']
    assert found['remedy'] == f'set it to {FRONT}, if that is meant'
    assert found['level'] == 'note'  # its stream is not required


def test_the_figures_are_those_of_the_recording(tmp_path: Path) -> None:
    report = inspect(faulty_bag(tmp_path / 'bag', every(LIDAR, 2, lambda *_: None)))
    lidar, imu, front = (report['topics'][topic] for topic in (LIDAR, IMU, FRONT))
    assert (lidar['count'], imu['count'], front['count']) == (20, 840, 60)
    assert lidar['rate_hz'] == pytest.approx(5, rel=0.01)
    assert lidar['period_ms'] == {'p50': 200.0, 'p99': 200.0, 'longest': 200.0}
    assert imu['period_ms']['p50'] == 5.0
    assert imu['jitter_ms'] == 0
    assert front['period_ms']['p50'] == pytest.approx(66.667, abs=0.001)
    assert 0.2 <= imu['delay_ms']['least'] <= imu['delay_ms']['p50'] <= imu['delay_ms']['p99'] <= 0.901
    assert not imu['drift']['is_clear']
    assert imu['stamps'] == {
        'duplicates': 0, 'back': 0, 'furthest_back_ms': 0.0, 'ahead': 0, 'furthest_ahead_ms': 0.0, 'unset': 0,
    }  # fmt: skip
    (layout,) = lidar['contents']['layouts']
    assert layout == {
        'layout': '1024 x 8 points of 32 B: x y z intensity float32, t uint32, ring uint16',
        'first_s': layout['first_s'], 'count': 20,
    }  # fmt: skip
    times = lidar['point_times']
    assert (times['field'], times['unit'], times['reference'], times['refused']) == ('t', 'ns', 'start', '')
    assert 0 <= times['first_ms'] < 3
    assert 97 < times['last_ms'] < 100
    assert lidar['contents']['frames'] == {'lidar': {'count': 20, 'target': 'base_link', 'is_joined': True}}
    assert front['camera_info'] == {'topic': INFO, 'refused': ''}
    assert report['bag']['messages'] == sum(topic['count'] for topic in report['topics'].values())
    outcome = report['outcome']
    assert outcome['streams']['lidar']['received'] == 20
    assert outcome['frames'] == outcome['targets']['emitted'] == 20


def test_a_clock_that_an_offset_sets_right_is_no_finding_and_one_that_does_not_is_named(tmp_path: Path) -> None:
    bag = faulty_bag(tmp_path / 'bag', restamped(IMU, lambda ns, _: ns + 37 * 10**9))
    report = inspect(bag, configured(tmp_path / 'config.yaml', **{'inertial.stamp_offset': -37.0}))
    assert [each for each in report['findings'] if each['level'] == 'error'] == []
    (found,) = [topic['stamping'] for name, topic in report['topics'].items() if name == IMU]
    assert found == {'by_arrival': False, 'offset_s': -37.0}

    report = inspect(bag, configured(tmp_path / 'config.yaml', **{'inertial.stamp_offset': -18.0}))
    (remedy,) = (each['remedy'] for each in report['findings'] if each['code'] == 'clock_offset')
    assert 'set inertial.stamp_offset: -37.0' in remedy
