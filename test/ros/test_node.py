# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node over a real ROS network: frames, faults, and what diagnostics say."""

import dataclasses
import struct
import threading
import time

import cv2
import numpy as np
import pytest
import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, Imu, PointCloud2, PointField
from std_msgs.msg import Header

from robocache_core import ops
from robocache_core.device import Device
from robocache_ros.node import PreprocessNode
from robocache_ros.rclpy_private import lifecycle_state
from robocache_ros.sources import SOURCES
from robocache_ros.subscriber import FusedSubscriber

SUCCESS = TransitionCallbackReturn.SUCCESS
START_NS = 1_700_000_000 * 10**9
MS = 10**6


def header(ms):
    message = Header(frame_id='lidar')
    message.stamp.sec, message.stamp.nanosec = divmod(START_NS + ms * MS, 10**9)
    return message


def cloud(ms, points=((1.0, 2.0, 0.5), (3.0, -2.0, 1.5))):
    message = PointCloud2(header=header(ms), height=1, width=len(points), point_step=16, row_step=16 * len(points))
    message.fields = [
        PointField(name=n, offset=4 * i, datatype=7, count=1) for i, n in enumerate(('x', 'y', 'z', 'intensity'))
    ]
    message.data = b''.join(struct.pack('<4f', *point, 7.0) for point in points)
    return message


def image(ms, encoding='bgr8'):
    return Image(header=header(ms), height=4, width=4, step=12, encoding=encoding, data=bytes(48))


def jpeg(ms):
    data = cv2.imencode('.jpg', np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
    return CompressedImage(header=header(ms), format='jpeg', data=data)


def imu(ms):
    return Imu(header=header(ms))


class Robot:
    """A node under test, publishers of its inputs, subscribers of its outputs, one executor thread."""

    def __init__(self, **parameters):
        rclpy.init()
        overrides = [Parameter(name.replace('__', '.'), value=value) for name, value in parameters.items()]
        self.node = PreprocessNode(parameter_overrides=overrides)
        self.peer = rclpy.create_node('peer')
        self.frames = []
        self.statuses = {}
        self.fused = FusedSubscriber(self.peer, self.frames.append, qos=1000)
        self.peer.create_subscription(DiagnosticArray, '/diagnostics', self._diagnosed, 10)
        self.publishers = {}
        self.executor = SingleThreadedExecutor()
        for node in (self.node, self.peer):
            self.executor.add_node(node)
        self.thread = threading.Thread(target=self.executor.spin)

    def _diagnosed(self, message):
        self.statuses.update({status.name.removeprefix('preprocess: '): status for status in message.status})

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exception):
        self.executor.shutdown()
        self.thread.join()
        self.node.release()
        self.node.destroy_node()
        self.peer.destroy_node()
        rclpy.shutdown()

    def bring_up(self):
        assert self.node.trigger_configure() == SUCCESS
        assert self.node.trigger_activate() == SUCCESS

    def publish(self, topic, message, qos=10):
        if topic not in self.publishers:
            self.publishers[topic] = self.peer.create_publisher(type(message), topic, qos)
            self.until(lambda: self.publishers[topic].get_subscription_count(), f'a subscription on {topic}')
        self.publishers[topic].publish(message)

    def deliver(self, name, message):
        """Publish on ``/<name>`` and wait until it is dealt with: what comes too fast may be lost, or thinned."""
        before = self.counts(name).received
        self.publish(f'/{name}', message)
        self.until(lambda: self.counts(name).received > before, 'the message')
        self.until(lambda: self.node.runtime.worker.num_waiting == 0, 'the worker')

    def until(self, condition, what, timeout_s=15.0):
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, f'waited {timeout_s} s for {what}'
            time.sleep(0.002)

    def counts(self, name):
        return self.node.pipeline.ledger[name].counts()

    @property
    def emitted(self):
        return self.node.pipeline.targets.counts().used

    def settled(self, name, received):
        """Wait until so many messages have arrived and none waits in an inbox; return the counts."""
        self.until(lambda: self.counts(name).received >= received, f'{received} messages on {name}')
        self.until(lambda: self.counts(name).held == self.node.pipeline.num_held(name), f'{name} to settle')
        return self.counts(name)

    def level(self, task):
        return self.statuses[task].level if task in self.statuses else None

    def values(self, task):
        self.until(lambda: task in self.statuses, f'diagnostics of {task}')
        return {pair.key: pair.value for pair in self.statuses[task].values}


