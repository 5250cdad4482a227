# SPDX-License-Identifier: Apache-2.0
"""The runtime alone: messages in, frames out, everything counted, and no rclpy."""

import dataclasses
import struct
import subprocess
import sys
import threading

import pytest
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo
from support.runtime import BOX, FRONT, IMU, LIDAR, START_NS, assert_adds_up, cloud, header, image, imu, make

from robocache_core.config import DepthConfig, DepthVoxelConfig, PipelineConfig, QueueConfig, SyncConfig
from robocache_core.units import MS

ROBOT = PipelineConfig(lidars=(LIDAR,), cameras=(FRONT,), imus=(IMU,))
IDENTITY = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
PROJECTION = [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def drive(bench, end_ms, begin_ms=0):
    for ms in range(begin_ms, end_ms, 10):
        bench.clock.advance(0.01)
        bench.put('imu', imu(ms))
        if ms % 60 == 0:
            bench.put('front', image(ms))
        if ms % 100 == 0:
            bench.put('lidar', cloud(ms))
        bench.work()
        assert_adds_up(bench.runtime)


def test_it_needs_no_rclpy():
    program = 'import sys, robocache_ros.runtime; sys.exit(any(name.startswith("rclpy") for name in sys.modules))'
    assert subprocess.run([sys.executable, '-c', program], timeout=60).returncode == 0


def test_a_robot_in_frames_out():
    bench = make(ROBOT)
    drive(bench, 1000)
    stamps = [(frame.stamp_ns - START_NS) // MS for frame in bench.frames]
    assert stamps == list(range(100, 1000, 100))  # the window of the first target cannot be filled
    assert all(all(frame.valid.values()) for frame in bench.frames)
    assert set(bench.frames[0].tensors) == {
        'lidar.coords',
        'lidar.features',
        'lidar.counts',
        'front',
        'imu',
        'imu.valid',
    }
    assert bench.log.lines == []


def test_on_threads_it_adds_up_too():
    """Two threads of messages against the worker's own."""
    config = dataclasses.replace(ROBOT, imus=(dataclasses.replace(IMU, queue=QueueConfig(depth=20)),))
    bench = make(config)
    worker = bench.runtime.worker
    worker.start()
    threads = [
        threading.Thread(target=lambda: [bench.put('imu', imu(ms)) for ms in range(0, 2000, 5)]),
        threading.Thread(
            target=lambda: [
                bench.put(name, make_message(ms))
                for ms in range(0, 2000, 100)
                for name, make_message in (('lidar', cloud), ('front', image))
            ]
        ),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    done = threading.Event()
    bench.runtime.inboxes.put_event(done.set)
    assert done.wait(30)
    worker.stop()
    received = {name: account.counts().received for name, account in bench.runtime.pipeline.ledger.items()}
    assert received == {'lidar': 20, 'front': 20, 'imu': 400}
    assert_adds_up(bench.runtime)
    assert all(bench.runtime.pipeline.num_held(name) == 0 for name in received)


def test_a_calibration_takes_its_place_among_the_images():
    bench = make(PipelineConfig(cameras=(dataclasses.replace(FRONT, rectify=True),)))
    info = CameraInfo(header=header(0), width=4, height=4, k=IDENTITY, r=IDENTITY, p=PROJECTION)
    bench.put('front', image(0))
    bench.runtime.put_calibration('front', serialize_message(info))
    bench.put('front', image(100))
    bench.work()
    assert [frame.stamp_ns for frame in bench.frames] == [START_NS + 100 * MS]
    assert bench.runtime.pipeline.ledger['front'].counts().dropped == {'no_camera_info': 1}
    assert_adds_up(bench.runtime)


def test_a_clock_that_jumps_back_begins_a_new_epoch():
    bench = make(ROBOT)
    bench.clock.advance(10.0)  # ROS time goes with it, from START_NS
    drive(bench, 6000, 5000)
    bench.clock.now_ns -= 9_000 * MS
    bench.runtime.clock_jumped()
    bench.runtime.worker.step(0.0)
    assert bench.runtime.pipeline.epoch == 1
    assert_adds_up(bench.runtime)
    drive(bench, 3000, 2000)
    assert {frame.epoch for frame in bench.frames} == {0, 1}


def test_a_gpu_that_fails_is_logged():
    bench = make(ROBOT)
    bench.runtime.pipeline.on_degraded('cuda:0 failed: out of memory')
    assert bench.log.lines == [('warning', 'cuda:0 failed: out of memory; frames are computed on the CPU from now on')]


@pytest.mark.parametrize(
    ('sync', 'trigger'), [(SyncConfig(), 'lidar'), (SyncConfig(rate_hz=20.0), '20.0 Hz')], ids=['trigger', 'rate']
)
def test_the_configuration_in_the_log(sync, trigger):
    bench = make(dataclasses.replace(ROBOT, sync=sync))
    bench.runtime.log_configuration()
    assert [level for level, _ in bench.log.lines] == ['info', 'info']
    line, grid = bench.log.of('info')
    assert grid == 'lidar: 16 x 16 x 16 voxels, x -8 to 8, y -8 to 8, z -8 to 8 m'
    assert line.startswith(
        f'streams: lidar from /lidar (PointCloud2), front from /front (Image), imu from /imu (Imu); '
        f'trigger: {trigger}; device: '
    )


def test_the_log_says_how_far_a_grid_of_whole_voxels_reaches():
    """A point at 8.05 m counts, though upper is 8: 0.16 does not divide the span, and no voxel is cut."""
    box = dataclasses.replace(BOX, size=(0.16, 1.0, 1.0), lower=(-8.1, -8.0, -8.0))
    bench = make(PipelineConfig(lidars=(dataclasses.replace(LIDAR, voxel=box),)))
    bench.runtime.log_configuration()
    assert bench.log.of('info')[1] == 'lidar: 101 x 16 x 16 voxels, x -8.1 to 8.06, y -8 to 8, z -8 to 8 m'
    for ms, x in ((0, 8.05), (100, 8.07)):
        message = cloud(ms)
        message.data = struct.pack('<3f', x, 2.0, 0.5)
        bench.put('lidar', message)
    bench.work()
    assert [len(frame.tensors['lidar.counts']) for frame in bench.frames] == [1, 0]


def test_the_log_names_the_voxels_of_a_depth_camera_too():
    voxel = DepthVoxelConfig(output='dense', size=(1.0,) * 3, lower=(0.0,) * 3, upper=(4.0, 3.0, 2.0))
    bench = make(PipelineConfig(depths=(DepthConfig('near', voxel=voxel), DepthConfig('far'))))
    bench.runtime.log_configuration()
    assert bench.log.of('info')[1:] == ['near: 4 x 3 x 2 voxels, x 0 to 4, y 0 to 3, z 0 to 2 m']


def test_a_device_that_is_not_there_in_the_log():
    bench = make(ROBOT)
    bench.runtime.pipeline.device_fault = 'there is no GPU'
    bench.runtime.log_configuration()
    assert bench.log.of('warning') == ['frames are computed on the CPU: there is no GPU']
