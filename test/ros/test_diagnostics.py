# SPDX-License-Identifier: Apache-2.0
"""Diagnostics by a set clock: the statuses, and their levels in order."""

import dataclasses

import pytest
from support.runtime import BOX, LIDAR, assert_adds_up, cloud, image, make
from support.statuses import ERROR, OK, ONE, STALE, TWO, WARN, drive, no_points, summary, values

from robocache_core.config import BackpressureConfig, LidarConfig, PipelineConfig
from robocache_core.units import MS
from robocache_ros import dds_environment, diagnostics
from robocache_ros.durations import Durations


def test_a_robot_that_works():
    bench = make(ONE)
    drive(bench, 'lidar', cloud, range(0, 1000, 100))
    statuses = bench.report()
    assert list(statuses) == ['input lidar', 'sync', 'queue', 'compute', 'output']
    assert summary(statuses, 'input lidar') == (OK, '10.0 Hz')
    assert summary(statuses, 'sync') == (OK, 'aligned')
    assert summary(statuses, 'queue') == (OK, 'normal')
    assert summary(statuses, 'output') == (OK, '10.0 Hz')
    given = values(statuses['input lidar'])
    assert (given['topic'], given['type']) == ('/lidar', 'PointCloud2')
    assert (given['received'], given['used'], given['held']) == ('10', '10', '0')
    assert given['jitter_ms'] == '0.000'
    assert values(statuses['output'])['frames'] == '10'
    assert values(statuses['output'])['latency_p50_ms'] == '5.000'
    assert_adds_up(bench.runtime)


@pytest.mark.parametrize(
    ('latencies_ms', 'message', 'shown'),
    [
        ([59_000.0, 59_000.0], '10.0 Hz', ('59000.000', '59000.000')),
        ([-5.0, -5.0], '10.0 Hz', ('-5.000', '-5.000')),
        ([5.0] * 99 + [1e9] * 3, '10.0 Hz', ('5.000', 'N/A')),  # a clock that has been set
        (
            [35_944_608_031.0],
            '10.0 Hz; no latency is known: stamps are 35944608.0 s behind the clock of this node',
            None,
        ),
        ([-37_000.0], '10.0 Hz; no latency is known: stamps are 37.0 s ahead of the clock of this node', None),
    ],
)
def test_a_latency_that_cannot_be_is_that_of_another_clock(latencies_ms, message, shown):
    """As of a bag that is played without /clock."""
    bench = make(ONE)
    drive(bench, 'lidar', cloud, range(0, 1000, 100))
    bench.runtime.metrics.latencies = Durations()
    for latency_ms in latencies_ms:
        bench.runtime.metrics.latencies.add(round(latency_ms * MS))
    output = bench.report()['output']
    assert (output.level, output.message) == (OK, message)
    found = values(output)
    assert (found['latency_p50_ms'], found['latency_p99_ms']) == (shown or ('N/A', 'N/A'))


def test_what_is_held_is_counted_wherever_it_is():
    bench = make(TWO)
    for ms in (0, 100, 200):
        bench.put('lidar', cloud(ms))
        bench.clock.advance(0.1)
    bench.runtime.worker.step(0.0)  # one in the pipeline, two in the inbox
    statuses = bench.report()
    assert values(statuses['input lidar'])['held'] == '3'
    assert values(statuses['sync'])['pending'] == '1'
    assert_adds_up(bench.runtime)


def test_a_ledger_that_does_not_add_up_is_an_error_before_all_else():
    bench = make(ONE)
    bench.put('lidar', cloud(0))
    bench.runtime.ingest.announce('lidar')  # and never handed over
    level, message = summary(bench.report(), 'input lidar')
    assert level == ERROR
    assert message.startswith('the ledger does not add up')
    assert message.endswith('1 held')


def test_silence_is_stale_after_three_periods_or_a_second():
    for rate_hz, silence_s in ((0.0, 1.0), (10.0, 0.3)):
        lidar = dataclasses.replace(LIDAR, expected_rate_hz=rate_hz)
        bench = make(PipelineConfig(lidars=(lidar,)))
        drive(bench, 'lidar', cloud, range(0, 1000, 100))
        bench.clock.advance(silence_s - 0.05)
        assert bench.report()['input lidar'].level == OK
        bench.clock.advance(0.1)
        assert bench.report()['input lidar'].level == STALE


