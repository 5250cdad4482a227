# SPDX-License-Identifier: Apache-2.0
"""What keeps frames from coming, by stream and name, for tools that do not read sentences."""

import dataclasses

import pytest
from support.runtime import FRONT, LIDAR, cloud, image, make

from robocache_core.config import PipelineConfig
from robocache_core.ledger import Reason
from robocache_core.units import MS
from robocache_ros.blocker import Cause

FRONT_20_MS = dataclasses.replace(FRONT, tolerance_ns=20 * MS)
ONE = PipelineConfig(lidars=(LIDAR,))
TWO = PipelineConfig(lidars=(LIDAR,), cameras=(FRONT_20_MS,))


def drive(bench, first=0, last=1000, **makers):
    """A message of each stream every 100 ms, by the clock too; the report is of this time alone."""
    bench.report()
    for ms in range(first, last, 100):
        bench.clock.advance(0.1)
        for name, make_message in makers.items():
            bench.put(name, make_message(ms))
        bench.work()


def nothing(bench):
    pass


def of_another_type(bench):
    bench.types['/lidar'] = ['sensor_msgs/msg/Imu']


def without_a_message(bench):
    bench.types['/lidar'] = ['sensor_msgs/msg/PointCloud2']


def of_another_qos(bench):
    bench.runtime.metrics.incompatible('lidar', 'reliability')


def without_clock(bench):
    bench.runtime.diagnostics._now_ns = lambda: 0


def silent(bench):
    drive(bench, lidar=cloud)
    bench.report()
    bench.clock.advance(5.0)


def without_points(ms):
    message = cloud(ms)
    message.width = message.row_step = 0
    message.data = b''
    return message


def emptied(bench):
    drive(bench, lidar=without_points)


def failing(bench):
    bench.runtime.metrics.failed('Traceback\nRuntimeError: injected')


def without_camera(bench):
    drive(bench, lidar=cloud)
    bench.runtime.pipeline.give_up()


def of_another_clock(bench):
    drive(bench, lidar=cloud, front=lambda ms: image(ms - 450))


def damaged(bench):
    drive(bench, lidar=cloud, front=lambda ms: image(ms, encoding='cmyk'))
    bench.runtime.pipeline.give_up()


def overloaded(bench):
    bench.report()
    for ms in range(0, 500, 100):
        bench.put('lidar', cloud(ms))
    for ms in range(0, 3700, 100):  # 32 may wait: the first five give way
        bench.put('front', image(ms))
    bench.work()


def jumping(bench):
    drive(bench, lidar=lambda ms: cloud(ms + (0, 0, 37_000, 37_000)[ms // 100 % 4]))
    bench.runtime.metrics.frames = bench.runtime.diagnostics._last.frames


def late(bench):
    drive(bench, 0, 1000, lidar=cloud)
    bench.runtime.pipeline.give_up()
    bench.put('front', image(1050))
    bench.work()


@pytest.mark.parametrize(
    ('config', 'happens', 'faults'),
    [
        (ONE, nothing, [(Cause.NO_PUBLISHER, 'lidar')]),
        (ONE, of_another_type, [(Cause.OTHER_TYPE, 'lidar')]),
        (ONE, without_a_message, [(Cause.NO_MESSAGE, 'lidar')]),
        (ONE, of_another_qos, [(Cause.INCOMPATIBLE_QOS, 'lidar')]),
        (ONE, without_clock, [(Cause.NO_CLOCK, ''), (Cause.NO_PUBLISHER, 'lidar')]),
        (ONE, silent, [(Cause.SILENT, 'lidar')]),
        (ONE, emptied, [(Reason.EMPTY_CLOUD, 'lidar')]),
        (ONE, failing, [(Cause.EXCEPTION, '')]),
        (ONE, jumping, [(Reason.TIME_JUMP, 'lidar')]),
        (TWO, without_camera, [(Cause.NO_PUBLISHER, 'front')]),
        (TWO, of_another_clock, [(Cause.WRONG_CLOCK, 'front')]),
        (TWO, overloaded, [(Reason.INBOX_FULL, 'front')]),
        (TWO, damaged, [(Reason.UNKNOWN_ENCODING, 'front')]),
        (TWO, late, [(Cause.BEGAN_LATE, 'front')]),
    ],
    ids=lambda value: getattr(value, '__name__', ''),
)
def test_what_keeps_frames_from_coming_is_named(config, happens, faults):
    bench = make(config)
    happens(bench)
    bench.report()
    blockage = bench.runtime.diagnostics.blockage
    assert [(fault.reason, fault.stream) for fault in blockage.faults] == faults, blockage
    assert all(fault.text in blockage.text for fault in blockage.faults)


def test_nothing_is_named_where_frames_come_nor_another_stream_while_inactive():
    bench = make(ONE)
    drive(bench, lidar=cloud)
    bench.report()
    assert bench.runtime.diagnostics.blockage.faults == ()
    bench.report(active=False)
    assert [(fault.reason, fault.stream) for fault in bench.runtime.diagnostics.blockage.faults] == [('inactive', '')]


def test_targets_that_are_dropped_for_no_stream_are_named_by_their_reason():
    bench = make(ONE)
    bench.report()
    bench.runtime.pipeline.targets.receive()
    bench.runtime.pipeline.targets.drop(Reason.THINNED)
    bench.report()
    (fault,) = bench.runtime.diagnostics.blockage.faults
    assert (fault.reason, fault.stream) == (Reason.THINNED, '')


def test_names_are_of_a_fixed_set_and_unlike_the_reasons_of_drops():
    assert not {cause.value for cause in Cause} & {reason.value for reason in Reason}
