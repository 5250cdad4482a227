# SPDX-License-Identifier: Apache-2.0
"""What greenwave_monitor reads of an input's status: its keys, with values that it can take for numbers."""

import dataclasses

import pytest
from support.runtime import LIDAR, START_NS, cloud, make

from robocache_core.config import PipelineConfig
from robocache_core.units import MS, SECOND

KEYS = ('frame_rate_node', 'frame_rate_msg', 'current_delay_from_realtime_ms', 'expected_frequency', 'tolerance')
CONFIG = PipelineConfig(lidars=(dataclasses.replace(LIDAR, expected_rate_hz=10.0, rate_tolerance=25.0),))


def drive(bench, stamps_ms, period_s=0.1, delay_ms=30):
    """A message of each stamp, which arrives ``delay_ms`` after it by ROS time."""
    bench.runtime._now_ns = lambda: START_NS + stamp_ms * MS + delay_ms * MS
    for stamp_ms in stamps_ms:
        bench.clock.advance(period_s)
        bench.put('lidar', cloud(stamp_ms))
        bench.work()


def shown(bench):
    values = {pair.key: pair.value for pair in bench.report()['input lidar'].values}
    return tuple(values[key] for key in KEYS)


def test_the_rates_by_arrival_and_by_stamps_and_the_delay():
    bench = make(CONFIG)
    assert shown(bench) == ('0.000', '0.000', 'N/A', '10.000', '25.000')
    drive(bench, range(0, 2000, 100), period_s=0.125)
    assert shown(bench) == ('8.000', '10.000', '30.000', '10.000', '25.000')


def test_a_bag_that_begins_again_has_the_rate_that_it_has():
    bench = make(CONFIG)
    drive(bench, [*range(0, 1000, 100), *range(0, 1000, 100)])
    assert shown(bench)[:3] == ('10.000', '10.000', '30.000')


def test_without_ros_time_there_is_no_delay():
    bench = make(CONFIG)
    bench.runtime._now_ns = lambda: 0
    bench.put('lidar', cloud(100))
    assert shown(bench)[2] == 'N/A'
    drive(bench, [100 + 2 * SECOND // MS])
    assert shown(bench)[2] == '30.000'


def test_its_own_adaptor_reads_them():
    reason = 'needs greenwave_monitor (github.com/NVIDIA-ISAAC-ROS/greenwave_monitor)'
    adaptor = pytest.importorskip('greenwave_monitor.ui_adaptor', reason=reason)
    bench = make(CONFIG)
    drive(bench, range(0, 2000, 100))
    read = adaptor.UiDiagnosticData.from_status(bench.report()['input lidar'])
    assert (read.pub_rate, read.msg_rate, read.latency) == ('10.000', '10.000', '30.000')
    assert (float(read.expected_frequency), float(read.tolerance), read.status) == (10.0, 25.0, 'OK')
