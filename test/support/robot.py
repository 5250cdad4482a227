# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node over a real ROS network: its inputs' messages, and a robot around it."""

import struct
import threading
import time

import cv2
import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, Imu, PointCloud2, PointField
from std_msgs.msg import Header

from robocache_ros.node import PreprocessNode
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


def camera_info(**changes):
    identity = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    projection = [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    return CameraInfo(header=header(0), width=4, height=4, k=identity, r=identity, p=projection, **changes)


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
