# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node over a real ROS network: frames in step with their inputs, whatever time does."""

import dataclasses
import threading
import time

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import CameraInfo, Image
from support.robot import LIDAR, MS, START_NS, Robot, camera_info, cloud, image, imu, jpeg

from robocache_core import ops
from robocache_ros.runtime import Runtime


def drive(robot, milliseconds):
    for ms in range(0, milliseconds, 10):
        robot.publish('/imu', imu(ms))
        if ms % 60 == 0:
            robot.publish('/front/compressed', jpeg(ms))
        if ms % 100 == 0:
            robot.publish('/lidar', cloud(ms))
        time.sleep(0.002)


def test_a_robot_in_frames_out():
    parameters = LIDAR | {
        'cameras': ['front'],
        'front__topic': '/front/compressed',
        'front__width': 32,
        'front__height': 16,
        'imus': ['imu'],
        'imu__window_size': 5,
        'imu__window_period': 0.01,
    }
    with Robot(**parameters) as robot:
        robot.bring_up()
        robot.until(lambda: robot.peer.count_publishers('/preprocess/fused') > 0, 'the fused topic')
        drive(robot, 1000)
        robot.until(lambda: len(robot.frames) >= 8, 'eight frames')
        frame = robot.frames[3]
        assert set(frame.tensors) == {'lidar.coords', 'lidar.features', 'lidar.counts', 'front', 'imu', 'imu.valid'}
        assert frame.tensors['lidar.features'][:, 1].tolist() == [7.0, 7.0]
        assert frame.tensors['front'].shape == (3, 16, 32)
        assert frame.tensors['imu'].shape == (5, 6)
        assert all(frame.valid.values())
        stamps = [f.stamp_ns for f in robot.frames]
        assert set(np.diff(stamps)) == {100 * MS}
        for name in ('lidar', 'front', 'imu'):
            counts = robot.settled(name, 1)
            assert counts.used > 0
            # The first target is before the window can be filled.
            assert set(counts.dropped) <= {'unselected', 'missing:imu'}
        robot.until(
            lambda: robot.statuses.get('sync') and robot.statuses['sync'].level == DiagnosticStatus.OK, 'sync OK'
        )
        assert robot.values('compute')['backend'] in ('cpu', 'reference')
        assert int(robot.values('output')['frames']) > 0


def test_no_image_is_lost_while_its_reader_decodes_another(monkeypatch):
    """However few may wait for the worker: those that give way there are counted, by the middleware they are not."""
    goes_on, put = threading.Event(), Runtime.put

    def put_slowly(runtime, name, raw):
        return dataclasses.replace(put(runtime, name, raw), here=lambda: goes_on.wait(30))

    monkeypatch.setattr(Runtime, 'put', put_slowly)
    camera = {'front__topic': '/front/compressed', 'front__queue__depth': 1, 'front__queue__policy': 'latest'}
    with Robot(cameras=['front'], **camera) as robot:
        robot.bring_up()
        for ms in range(0, 1000, 50):
            robot.publish('/front/compressed', jpeg(ms))
            time.sleep(0.005)
        goes_on.set()
        robot.until(lambda: robot.counts('front').received == 20, 'all images')


def test_images_are_rectified_once_their_camera_info_has_come():
    parameters = LIDAR | {
        'cameras': ['front'],
        'front__topic': '/front/image_raw',
        'front__rectify': True,
        'front__width': 4,
        'front__height': 4,
    }
    with Robot(**parameters) as robot:
        robot.bring_up()
        robot.publish('/front/image_raw', image(0))
        robot.until(lambda: robot.counts('front').dropped == {'no_camera_info': 1}, 'the drop')
        robot.until(
            lambda: robot.values('input front').get('dropped.no_camera_info') == '1', 'the reason in diagnostics'
        )
        robot.publish('/front/camera_info', camera_info(binning_x=2, binning_y=2))
        for ms in range(100, 1000, 100):
            robot.publish('/front/image_raw', image(ms))
            if 'camera_info_binning' in robot.counts('front').dropped:
                break
            time.sleep(0.1)
        assert 'camera_info_binning' in robot.counts('front').dropped
        robot.publish('/front/camera_info', camera_info())
        for ms in range(1000, 3000, 100):
            robot.publish('/lidar', cloud(ms))
            robot.publish('/front/image_raw', image(ms))
            if robot.frames:
                break
            time.sleep(0.1)
        robot.until(lambda: robot.frames, 'a frame')
        assert robot.frames[0].valid == {'lidar': True, 'front': True}


