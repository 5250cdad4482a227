# SPDX-License-Identifier: Apache-2.0
"""Malformed and extreme messages, sent over DDS: all are accounted for, and a good one still gives a frame."""

from __future__ import annotations

from random import Random

from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from support.fuzz import COUNT, fuzzed, on_the_wire
from support.fuzz.changes import bytes_changed
from support.fuzz.driven import CAMERA, GYRO, LIDAR, is_line
from support.robot import MS, START_NS, SUCCESS, Robot, camera_info, cloud, image, imu, jpeg

from robocache_core.ledger import Reason

PARAMETERS = LIDAR | CAMERA | GYRO | {
    'lidars': ['lidar', 'scan'],
    'lidar.voxel.channels': ['count', 'max:intensity'],
    'scan.topic': '/scan',
    'scan.message': 'LaserScan',
    'scan.required': False,
    'scan.extrinsics': LIDAR['lidar.extrinsics'],
    'cameras': ['camera', 'jpeg'],
    'camera.rectify': True,
    'camera.required': False,
    'jpeg.topic': '/jpeg/compressed',
    'jpeg.required': False,
    'jpeg.max_pixels': 1 << 20,
    'publish_images': True,
    'diagnostics_period': 0.1,
}  # fmt: skip

#: By topic, the kind of its messages, and the stream that takes them; a CameraInfo is counted by none.
TOPICS = {
    '/lidar': ('PointCloud2', 'lidar'),
    '/scan': ('LaserScan', 'scan'),
    '/camera_info': ('CameraInfo', ''),
    '/camera': ('Image', 'camera'),
    '/jpeg/compressed': ('CompressedImage', 'jpeg'),
    '/imu': ('Imu', 'imu'),
}
STREAMS = [stream for _, stream in TOPICS.values() if stream]
VIEWS = {
    '/preprocess/voxels/lidar': PointCloud2,
    '/preprocess/voxels/scan': PointCloud2,
    '/preprocess/image/camera': Image,
    '/preprocess/image/jpeg': Image,
    '/preprocess/image/camera/camera_info': CameraInfo,
}
#: Streams of which the good ones are.
GOOD = ('camera', 'jpeg', 'imu', 'lidar')
#: Messages of a topic that are sent before the node has taken them; its inbox takes more.
AT_ONCE = 10


def arrived(robot: Robot) -> dict[str, int]:
    """By stream, messages that came to the node, or that DDS says it lost on the way."""
    inputs = robot.node.runtime.metrics.inputs
    return {name: robot.counts(name).received + inputs[name].lost for name in STREAMS}


def send_all(robot: Robot) -> None:
    """Send COUNT messages of each kind; see them arrive, and the worker take them."""
    sent = dict.fromkeys(STREAMS, 0)
    for serial in range(COUNT):
        for topic, (kind, stream) in TOPICS.items():
            message = fuzzed(kind, serial).message
            if on_the_wire(message) is not None:
                robot.publish(topic, message, qos=100)
                sent.update({stream: sent[stream] + 1} if stream else {})
        if serial % AT_ONCE == 0 or serial == COUNT - 1:
            robot.until(lambda: arrived(robot) == sent, f'message {serial}')
            robot.until(lambda: not len(robot.node.runtime.inboxes), f'the worker at message {serial}')


def send_damaged(robot: Robot) -> None:
    """Send bytes that were changed behind the sender; see them arrive too."""
    sent = arrived(robot)
    for serial in range(COUNT):
        for topic, (kind, stream) in TOPICS.items():
            raw = on_the_wire(fuzzed(kind, serial).message)
            if raw is not None:
                robot.publishers[topic].publish(bytes_changed(Random(serial), raw))
                sent.update({stream: sent[stream] + 1} if stream else {})
        if serial % AT_ONCE == 0 or serial == COUNT - 1:
            robot.until(lambda: arrived(robot) == sent, f'damaged message {serial}')
            robot.until(lambda: not len(robot.node.runtime.inboxes), f'the worker at damaged message {serial}')


def send_good_ones(robot: Robot, ms: int) -> None:
    """Send one of each that a frame needs; see them arrive, and the worker take them."""
    before = arrived(robot)
    for topic, make in (('/camera', image), ('/jpeg/compressed', jpeg), ('/imu', imu), ('/lidar', cloud)):
        robot.publish(topic, make(ms), qos=100)
    robot.until(lambda: all(arrived(robot)[name] > before[name] for name in GOOD), f'the good ones at {ms} ms')
    robot.until(lambda: not len(robot.node.runtime.inboxes), f'the worker at {ms} ms')


def test_the_node_survives_them_all_and_loses_none() -> None:
    with Robot(**{name.replace('.', '__'): value for name, value in PARAMETERS.items()}) as robot:
        robot.bring_up()
        shown = {topic: [] for topic in VIEWS}
        for topic, kind in VIEWS.items():
            robot.peer.create_subscription(kind, topic, shown[topic].append, 10)
        send_all(robot)
        send_damaged(robot)
        for name in STREAMS:
            counts = robot.settled(name, 0)
            print(f'{name}: {counts}')
            assert Reason.INTERNAL_ERROR not in counts.dropped
        assert robot.node.runtime.metrics.failures == 0
        assert all(is_line(each.message) for each in robot.node.runtime.drops.explanations.values())
        robot.until(lambda: all(shown.values()), 'a message on each topic for viewers')
        robot.publish('/camera_info', camera_info(), qos=100)
        later_ms = 3_600_000
        for ms in range(later_ms, later_ms + 2000, 100):  # more than the stamps that a jump waits for
            send_good_ones(robot, ms)
        robot.until(lambda: robot.frames and robot.frames[-1].stamp_ns >= START_NS + later_ms * MS, 'a good frame')
        good = robot.frames[-1]
        assert good.tensors['lidar.counts'].sum() == 2
        assert robot.node.trigger_deactivate() == SUCCESS