@pytest.mark.parametrize(
    ('expected_hz', 'tolerance', 'level'),
    [(11.0, 10.0, OK), (12.0, 10.0, WARN), (9.0, 10.0, WARN), (9.0, 12.0, OK), (10.0, 0.0, OK), (90.0, 90.0, OK)],
)
def test_a_rate_that_is_off_by_more_than_its_tolerance_is_a_warning(expected_hz, tolerance, level):
    lidar = dataclasses.replace(LIDAR, expected_rate_hz=expected_hz, rate_tolerance=tolerance)
    bench = make(PipelineConfig(lidars=(lidar,)))
    drive(bench, 'lidar', cloud, range(0, 1000, 100))
    assert bench.report()['input lidar'].level == level


def test_losses_warn_and_nothing_else_left_is_an_error():
    bench = make(ONE)
    drive(bench, 'lidar', cloud, range(0, 500, 100))
    drive(bench, 'lidar', no_points, [500])
    assert summary(bench.report(), 'input lidar') == (WARN, 'dropped: 1 empty_cloud')
    drive(bench, 'lidar', no_points, [600, 700])
    statuses = bench.report()
    assert summary(statuses, 'input lidar') == (ERROR, 'all dropped: 2 empty_cloud')
    assert summary(statuses, 'sync') == (ERROR, 'lidar: dropped 2 empty_cloud')
    assert summary(statuses, 'output') == (STALE, 'no frame: lidar: dropped 2 empty_cloud')
    assert values(statuses['input lidar'])['dropped.empty_cloud'] == '3'
    drive(bench, 'lidar', cloud, [800])
    assert bench.report()['input lidar'].level == OK
    assert_adds_up(bench.runtime)


def test_where_some_are_used_not_all_are_dropped_though_more_were_dropped_than_came():
    bench = make(TWO)
    drive(bench, 'lidar', cloud, range(0, 500, 100))
    bench.report()
    drive(bench, 'lidar', cloud, [500])
    drive(bench, 'front', image, [400, 500])
    assert summary(bench.report(), 'input lidar') == (WARN, 'dropped: 2 missing:front')


