# SPDX-License-Identifier: Apache-2.0
"""Latencies, the ledger and the verdict, from records made by hand."""

from array import array

import pytest

from robocache_ros.tools._collector import FrameRecord, Status
from robocache_ros.tools._outcome import latencies_ms, ledger, percentiles, problems, rate_hz, unbalanced, warnings
from robocache_ros.tools._player import SentLog
from robocache_ros.tools._table import format_summary, format_table

MS = 10**6


def frame(stamp, received_ms):
    return FrameRecord(received_ms * MS, stamp, 0, 0, {}, {}, {}, '')


def sent(*pairs):
    return SentLog(array('q', [stamp for stamp, _ in pairs]), array('q', [ms * MS for _, ms in pairs]))


def test_latency_is_from_sending_the_triggers_message_to_the_frame():
    log = {'/lidar': sent((100, 10), (200, 110)), '/imu': sent((100, 90))}
    assert latencies_ms([frame(100, 35), frame(200, 150), frame(300, 400)], log, '/lidar') == [25.0, 40.0, None]


def test_a_stamp_that_was_sent_twice_counts_from_the_last_time_before_the_frame():
    log = {'/lidar': sent((100, 10), (100, 510))}
    assert latencies_ms([frame(100, 30), frame(100, 550)], log, '/lidar') == [20.0, 40.0]


def test_targets_at_a_fixed_rate_count_from_the_newest_message_up_to_them():
    log = {'/imu': sent((90, 5), (110, 20)), '/cam': sent((95, 12))}
    assert latencies_ms([frame(100, 32)], log, '') == [20.0]


def test_rates_and_percentiles_of_nothing_are_nothing():
    assert rate_hz([]) == 0.0
    assert rate_hz([5]) == 0.0
    assert rate_hz([0, 100 * MS, 200 * MS]) == 10.0
    assert percentiles([]) == {'p50': None, 'p99': None}
    assert percentiles([1.0, 2.0, 3.0])['p50'] == 2.0


def test_the_ledger_is_read_from_diagnostics():
    values = {
        'topic': '/lidar',
        'received': '10',
        'used': '7',
        'held': '1',
        'dropped.thinned': '2',
        'dropped.late': '0',
    }
    streams = ledger({'input lidar': Status(0, '', values), 'sync': Status(0, '', {'received': '3'})})
    assert streams == {'lidar': {'received': 10, 'used': 7, 'held': 1, 'dropped': {'thinned': 2}}}
    assert unbalanced(streams) == []
    streams['lidar']['used'] = 6
    assert 'lidar does not add up: received 10' in unbalanced(streams)[0]


def summary(**changes):
    stream = {'received': 3, 'used': 2, 'held': 0, 'dropped': {'unselected': 1}}
    return {
        'frames': 2, 'trigger_rate_hz': 10.0, 'fused_rate_hz': 10.0, 'backend': 'cpu', 'streams': {'lidar': stream},
        'latency_ms': {'p50': 20.0, 'p99': None}, 'blocker': '', 'trigger': 'lidar', 'backend_reason': 'loaded',
        'device': 'cpu', 'device_reason': 'compute.device = auto', 'device_fault': '',
        'targets': {'targets': 3, 'emitted': 2, 'pending': 0, 'dropped': {'missing:imu': 1}}, 'published': {'lidar': 3},
        'age_ms': {'lidar': {'p50': 0.0, 'p99': 0.0}}, 'valid': {'lidar': 2}, 'lost': {'fused': 0},
        'stage_ms': {'lidar': {'p50': 1.0, 'p99': 2.0}}, 'player_late_ms': {'p50': 0.0, 'p99': 0.1, 'max': 0.2},
        'bag': {'skipped': {}},
    } | changes  # fmt: skip


def test_no_frame_no_diagnostics_and_an_open_ledger_are_failures():
    assert problems(summary()) == []
    assert 'imu: no publisher' in problems(summary(frames=0, blocker='imu: no publisher on /imu'))[0]
    assert 'no ledger' in problems(summary(streams={}))[0]
    open_ledger = {'lidar': {'received': 3, 'used': 1, 'held': 0, 'dropped': {}}}
    assert 'does not add up' in problems(summary(streams=open_ledger))[0]


def test_losses_and_a_late_player_are_warnings():
    assert warnings(summary()) == []
    assert '1 of 3 messages of lidar' in warnings(summary(lost={'fused': 0, 'lidar': 1}))[0]
    fault = 'cuda:0 failed: GpuError: out of memory'
    assert fault in warnings(summary(device_fault=fault))[0]
    assert '4 fused frames' in warnings(summary(lost={'fused': 4}))[0]
    assert 'player itself was late' in warnings(summary(player_late_ms={'p50': 1.0, 'p99': 11.0, 'max': 40.0}))[0]


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
