# SPDX-License-Identifier: Apache-2.0
"""Latencies, rates and percentiles, from records made by hand."""

from array import array

from robocache_ros.tools.replay.collector import FrameRecord
from robocache_ros.tools.replay.figures import latencies_ms, percentiles, rate_hz
from robocache_ros.tools.replay.player import SentLog

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
