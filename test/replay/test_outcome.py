# SPDX-License-Identifier: Apache-2.0
"""Summary and series of a replay, from a recording made by hand."""

from array import array
from pathlib import Path

import pytest

from robocache_core.config import CameraConfig, LidarConfig, PipelineConfig, SyncConfig
from robocache_ros.bags import Bag, Topic
from robocache_ros.tools.replay.collector import Diagnostics, FrameRecord, Status
from robocache_ros.tools.replay.outcome import Recording, ledger, series, summarize
from robocache_ros.tools.replay.player import SentLog

MS = 10**6
LIDAR, CAMERA = LidarConfig('lidar', topic='/points'), CameraConfig('front')


def frame(stamp_ns, received_ms, valid, **age_ms):
    age_ns = {name: value * MS for name, value in age_ms.items()}
    return FrameRecord(received_ms * MS, stamp_ns, 0, 8, valid, age_ns, {'decode': 2 * MS}, str(stamp_ns))


def diagnostics(at_ms, blocker='', **lidar):
    account = {key: str(value) for key, value in lidar.items()}
    sync = {'targets': '3', 'emitted': '2', 'dropped.overrun': '1', 'dropped.late': '0', 'blocker': blocker}
    sync |= {'given_up.front': '2', 'given_up.lidar': '0', 'slow.front': 'front comes every 1.0 s'}
    compute = {'backend': 'cpu', 'reason': 'loaded', 'device': 'cpu'}
    values = {'input lidar': account, 'sync': sync, 'compute': compute}
    return Diagnostics(at_ms * MS, {name: Status(0, '', value) for name, value in values.items()})


def recording(**changes):
    topics = {'/points': Topic('/points', LIDAR.message_type, 3), '/text': Topic('/text', 'std_msgs/msg/String', 4)}
    given = {
        'bag': Bag(Path('a/bag'), 0, 300 * MS, topics, defects=('a is cut off',)),
        'config': PipelineConfig((LIDAR,), (CAMERA,)),
        'sent': {'/points': SentLog(array('q', [100, 200, 300]), array('q', [10 * MS, 110 * MS, 210 * MS]))},
        'late_ns': [0, 2 * MS],
        'skipped': {},
        'unsent': {},
        'unread': ['1 of 3 messages on /points are read'],
        'frames': [
            frame(100, 35, {'lidar': True, 'front': True}, lidar=0, front=-5),
            frame(200, 150, {'lidar': True, 'front': False}, lidar=0),
        ],
        'missed': 1,
        'diagnostics': [diagnostics(100, 'front: no publisher'), diagnostics(900, 'idle', received=2, used=2)],
        'ended_ns': 250 * MS,
        'settings': {'rate': 1.0},
    }
    return Recording(**given | changes)


def test_the_ledger_is_read_from_diagnostics():
    values = {'topic': '/a', 'received': '10', 'used': '7', 'held': '1', 'dropped.thinned': '2', 'dropped.late': '0'}
    streams = ledger({'input lidar': Status(0, '', values), 'sync': Status(0, '', {'received': '3'})})
    assert streams == {'lidar': {'received': 10, 'used': 7, 'held': 1, 'dropped': {'thinned': 2}}}


def test_a_summary_has_rates_latencies_and_the_nodes_own_counts():
    summary = summarize(recording())
    assert list(summary)[:6] == ['frames', 'trigger_rate_hz', 'fused_rate_hz', 'backend', 'streams', 'latency_ms']
    assert (summary['frames'], summary['trigger'], summary['trigger_rate_hz']) == (2, 'lidar', 10.0)
    assert summary['fused_rate_hz'] == pytest.approx(1000 / 115, abs=1e-3)
    assert summary['latency_ms']['p50'] == 32.5
    assert summary['streams'] == {'lidar': {'received': 2, 'used': 2, 'held': 0, 'dropped': {}}}
    assert summary['targets'] == {'targets': 3, 'emitted': 2, 'pending': 0, 'dropped': {'overrun': 1},
                                  'given_up': {'front': 2}}  # fmt: skip
    assert summary['slow'] == {'front': 'front comes every 1.0 s'}
    assert summary['topics'] == {'lidar': '/points', 'front': '/front'}
    assert summary['published'] == {'lidar': 3}
    assert summary['lost'] == {'fused': 1, 'lidar': 1}
    assert summary['valid'] == {'lidar': 2, 'front': 1}
    assert summary['age_ms']['front'] == {'p50': -5.0, 'p99': -5.0}
    assert summary['stage_ms'] == {'decode': {'p50': 2.0, 'p99': 2.0}}
    assert (summary['player_late_ms']['p50'], summary['player_late_ms']['max']) == (1.0, 2.0)
    assert (summary['device'], summary['backend_reason'], summary['device_fault']) == ('cpu', 'loaded', '')
    assert summary['bag'] == {
        'path': 'a/bag',
        'seconds': 0.3,
        'messages': 7,
        'defects': ['a is cut off', '1 of 3 messages on /points are read'],
        'skipped': {},
        'unsent': {},
    }


