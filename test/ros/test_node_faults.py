# SPDX-License-Identifier: Apache-2.0
"""The node over a real ROS network. Bad messages, and faults of the code or a GPU: counted, reported and survived."""

import dataclasses

import pytest
import torch
from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import CompressedImage, Image
from support.robot import LIDAR, SUCCESS, Robot, cloud, header, image, jpeg

from robocache_core import ops
from robocache_core.device import Device
from robocache_ros.sources import SOURCES


def broken(change):
    message = cloud(1000)
    change(message)
    return message


def beyond_point_step(message):
    message.fields[3].offset = 14


def too_short(message):
    message.data = message.data[:-1]


def no_points(message):
    message.width, message.row_step, message.data = 0, 0, b''


def zero_stamp(message):
    message.header.stamp.sec = message.header.stamp.nanosec = 0


@pytest.mark.parametrize(
    ('message', 'reason'),
    [
        (broken(beyond_point_step), 'field_beyond_point_step'),
        (broken(too_short), 'data_too_short'),
        (broken(no_points), 'empty_cloud'),
        (broken(zero_stamp), 'zero_stamp'),
        (cloud(1000, ((float('nan'),) * 3,) * 2), 'all_non_finite'),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_bad_cloud_is_dropped_by_its_reason_and_the_node_goes_on(message, reason):
    with Robot(**LIDAR) as robot:
        robot.bring_up()
        robot.publish('/lidar', cloud(0))
        robot.until(lambda: len(robot.frames) == 1, 'the frame before')
        robot.publish('/lidar', message)
        robot.publish('/lidar', cloud(2000))
        robot.until(lambda: len(robot.frames) == 2, 'the frame after')
        counts = robot.settled('lidar', 3)
        assert counts.dropped == {reason: 1}
        assert counts.used == 2
        robot.until(lambda: robot.values('input lidar').get(f'dropped.{reason}') == '1', 'the reason in diagnostics')


@pytest.mark.parametrize(
    ('message', 'reason'),
    [
        (image(0, 'no_such_encoding'), 'unknown_encoding'),
        (Image(header=header(0), height=4, width=4, step=12, encoding='bgr8', data=bytes(47)), 'data_too_short'),
        (CompressedImage(header=header(0), format='jpeg', data=jpeg(0).data[:-40]), 'decode_failed'),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_bad_image_is_dropped_by_its_reason_and_the_node_goes_on(message, reason):
    compressed = isinstance(message, CompressedImage)
    topic = '/front/compressed' if compressed else '/front'
    parameters = LIDAR | {'cameras': ['front'], 'front__topic': topic}
    with Robot(**parameters) as robot:
        robot.bring_up()
        robot.publish(topic, message)
        robot.publish('/lidar', cloud(10))
        robot.publish(topic, jpeg(10) if compressed else image(10))
        robot.until(lambda: len(robot.frames) == 1, 'a frame')
        counts = robot.settled('front', 2)
        assert counts.dropped == {reason: 1}


def test_unforeseen_exception_is_logged_counted_and_survived(monkeypatch, capfd):
    with Robot(**LIDAR) as robot:
        robot.bring_up()
        source = dataclasses.replace(SOURCES['sensor_msgs/msg/PointCloud2'], decode=lambda message, config: 1 // 0)
        monkeypatch.setattr(robot.node.runtime.ingest, 'sources', {'lidar': source})
        robot.publish('/lidar', cloud(0))
        robot.until(lambda: robot.counts('lidar').dropped.get('internal_error') == 1, 'the drop')
        assert robot.node.runtime.worker.is_alive
        robot.until(lambda: robot.level('compute') == DiagnosticStatus.ERROR, 'compute in ERROR')
    assert 'ZeroDivisionError' in capfd.readouterr().err


def test_a_fault_in_compute_is_counted_and_nothing_leaks(monkeypatch):
    with Robot(**LIDAR) as robot:
        robot.bring_up()
        with monkeypatch.context() as patch:
            patch.setattr(ops, 'voxelize_sparse', lambda *args, **kwargs: 1 // 0)
            for ms in range(0, 500, 100):
                robot.deliver('lidar', cloud(ms))
            robot.until(lambda: robot.node.pipeline.targets.counts().dropped.get('internal_error') == 5, 'five drops')
        robot.deliver('lidar', cloud(500))
        robot.until(lambda: robot.frames, 'a frame')
        assert robot.node.trigger_deactivate() == SUCCESS
        assert robot.counts('lidar').held == robot.node.pipeline.num_held('lidar') == 0
        assert robot.counts('lidar').dropped == {'internal_error': 5}
        assert robot.node.pipeline.targets.counts().held == 0


class BrokenGpu(Device):
    """The CPU as a GPU that computes two frames and no more."""

    good = 2

    def has_failed(self, error):
        return isinstance(error, RuntimeError)

    def synchronize(self, voxels=()):
        self.good -= 1
        if self.good < 0:
            raise RuntimeError('an illegal memory access was encountered\nmore lines')


def test_a_gpu_that_fails_costs_no_frame_and_is_reported(capfd):
    with Robot(**LIDAR) as robot:
        robot.bring_up()
        robot.node.pipeline.device = BrokenGpu('plays a GPU')
        for ms in range(0, 600, 100):
            robot.deliver('lidar', cloud(ms))
        robot.until(lambda: len(robot.frames) == 6, 'all frames')
        assert [frame.sequence for frame in robot.frames] == list(range(6))
        assert robot.counts('lidar').used == 6
        robot.until(lambda: robot.level('compute') == DiagnosticStatus.WARN, 'compute in WARN')
        fault = 'cpu failed: RuntimeError: an illegal memory access was encountered'
        assert robot.statuses['compute'].message == f'on the CPU: {fault}'
        values = robot.values('compute')
        assert values['device'] == 'cpu'
        assert values['device_fault'] == values['device_reason'] == fault
        assert values['exceptions'] == '0'
        assert float(values['compute.lidar_p99_ms']) > 0
    assert capfd.readouterr().err.count(f'{fault}; frames are computed on the CPU from now on') == 1


@pytest.mark.skipif(torch.cuda.device_count() > 63, reason='cuda:63 is there')
def test_a_gpu_that_is_not_there_is_reported_and_frames_come_out(capfd):
    with Robot(**LIDAR, compute__device='cuda:63') as robot:
        robot.bring_up()
        robot.deliver('lidar', cloud(0))
        robot.until(lambda: robot.frames, 'a frame')
        robot.until(lambda: robot.level('compute') == DiagnosticStatus.WARN, 'compute in WARN')
        assert 'compute.device = cuda:63: there ' in robot.statuses['compute'].message
    assert 'frames are computed on the CPU: compute.device = cuda:63: there ' in capfd.readouterr().err