def test_scans_of_which_no_point_is_in_a_voxel_are_a_warning_of_their_period():
    far = LidarConfig('lidar', topic='/lidar', voxel=BOX, extrinsics=(1200.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    bench = make(PipelineConfig(lidars=(far,), target_frame='base'))
    drive(bench, 'lidar', cloud, range(0, 1000, 100))
    num_points = cloud(0).width * 10
    assert summary(bench.report(), 'input lidar') == (
        WARN,
        f'10 of 10 frames have no voxel of lidar (points dropped so far: {num_points} outside): are its points in m, '
        'and do lidar.voxel.lower and upper, min_range, max_range and extrinsics fit?',
    )
    drive(bench, 'lidar', no_points, [1000])
    assert bench.report()['input lidar'].message.startswith('all dropped')


def test_messages_that_the_middleware_lost_are_a_warning_of_their_period():
    bench = make(ONE)
    drive(bench, 'lidar', cloud, range(0, 500, 100))
    bench.runtime.metrics.lost('lidar', 3)
    level, message = summary(bench.report(), 'input lidar')
    assert level == WARN
    assert message.startswith('3 of 8 lost on the way here; start what publishes them with ')
    assert message.endswith(str(dds_environment.PROFILE))
    assert bench.report()['input lidar'].level == OK


def test_messages_that_are_missing_by_their_stamps_are_a_warning_of_their_period():
    bench = make(ONE)
    drive(bench, 'lidar', cloud, range(0, 2000, 100))
    assert bench.report()['input lidar'].level == OK
    drive(bench, 'lidar', cloud, [2000, 2100, 2400, 2600, 2700])
    level, message = summary(bench.report(), 'input lidar')
    assert level == WARN
    assert message.startswith('3 of 8 lost on the way here; start what publishes them with ')
    drive(bench, 'lidar', cloud, range(2800, 3000, 100))
    assert bench.report()['input lidar'].level == OK


def test_what_came_while_the_node_was_not_active_is_not_lost():
    bench = make(ONE)
    drive(bench, 'lidar', cloud, range(0, 2000, 100))
    bench.runtime.metrics.resumed()
    drive(bench, 'lidar', cloud, range(2500, 3500, 100))
    assert summary(bench.report(), 'input lidar') == (OK, '10.0 Hz')


def test_several_publishers_are_named_where_messages_seem_to_be_missing():
    bench = make(ONE)
    bench.types['/lidar'] = ['sensor_msgs/msg/PointCloud2'] * 2
    drive(bench, 'lidar', cloud, sorted([*range(0, 4000, 100), *range(34, 4000, 100)]))
    level, message = summary(bench.report(), 'input lidar')
    assert level == WARN
    assert message == (
        '35 of 115 seem lost by their stamps; but its stamps are not evenly spaced, and /lidar has 2 publishers: give '
        'each a topic of its own'
    )


def test_a_status_names_its_node_in_full():
    statuses = [diagnostics.status(name, 'sync', OK, '', []) for name in ('/preprocess', '/robot/front/preprocess')]
    assert [(status.name, status.hardware_id) for status in statuses] == [
        ('preprocess: sync', 'preprocess'),
        ('robot/front/preprocess: sync', 'robot/front/preprocess'),
    ]


def test_qos_that_does_not_fit():
    bench = make(ONE)
    bench.runtime.metrics.incompatible('lidar', '/lidar: does not fit')
    statuses = bench.report()
    assert summary(statuses, 'input lidar') == (ERROR, '/lidar: does not fit')
    assert summary(statuses, 'sync') == (ERROR, '/lidar: does not fit')
    drive(bench, 'lidar', cloud, range(0, 500, 100))
    bench.runtime.metrics.subscriber_incompatible('~/fused: does not fit')
    statuses = bench.report()
    assert statuses['input lidar'].level == OK
    assert summary(statuses, 'output') == (WARN, '~/fused: does not fit')


#: The types of the publishers on a topic whose clouds come, and which of them the input's status names.
TYPES_BESIDE = {
    'the right one': (['sensor_msgs/msg/PointCloud2'], ''),
    'the right one twice': (['sensor_msgs/msg/PointCloud2'] * 2, ''),
    'another': (['sensor_msgs/msg/PointCloud2', 'sensor_msgs/msg/LaserScan'], 'sensor_msgs/msg/LaserScan'),
    'two others': (['b/msg/Two', 'sensor_msgs/msg/PointCloud2', 'a/msg/One', 'b/msg/Two'], 'a/msg/One, b/msg/Two'),
    'one that is no name': (['sensor_msgs/msg/PointCloud2', '\x1b[2J'], '\\x1b[2J'),
    'one of great length': (['n' * 10_000], f'{"n" * 300}… (10000 characters)'),
}


@pytest.mark.parametrize(('types', 'others'), TYPES_BESIDE.values(), ids=TYPES_BESIDE)
def test_other_types_are_named_while_the_right_one_comes(types, others):
    bench = make(ONE)
    bench.types['/lidar'] = types
    drive(bench, 'lidar', cloud, range(0, 1000, 100))
    statuses = bench.report()
    named = (WARN, f'/lidar also has publishers of {others}: give them a topic of their own')
    assert summary(statuses, 'input lidar') == (named if others else (OK, '10.0 Hz'))
    assert values(statuses['input lidar'])['other_types'] == others
    assert summary(statuses, 'sync') == (OK, 'aligned')


def test_while_the_node_is_not_active():
    bench = make(ONE)
    statuses = bench.report(active=False)
    assert summary(statuses, 'sync') == (ERROR, 'the node is not active')
    assert summary(statuses, 'input lidar') == (STALE, 'the node is not active')
    assert summary(statuses, 'output') == (STALE, 'no frame: the node is not active')


@pytest.mark.parametrize(('waiting', 'state'), [(1, 'normal'), (12, 'thinning')])
def test_back_pressure_for_upstream(waiting, state):
    config = dataclasses.replace(ONE, backpressure=BackpressureConfig(max_ready=16))
    bench = make(config)
    for i in range(waiting + 1):
        bench.put('lidar', cloud(100 * i))
    for i in range(2):
        bench.runtime.worker.step(0.0)
        bench.put('lidar', cloud(100 * (waiting + 1 + i)))
        bench.clock.advance(0.5)
    bench.runtime.worker.step(0.0)
    status = bench.runtime.diagnostics.backpressure()
    assert status.name == 'preprocess: backpressure'
    assert (status.level, status.message) == (OK if state == 'normal' else WARN, state)
    given = values(status)
    kept = waiting if state == 'normal' else waiting // 2
    assert (given['depth'], given['lidar.depth']) == (str(kept), str(waiting))
    assert float(given['saturation']) == pytest.approx(kept / 16, abs=1e-3)
    queue = bench.report()['queue']
    assert values(queue)['state'] == state
    assert queue.message == ('normal' if state == 'normal' else 'thinning: one target in 2 is kept')


def test_a_gpu_that_is_not_there_is_a_warning():
    bench = make(ONE)
    bench.runtime.pipeline.device_fault = 'cuda:0 failed: out of memory'
    statuses = bench.report()
    assert summary(statuses, 'compute') == (WARN, 'on the CPU: cuda:0 failed: out of memory')
    assert values(statuses['compute'])['device_fault'] == 'cuda:0 failed: out of memory'
