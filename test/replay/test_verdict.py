# SPDX-License-Identifier: Apache-2.0
"""The verdict on a summary and its table, from a summary made by hand."""

import pytest

from robocache_ros.tools.replay.table import format_summary, format_table
from robocache_ros.tools.replay.verdict import notes, problems, unbalanced, warnings


def targets(num, dropped, **given_up):
    return {'targets': num, 'emitted': 0, 'pending': 0, 'dropped': dropped, 'given_up': given_up}


def summary(**changes):
    stream = {'received': 3, 'used': 2, 'held': 0, 'dropped': {'unselected': 1}}
    return {
        'frames': 2, 'trigger_rate_hz': 10.0, 'fused_rate_hz': 10.0, 'backend': 'cpu', 'streams': {'lidar': stream},
        'latency_ms': {'p50': 20.0, 'p99': None}, 'blocker': '', 'trigger': 'lidar', 'backend_reason': 'loaded',
        'device': 'cpu', 'device_reason': 'compute.device = auto', 'device_fault': '',
        'targets': targets(30, {'missing:imu': 1}, imu=1),
        'sync_warning': '', 'slow': {}, 'published': {'lidar': 3},
        'age_ms': {'lidar': {'p50': 0.0, 'p99': 0.0}}, 'valid': {'lidar': 2}, 'lost': {'fused': 0},
        'stage_ms': {'lidar': {'p50': 1.0, 'p99': 2.0}}, 'player_late_ms': {'p50': 0.0, 'p99': 0.1, 'max': 0.2},
        'bag': {'skipped': {}, 'defects': [], 'unsent': {}},
    } | changes  # fmt: skip


def test_a_stream_whose_messages_are_not_all_accounted_for_is_named():
    streams = {'lidar': {'received': 10, 'used': 7, 'held': 1, 'dropped': {'thinned': 2}}}
    assert unbalanced(streams) == []
    streams['lidar']['used'] = 6
    assert 'lidar does not add up: received 10' in unbalanced(streams)[0]


def test_no_frame_no_diagnostics_and_an_open_ledger_are_failures():
    assert problems(summary()) == []
    assert 'imu: no publisher' in problems(summary(frames=0, blocker='imu: no publisher on /imu'))[0]
    (line,) = problems(summary(frames=0, targets=targets(5, {'missing:lidar': 5})))
    assert line.endswith('lidar dropped: unselected 1; targets dropped: missing:lidar 5')
    assert 'no ledger' in problems(summary(streams={}))[0]
    open_ledger = {'lidar': {'received': 3, 'used': 1, 'held': 0, 'dropped': {}}}
    assert 'does not add up' in problems(summary(streams=open_ledger))[0]


def test_losses_and_a_late_player_are_warnings():
    assert warnings(summary()) == []
    assert warnings(summary(lost={'fused': 0, 'lidar': 1, 'imu': 2}, published={'lidar': 3, 'imu': 30})) == [
        '1 of 3 messages of lidar, the trigger, were lost between player and node: play it slower (--rate)',
        '2 of 30 messages of imu were lost between player and node: play it slower (--rate)',
    ]
    fault = 'cuda:0 failed: GpuError: out of memory'
    assert fault in warnings(summary(device_fault=fault))[0]
    assert '4 fused frames' in warnings(summary(lost={'fused': 4}))[0]
    assert 'player itself was late' in warnings(summary(player_late_ms={'p50': 1.0, 'p99': 11.0, 'max': 40.0}))[0]


MISSING = {'missing:imu': 15, 'missing:front': 1}
BEHIND = 'targets that did not wait: 8 front; the stamps of front are 0.3 s behind'


@pytest.mark.parametrize(
    ('changes', 'lines'),
    [
        ({'targets': targets(200, {'missing:imu': 10}, front=10)}, []),
        ({'targets': targets(200, MISSING)}, ['16 of 200 targets were lost: 15 missing:imu, 1 missing:front']),
        (
            {'targets': targets(200, MISSING), 'blocker': 'imu: silent'},
            ['16 of 200 targets were lost: 15 missing:imu, 1 missing:front', 'no frame for a time: imu: silent'],
        ),
        (
            {'targets': targets(200, {}, front=150, imu=3), 'sync_warning': BEHIND, 'blocker': 'at the beginning'},
            ['of 200 targets that did not wait: 150 front', f'with frames: {BEHIND}'],
        ),
        (
            {'targets': targets(200, {}, front=150, imu=90), 'slow': {'imu': 'imu comes every 1.0 s'}},
            ['of 200 targets that did not wait: 150 front', 'imu comes every 1.0 s'],
        ),
        ({'targets': targets(200, MISSING), 'frames': 0, 'blocker': 'imu: silent'}, []),  # that is a failure's line
    ],
)
def test_targets_that_were_lost_or_did_not_wait_are_warnings_where_they_are_many(changes, lines):
    assert warnings(summary(**changes)) == lines


def streams(**dropped):
    return {name: {'received': 40, 'used': 2, 'held': 0, 'dropped': counts} for name, counts in dropped.items()}


@pytest.mark.parametrize(
    ('changes', 'lines'),
    [
        ({}, ['20 of 40 messages of lidar, the trigger, were lost: 15 late, 5 inbox_full']),
        ({'frames': 0}, []),  # that is a failure's line
        ({'trigger': ''}, []),
        ({'trigger': 'front'}, []),
    ],
)
def test_messages_of_the_trigger_that_became_no_target_are_a_warning_where_they_are_many(changes, lines):
    lidar = {'unselected': 9, 'missing:imu': 9, 'inbox_full': 5, 'late': 15}
    accounts = streams(lidar=lidar, front={'late': 1, 'unselected': 30})
    assert warnings(summary(**{'streams': accounts, **changes})) == lines


def test_what_is_wrong_with_the_bag_is_said():
    bag = {'skipped': {'/x': 'my/msg/X is not installed'}, 'defects': ['a is cut off'], 'unsent': {'/imu': 2}}
    assert warnings(summary(bag=bag)) == [
        'of the bag: a is cut off',
        '2 messages on /imu are too short for their header, and were not sent',
    ]
    assert notes(summary(bag=bag)) == ['not played: /x: my/msg/X is not installed']


def test_the_table_names_every_stream_and_every_drop():
    text = format_summary(summary())
    assert 'lidar' in text
    assert 'unselected' in text
    assert 'missing:imu' in text
    lines = format_table(['a', 'b'], [['x', '1'], ['long', '1000']]).splitlines()
    assert lines[2].endswith('     1')
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize('streams', [{}, {'lidar': {'received': 0, 'used': 0, 'held': 0, 'dropped': {}}}])
def test_the_table_can_be_empty(streams):
    assert 'frames' in format_summary(summary(streams=streams, stage_ms={}))