def test_bag_loop_without_a_setting():
    with Robot(**LIDAR) as robot:
        robot.bring_up()
        for _ in range(2):
            for ms in range(0, 3000, 100):
                robot.deliver('lidar', cloud(ms))
        robot.until(lambda: robot.emitted == 60, 'all frames of both laps')
        assert robot.node.pipeline.epoch == 1
        assert robot.counts('lidar').used == 60


def test_a_worker_that_wakes_up_late_works_everything_off(monkeypatch):
    awake = threading.Event()
    voxelize = ops.voxelize_sparse

    def voxelize_once_awake(*args, **kwargs):
        assert awake.wait(30)
        return voxelize(*args, **kwargs)

    monkeypatch.setattr(ops, 'voxelize_sparse', voxelize_once_awake)
    with Robot(**LIDAR) as robot:
        robot.bring_up()
        for index in range(20):  # two seconds of scans
            robot.publish('/lidar', cloud(100 * index))
            robot.until(lambda index=index: robot.counts('lidar').received > index, 'the scan')
        awake.set()
        robot.until(lambda: robot.emitted == 20, 'all frames')
        assert robot.counts('lidar').used == 20
        robot.until(lambda: len(robot.frames) == 20, 'all frames over DDS')


def test_slow_compute_thins_the_trigger_and_comes_back(monkeypatch):
    slow = threading.Event()
    voxelize = ops.voxelize_sparse

    def voxelize_slowly(*args, **kwargs):
        time.sleep(0.05 if slow.is_set() else 0.0)
        return voxelize(*args, **kwargs)

    monkeypatch.setattr(ops, 'voxelize_sparse', voxelize_slowly)
    with Robot(**LIDAR) as robot:
        robot.bring_up()
        slow.set()
        for ms in range(0, 3000, 10):
            robot.publish('/lidar', cloud(ms))
            time.sleep(0.01)
        robot.until(lambda: robot.values('queue')['state'] == 'thinning', 'thinning')
        assert robot.level('queue') == DiagnosticStatus.WARN
        assert robot.node.pipeline.targets.counts().dropped['thinned'] > 0
        slow.clear()
        for ms in range(3000, 4000, 10):
            robot.publish('/lidar', cloud(ms))
            time.sleep(0.01)
        robot.until(lambda: robot.values('queue')['state'] == 'normal', 'the normal state again')
        counts = robot.settled('lidar', 1)
        assert counts.received == counts.used + robot.node.pipeline.num_held('lidar') + sum(counts.dropped.values())
        before = len(robot.frames)
        robot.publish('/lidar', cloud(5000))
        robot.until(lambda: len(robot.frames) > before, 'a frame at full rate')


def test_clock_and_stamps_jump_back_in_either_order():
    for clock_first in (True, False):
        with Robot(**LIDAR) as robot:
            robot.bring_up()
            pipeline = robot.node.pipeline

            def jump(pipeline=pipeline, robot=robot):
                robot.node.runtime.inboxes.put_event(lambda: pipeline.clock_jumped(START_NS))

            for ms in range(0, 3000, 100):
                robot.deliver('lidar', cloud(ms))
            robot.until(lambda: robot.emitted == 30, 'the first lap')
            if clock_first:
                jump()
                robot.deliver('lidar', cloud(3000))  # still the lap before
            for ms in range(0, 3000, 100):
                robot.deliver('lidar', cloud(ms))
                if ms == 100 and not clock_first:
                    jump()
            robot.until(lambda: robot.emitted == 60, 'the second lap')
            assert pipeline.epoch == 1


def test_a_prepared_image_comes_with_its_calibration_in_the_optical_frame():
    parameters = {'cameras': ['front'], 'front__topic': '/front/image_raw', 'front__width': 8, 'front__height': 2}
    with Robot(**parameters, publish_images=True) as robot:
        robot.bring_up()
        shown = {'image': [], 'info': []}
        robot.peer.create_subscription(Image, '/preprocess/image/front', shown['image'].append, 10)
        robot.peer.create_subscription(CameraInfo, '/preprocess/image/front/camera_info', shown['info'].append, 10)
        robot.publish('/front/camera_info', camera_info())
        for ms in range(0, 5000, 100):
            robot.publish('/front/image_raw', image(ms))
            if all(shown.values()):
                break
            time.sleep(0.05)
        robot.until(lambda: all(shown.values()), 'both')
        assert {message.header.frame_id for messages in shown.values() for message in messages} == {'lidar'}
        assert (shown['info'][0].width, shown['info'][0].height) == (8, 2)
        assert shown['info'][0].k.tolist() == [2.0, 0.0, 0.5, 0.0, 0.5, -0.25, 0.0, 0.0, 1.0]