CLOCK = 'targets dropped: 10 missing:imu (the stamps of imu are 37.0 s ahead of those of lidar: its clock is wrong)'


def test_the_blocker_is_what_held_while_the_bag_was_played():
    reports = [
        diagnostics(0, 'lidar: no publisher on /points', received=0),
        diagnostics(100, 'lidar: no message on /points', received=1),
        diagnostics(160, CLOCK, received=11),
        diagnostics(220, CLOCK.replace('37.0', '37.1'), received=21),
        Diagnostics(240 * MS, {'compute': Status(2, 'the worker has been busy with one step for 1.0 s', {})}),
        diagnostics(245, CLOCK.replace('37.0', '37.1'), received=22),
        diagnostics(1300, 'lidar: no message for 1.1 s', received=23),
    ]
    assert summarize(recording(diagnostics=reports))['blocker'] == CLOCK.replace('37.0', '37.1')


def test_the_blocker_of_a_short_bag_is_that_of_the_first_report_that_has_counted_every_message():
    reports = [
        diagnostics(100, 'lidar: no message yet', received=0),
        diagnostics(260, 'front: no publisher', received=1),
        diagnostics(300, 'lidar: dropped data_too_short 2', received=2),
        diagnostics(1300, 'lidar: no message for 1.1 s', received=2),
    ]
    over = recording(diagnostics=reports)
    assert summarize(over)['blocker'] == 'lidar: dropped data_too_short 2'
    assert series(over)['closing_s'] == 0.29
    # Without a message that arrived it is the first report behind the last one that was sent.
    silent = [diagnostics(100, 'no publisher', received=0), diagnostics(400, 'lost', received=0)]
    assert summarize(recording(diagnostics=silent))['blocker'] == 'lost'


def test_a_warning_of_the_alignment_is_what_held_while_frames_came():
    reports = [diagnostics(100 * number, received=number) for number in range(1, 6)]
    messages = ['', 'stamps differ by 1 s', 'targets that did not wait: 1', 'stamps differ by 2 s', 'no frame']
    for number, (report, message) in enumerate(zip(reports, messages, strict=True)):
        report.statuses['sync'] = Status(2 if number == 4 else int(bool(message)), message, {})
    assert summarize(recording(diagnostics=reports))['sync_warning'] == 'stamps differ by 2 s'


def test_at_a_fixed_rate_that_is_the_rate_of_the_targets():
    config = PipelineConfig((LIDAR,), sync=SyncConfig(rate_hz=5.0))
    summary = summarize(recording(config=config))
    assert (summary['trigger'], summary['trigger_rate_hz']) == ('', 5.0)


def test_a_replay_without_frames_and_diagnostics_is_summarized_too():
    summary = summarize(recording(frames=[], diagnostics=[], sent={}, late_ns=[]))
    assert summary['frames'] == summary['targets']['targets'] == 0
    assert summary['streams'] == {}
    assert summary['latency_ms'] == {'p50': None, 'p99': None}
    assert summary['player_late_ms'] == {'p50': None, 'p99': None, 'max': None}


def test_the_series_counts_from_the_first_message():
    over_time = series(recording())
    assert over_time['frames']['t_s'] == [0.025, 0.14]
    assert over_time['frames']['latency_ms'] == [25.0, 40.0]
    assert over_time['frames']['age_ms'] == {'front': [-5.0, None], 'lidar': [0.0, 0.0]}
    assert over_time['trigger_t_s'] == [0.0, 0.1, 0.2]
    assert over_time['closing_s'] == 0.89
    assert [d['t_s'] for d in over_time['diagnostics']] == [0.09, 0.89]