LIDAR = {'lidars': ['lidar'], 'lidar__voxel__channels': ['count', 'max:intensity'], 'diagnostics_period': 0.1}


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


def camera_info(**changes):
    identity = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    projection = [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    return CameraInfo(header=header(0), width=4, height=4, k=identity, r=identity, p=projection, **changes)


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


def test_silence_is_explained_in_one_line():
    with Robot(**LIDAR) as robot:
        robot.bring_up()
        robot.until(lambda: 'blocker' in robot.values('sync') and robot.values('sync')['blocker'], 'a blocker')
        assert robot.values('sync')['blocker'] == 'lidar: no publisher on /lidar (PointCloud2)'
        assert robot.statuses['input lidar'].level == DiagnosticStatus.STALE


def test_missing_camera_is_named():
    with Robot(**LIDAR, cameras=['front']) as robot:
        robot.bring_up()
        for i in range(8):
            robot.publish('/lidar', cloud(100 * i))
        robot.until(lambda: 'front' in robot.values('sync')['blocker'], 'the camera in the blocker')
        assert 'no publisher on /front (Image)' in robot.values('sync')['blocker']


def test_qos_mismatch_is_diagnosed():
    with Robot(**LIDAR, **{'qos_overrides./lidar.subscription.reliability': 'reliable'}) as robot:
        robot.bring_up()
        profile = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
        robot.peer.create_publisher(PointCloud2, '/lidar', profile)
        robot.until(lambda: int(robot.values('input lidar')['qos.incompatible']) > 0, 'the QoS event')
        assert 'reliab' in robot.values('sync')['blocker'].lower()
        assert robot.statuses['input lidar'].level == DiagnosticStatus.ERROR


def test_every_transition_can_be_made_again():
    with Robot(**LIDAR) as robot:
        for _ in range(3):
            robot.bring_up()
            robot.publish('/lidar', cloud(0))
            robot.until(lambda: robot.frames, 'a frame')
            robot.frames.clear()
            assert robot.node.trigger_deactivate() == SUCCESS
            counts = robot.counts('lidar')
            assert counts.held == 0
            assert robot.node.trigger_cleanup() == SUCCESS
            assert robot.node.pipeline is None
        robot.until(lambda: robot.node.count_publishers('/preprocess/fused') == 0, 'the publisher to be gone')


def test_a_refused_configuration_leaves_the_node_unconfigured_and_says_why(capfd):
    with Robot(**LIDAR, sync__trigger='nothing') as robot:
        assert robot.node.trigger_configure() != SUCCESS
        assert lifecycle_state(robot.node) == 'unconfigured'
        robot.until(lambda: robot.level('configuration') == DiagnosticStatus.ERROR, 'the refusal in diagnostics')
        assert robot.statuses['configuration'].message.startswith("refused: sync.trigger = 'nothing'")
        robot.node.set_parameters([Parameter('sync.trigger', value='lidar')])
        assert robot.node.trigger_configure() == SUCCESS
    assert 'sync.trigger' in capfd.readouterr().err


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


def test_bag_loop_without_a_setting():
    with Robot(**LIDAR) as robot:
        robot.bring_up()
        for _ in range(2):
            for ms in range(0, 3000, 100):
                robot.deliver('lidar', cloud(ms))
        robot.until(lambda: robot.emitted == 60, 'all frames of both laps')
        assert robot.node.pipeline.epoch == 1
        assert robot.counts('lidar').used == 60


def test_deactivated_while_messages_wait_adds_up():
    with Robot(**LIDAR) as robot:
        robot.bring_up()
        for ms in range(0, 2000, 100):
            robot.publish('/lidar', cloud(ms))
        robot.until(lambda: robot.counts('lidar').received > 0, 'a message')
        assert robot.node.trigger_deactivate() == SUCCESS
        counts = robot.counts('lidar')
        assert counts.held == 0
        assert counts.received == counts.used + sum(counts.dropped.values())


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


def test_a_transition_that_fails_leaves_nothing_behind(monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError('injected')

    with Robot(**LIDAR, cameras=['front']) as robot:
        for target in ('robocache_ros.runtime.Reporter', 'robocache_ros.runtime.Diagnostics'):
            with monkeypatch.context() as patch:
                patch.setattr(target, fail)
                assert robot.node.trigger_configure() != SUCCESS
                assert robot.node.pipeline is None
                robot.until(lambda: not robot.node.count_publishers('/preprocess/fused'), 'no publisher')
        assert robot.node.trigger_configure() == SUCCESS
        with monkeypatch.context() as patch:
            patch.setattr('robocache_ros.subscriptions.routes', fail)
            worker = robot.node.runtime.worker
            assert robot.node.trigger_activate() != SUCCESS
        assert not worker.is_alive
        assert not [t for t in threading.enumerate() if t.name == 'robocache-worker']
        robot.bring_up()
        assert len([t for t in threading.enumerate() if t.name == 'robocache-worker']) == 1
        robot.until(lambda: robot.node.count_subscribers('/lidar') == 1, 'one subscription')


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


def blocker(robot):
    return robot.values('sync').get('blocker', '')


def test_a_topic_of_another_type_is_named_by_its_type():
    context = rclpy.Context()  # a participant of its own: one participant cannot have two types on a topic
    rclpy.init(context=context)
    stranger = rclpy.create_node('stranger', context=context)
    try:
        with Robot(**LIDAR) as robot:
            robot.bring_up()
            stranger.create_publisher(Imu, '/lidar', 10)
            robot.until(lambda: 'carries sensor_msgs/msg/Imu, not PointCloud2' in blocker(robot), 'the type')
    finally:
        stranger.destroy_node()
        rclpy.shutdown(context=context)


def test_a_stream_that_falls_silent_is_not_taken_for_a_wrong_clock_nor_the_other_way_round():
    with Robot(**LIDAR, cameras=['front']) as robot:
        robot.bring_up()
        robot.deliver('front', image(0))
        for ms in range(0, 4000, 200):
            robot.deliver('lidar', cloud(ms))
            time.sleep(0.1)
        robot.until(lambda: 'front: no message for' in blocker(robot), 'the silence in the blocker')
        for ms in range(4000, 20000, 200):
            robot.deliver('lidar', cloud(ms))
            robot.deliver('front', image(ms - 3500))
            if 'one clock is wrong' in blocker(robot):
                break
            time.sleep(0.05)
        assert 'the stamps of front are 3.5 s behind those of lidar' in blocker(robot)


def test_reports_go_on_after_a_quick_restart_of_the_worker():
    with Robot(**{**LIDAR, 'diagnostics_period': 0.05}) as robot:
        robot.bring_up()
        for _ in range(20):
            assert robot.node.trigger_deactivate() == SUCCESS
            assert robot.node.trigger_activate() == SUCCESS
        runtime = robot.node.runtime
        runtime.reporter._asked_ns = runtime.worker.started_ns - 1  # as if the request had gone with the old one
        robot.statuses.clear()
        robot.until(lambda: 'sync' in robot.statuses, 'a whole report')


def test_a_transition_that_the_state_does_not_have_is_refused_and_the_node_goes_on(capfd):
    """As a second launch file asks for it, or a manager after ``autostart``; on Jazzy it would end the process."""
    with Robot(**LIDAR) as robot:
        client = robot.peer.create_client(ChangeState, '/preprocess/change_state')
        assert client.wait_for_service(10.0)

        def change(number=0, label=''):
            future = client.call_async(ChangeState.Request(transition=Transition(id=number, label=label)))
            robot.until(future.done, 'an answer')
            return future.result().success

        assert not change(Transition.TRANSITION_ACTIVATE)
        assert change(Transition.TRANSITION_CONFIGURE)
        assert not change(Transition.TRANSITION_CONFIGURE)
        assert change(label='activate')
        for wrong in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP, 99, 255):
            assert not change(wrong)
        assert not change(label='configure')
        assert not change(Transition.TRANSITION_DEACTIVATE, label='no such transition')
        lines = [line for line in capfd.readouterr().err.splitlines() if 'change_state refused' in line]
        assert len(lines) == 8
        assert 'transition 99 is not possible while active; possible: deactivate (4)' in lines[4]
        robot.deliver('lidar', cloud(10))
        robot.until(lambda: len(robot.frames) == 1, 'a frame of the node, which is active still')
        assert change(Transition.TRANSITION_DEACTIVATE)
        assert change(Transition.TRANSITION_CLEANUP)


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
