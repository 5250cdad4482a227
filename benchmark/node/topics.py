# SPDX-License-Identifier: Apache-2.0
"""The topics between the processes, and what every subscriber of them shares."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from rclpy.qos import QoSDurabilityPolicy, QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Imu, PointCloud2

CAMERAS = ('front', 'front_left', 'back')
LIDAR_TOPIC, IMU_TOPIC = '/lidar/points', '/imu/data'
CAMERA_TOPICS = tuple(f'/camera/{name}/image_raw/compressed' for name in CAMERAS)
#: The large messages of a frame, all of one stamp.
FRAME_TOPICS = {LIDAR_TOPIC: PointCloud2, **dict.fromkeys(CAMERA_TOPICS, CompressedImage)}
#: The IMU comes at this many times the rate of the frames.
IMU_PER_FRAME = 10
IMU_TOPICS = {IMU_TOPIC: Imu}

#: Where the relay publishes.
READY_TOPIC = '/relay/ready'

#: Messages that may wait at a subscriber other than the node, which has its own: what a good user sets.
FRAME_DEPTH, IMU_DEPTH = 10, 1000


def sensor_data(depth: int) -> QoSProfile:
    """Best effort, as drivers publish and as the node subscribes."""
    return _profile(QoSReliabilityPolicy.BEST_EFFORT, depth)


def reliable() -> QoSProfile:
    """As the node publishes its frames, and as they are subscribed to."""
    return _profile(QoSReliabilityPolicy.RELIABLE, 5)


def stamp_ns(message: Any) -> int:
    """The stamp of a message's header."""
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def folder_of(topic: str, folder: Path) -> Path:
    """Where the prepared messages of a topic are, in the folder of all."""
    return folder / topic.strip('/').replace('/', '.')


class Arrival(NamedTuple):
    """The way of a message to the callback, ns on the wall clock.

    Attributes:
        source_ns: when the publisher wrote it.
        received_ns: when the subscriber's DDS had it.
        called_ns: when the executor called back; the message is taken and deserialized between the two.
    """

    source_ns: int
    received_ns: int
    called_ns: int

    @staticmethod
    def of(info: dict[str, int], called_ns: int) -> Arrival:
        """From the second argument of a callback."""
        return Arrival(info['source_timestamp'], info['received_timestamp'], called_ns)


def _profile(reliability: QoSReliabilityPolicy, depth: int) -> QoSProfile:
    return QoSProfile(
        history=QoSHistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=reliability,
        durability=QoSDurabilityPolicy.VOLATILE,
    )
