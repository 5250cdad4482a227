# SPDX-License-Identifier: Apache-2.0
"""A bag that gives few frames or none: the reader says why, in the words of the node."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from support import bags

from robocache_core.units import SECOND
from robocache_ros import parameters
from robocache_ros.offline import fused_frames
from robocache_ros.prevailing import prevailing

PARAMETERS = {
    'lidars': ['lidar'],
    'cameras': ['front'],
    'imus': ['imu'],
    'lidar': {'topic': '/points', 'voxel': {'channels': ['count']}},
    'front': {'topic': '/image_raw', 'width': 4, 'height': 4},
    'imu': {'topic': '/imu', 'window_size': 2},
}
CONFIG, _ = parameters.from_dict(PARAMETERS)
STREAMS = {
    'lidar': (100, '/points', bags.cloud),
    'front': (50, '/image_raw', bags.image),
    'imu': (10, '/imu', bags.imu),
}
SECONDS = 12


def recorded(*, until=None, **offsets_ms):
    """All streams, each with stamps that are ahead of the record times by its offsets in turn, up to ``until``, ms."""
    messages = []
    for name, (period, topic, make) in STREAMS.items():
        turn = offsets_ms.get(name, (0,))
        for number, ms in enumerate(np.arange(0, (until or {}).get(name, 1000 * SECONDS), period).tolist()):
            messages.append((ms, topic, make(ms + turn[number % len(turn)])))
    return messages


def read(path: Path, messages) -> tuple[int, tuple[str, ...]]:
    """Number of frames of a bag, and the warnings of its reader."""
    frames = fused_frames(bags.write(path / 'bag', messages), CONFIG)
    return len(list(frames)), frames.warnings


AHEAD = (
    'the stamps of imu are 37.0 s ahead of those of front, lidar: its clock is wrong '
    '(37 s is what TAI, the time of PTP, is ahead of UTC: set imu.stamp_offset: -37.0)'
)
LATE = 'the stamps of front are 400 ms behind those of imu, lidar: its clock is wrong, or it comes late'
WITHOUT_IMU = '; imu.required: false goes on without it'
TO_AND_FRO = 'the stamps of lidar on /points jump by 36.9 s to and fro (2 times): two publishers, or two clocks?'


@pytest.mark.parametrize(
    ('messages', 'num_frames', 'warnings'),
    [
        (recorded(), 119, ()),  # the first window is not full
        (
            recorded(imu=(37_000,)),
            0,
            (AHEAD, '120 of 120 targets were lost: 120 missing:imu',
             f'no frame: targets dropped: 10 missing:imu ({AHEAD})'),
        ),
        (
            recorded(front=(-400,)),
            0,
            (LATE, '120 of 120 targets were lost: 120 missing:front',
             f'no frame: targets dropped: 10 missing:front ({LATE})',
             'of 120 targets that did not wait: 118 front'),
        ),
        (
            recorded(front=(-250,)),
            118,
            ('the stamps of front are 250 ms behind those of imu, lidar: its clock is wrong, or it comes late',
             'of 120 targets that did not wait: 118 front'),
        ),
        (
            recorded(until={'imu': 0}),
            0,
            ('120 of 120 targets were lost: 120 missing:imu',
             'no frame: targets dropped: 10 missing:imu (imu: no publisher on /imu (Imu))',
             'of 120 targets that did not wait: 118 imu'),
        ),
        (
            recorded(until={'imu': 3000}),
            29,
            ('91 of 120 targets were lost: 91 missing:imu',
             f'no frame: targets dropped: 10 missing:imu (imu: no message for 8.0 s{WITHOUT_IMU})',
             'of 120 targets that did not wait: 88 imu'),
        ),
        (
            recorded(until={'lidar': 0}),
            0,
            ('no frame: lidar: no publisher on /points (PointCloud2)',),
        ),
        (
            recorded(lidar=(0, 0, -37_000, -37_000)),
            1,
            (TO_AND_FRO, '119 of 120 targets were lost: 59 missing:imu, 58 missing:lidar, 2 missing:front',
             '58 of 120 messages of lidar, the trigger, were lost: 58 buffer_age',
             f'no frame: {TO_AND_FRO}', 'of 120 targets that did not wait: 58 front, 58 imu'),
        ),
    ],
    ids=['good', 'clock ahead', 'clock behind', 'not waited for', 'absent', 'ends early', 'no trigger', 'two clocks'],
)  # fmt: skip
def test_what_is_wrong_with_a_bag_is_said_as_the_node_says_it(
    tmp_path: Path, messages, num_frames, warnings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert read(tmp_path, messages) == (num_frames, warnings)
    for warning in warnings:
        assert warning in caplog.text
    assert bool(warnings) == bool(caplog.records)


def test_a_topic_that_the_bag_lacks_is_named_with_those_of_the_bag_that_are_like_it(tmp_path: Path) -> None:
    lidar = PARAMETERS['lidar'] | {'topic': '/points/image'}
    config, _ = parameters.from_dict(PARAMETERS | {'lidar': lidar})
    messages = [(0, '/points', bags.cloud(0)), (0, '/points/images', bags.image(0)), (2000, '/imu', bags.imu(2000))]
    frames = fused_frames(bags.write(tmp_path / 'bag', messages), config)
    assert not list(frames)
    said = 'no publisher on /points/image (PointCloud2); there is /points/images (Image) and /points (PointCloud2)'
    assert f'no frame: lidar: {said}' in frames.warnings


def test_a_stream_that_is_too_slow_to_be_waited_for_is_said(tmp_path: Path) -> None:
    slow = PARAMETERS['imu'] | {'window_size': 1, 'interpolation': 'previous', 'tolerance': 1.0}
    config, _ = parameters.from_dict({'lidars': ['lidar'], 'imus': ['imu'], 'lidar': PARAMETERS['lidar'], 'imu': slow})
    messages = [*bags.every(100, '/points', bags.cloud, 12_000), *bags.every(1000, '/imu', bags.imu, 12_000)]
    frames = fused_frames(bags.write(tmp_path / 'bag', messages), config)
    assert len(list(frames)) == 120
    assert frames.warnings == (
        'imu comes every 1.0 s, and sync.max_wait is 200 ms: targets take what has come of it and do not wait for its '
        'next message; to wait, set sync.max_wait above 1.0 s',
    )


@pytest.mark.parametrize(('first_ms', 'num_frames', 'lost'), [(50, 9, ()), (1050, 8, ('2 of 10 targets were lost',))])
def test_the_first_window_of_a_bag_of_few_targets_is_no_loss(tmp_path: Path, first_ms, num_frames, lost) -> None:
    """A lidar at 1 Hz, and an IMU that begins after its first scans."""
    config, _ = parameters.from_dict({name: PARAMETERS[name] for name in ('lidars', 'lidar', 'imus', 'imu')})
    imu = [each for each in bags.every(10, '/imu', bags.imu, 10_500) if each[0] >= first_ms]
    frames = fused_frames(
        bags.write(tmp_path / 'bag', [*bags.every(1000, '/points', bags.cloud, 10_000), *imu]), config
    )
    assert len(list(frames)) == num_frames
    said = [line for line in frames.warnings if 'targets were lost' in line]
    assert len(said) == len(lost)
    assert all(line.startswith(lost) for line in said)


def test_a_silence_is_logged_when_it_begins_every_ten_recorded_seconds_and_when_it_is_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    whole = recorded(until=dict.fromkeys(STREAMS, 16_000))
    num_frames, _ = read(tmp_path, [each for each in whole if each[1] != '/imu' or not 1000 < each[0] < 14_000])
    assert num_frames > 25
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith(('no frame', 'frames'))]
    assert lines == [
        f'no frame: targets dropped: 10 missing:imu (imu: no message for 2.0 s{WITHOUT_IMU})',
        f'no frame: targets dropped: 10 missing:imu (imu: no message for 13.0 s{WITHOUT_IMU})',
        'frames come out',
    ]


def test_a_silence_of_all_streams_is_logged_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    read(tmp_path, [each for each in recorded() if not 4050 < each[0] < 7500])
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith(('no frame', 'frames'))]
    assert lines == ['no frame: lidar: no message for 3.5 s', 'frames come out']


@pytest.mark.parametrize(
    ('kept', 'warnings'),
    [
        (lambda at: True, ()),
        (lambda at: at % 50, ()),
        (
            lambda at: at % 4,
            ('296 of 1196 messages of imu were not recorded, as its stamps show',),
        ),  # none of the first
    ],
    ids=['all', 'most', 'three of four'],
)
def test_messages_that_the_recorder_did_not_get_are_a_warning(tmp_path: Path, kept, warnings) -> None:
    messages = [each for each in recorded() if each[1] != '/imu' or kept(each[0] // 10 + 1)]
    assert read(tmp_path, messages)[1] == warnings


def test_the_log_of_a_bag_in_json_has_the_time_of_the_recording(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    messages = recorded(until={'imu': 6000})
    list(fused_frames(bags.write(tmp_path / 'bag', messages), CONFIG, log_format='json'))
    events = [json.loads(record.getMessage()) for record in caplog.records]
    assert [each['event'] for each in events] == ['no_frame', 'bag_warning', 'bag_warning', 'bag_warning']
    assert [each['about'] for each in events[1:]] == ['lost', 'blocker', 'given_up']
    assert events[0]['stamp_ns'] > bags.START_NS + 6 * SECOND


def test_one_jump_of_time_is_named_with_its_size(tmp_path: Path) -> None:
    back = [(ms, topic, make(ms - 9000 * (ms >= 6000))) for period, topic, make in STREAMS.values()
            for ms in range(0, 12_000, period)]  # fmt: skip
    num_frames, warnings = read(tmp_path, back)
    assert num_frames > 110
    assert warnings == ('the stamps jumped, and what waited was dropped (time_jump): imu by 9.0 s',)


def clouds(stamps_ms: list[int]) -> list:
    """A cloud of each stamp, recorded every 100 ms."""
    return [(100 * at, '/points', bags.cloud(ms)) for at, ms in enumerate(stamps_ms)]


@pytest.mark.parametrize(
    ('stamps_ms', 'num_frames', 'warnings'),
    [
        (list(range(0, 4000, 100)), 40, ()),
        ([*range(0, 3900, 100), 3800], 39, ()),  # one in forty is few
        ([0, 500] * 10, 2, ('18 of 20 messages of lidar, the trigger, were lost: 18 late',)),  # a bag in a loop
        ([ms // 200 * 100 for ms in range(0, 4000, 100)], 20,
         ('20 of 40 messages of lidar, the trigger, were lost: 20 late',)),
        ([*range(0, 2000, 100), 900_000, *range(2000, 4000, 100)], 40,
         ('messages with stamps far from the others were dropped (time_jump): lidar by 898.0 s',)),
        ([*range(0, 3900, 100), 900_000], 40, ()),  # nothing contradicts the last one
        ([*range(0, 2000, 100), *range(900_000, 902_000, 100)], 40, ()),
    ],
    ids=['good', 'few', 'loop', 'twice', 'stray', 'last', 'ahead for good'],
)  # fmt: skip
def test_messages_of_the_trigger_that_become_no_target_are_a_warning(
    tmp_path: Path, stamps_ms, num_frames, warnings
) -> None:
    config, _ = parameters.from_dict({'lidars': ['lidar'], 'lidar': PARAMETERS['lidar']})
    frames = fused_frames(bags.write(tmp_path / 'bag', clouds(stamps_ms)), config)
    assert (len(list(frames)), frames.warnings) == (num_frames, warnings)


def test_scans_of_which_no_point_is_in_a_voxel_are_a_warning(tmp_path: Path) -> None:
    def in_millimetres(ms: float):
        message = bags.cloud(ms)
        message.data[:] = np.full(3, 1000, np.float32).view(np.uint8)
        return message

    config, _ = parameters.from_dict({'lidars': ['lidar'], 'lidar': PARAMETERS['lidar'] | {'max_range': 5000.0}})
    messages = [*bags.every(100, '/points', bags.cloud, 1000), *bags.every(100, '/points', in_millimetres, 1000)[5:]]
    frames = fused_frames(bags.write(tmp_path / 'bag', messages[:5] + messages[10:]), config)
    assert len(list(frames)) == 10
    assert frames.warnings == (
        '5 of 10 frames have no voxel of lidar (points dropped so far: 5 outside): are its points in m, and do '
        'lidar.voxel.lower and upper, min_range, max_range and extrinsics fit?',
    )


@pytest.mark.parametrize(
    ('reports', 'blocker'),
    [
        ([], ''),
        ([('', 9)], ''),
        ([('no publisher', 0), ('lost', 0)], ''),
        ([('a: no message yet', 1), ('', 9), ('b: dropped 9', 5), ('a: no message for 1.1 s', 0)], 'b: dropped 9'),
        ([('b: dropped 9', 5), ('a', 8), ('b: dropped 11', 5)], 'b: dropped 11'),
        ([('a', 5), ('b', 5)], 'b'),
        ([('missing:cam1', 90), ('missing:cam2', 1)], 'missing:cam1'),
        ([('missing:lidar.2', 9), ('missing:lidar.3', 1)], 'missing:lidar.2'),
        ([('/cam/1: is 0.5 s behind', 9), ('/cam/2: is 12 ms behind', 1)], '/cam/1: is 0.5 s behind'),
        ([('8 missing:a (12 s)', 5), ('b', 6), ('9 missing:a (1.5 s)', 5)], '9 missing:a (1.5 s)'),
    ],
)
def test_the_blocker_that_prevails_is_that_of_most_messages(reports, blocker) -> None:
    assert prevailing(reports) == blocker
