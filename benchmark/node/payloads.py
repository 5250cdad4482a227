# SPDX-License-Identifier: Apache-2.0
"""What the publishers send: messages made and serialized once, left as files that the player reads.

``recorded``: three scans of an Ouster OS1-128 (6.3 MB each), three 1600x900 JPEGs and thirty readings of the Ouster's
IMU, where ``ROBOCACHE_DATA`` names their folder. ``simulated``: the same sizes, of the simulated robot. ``tiny``: small
ones, to see that all runs.
"""

from __future__ import annotations

import array
import hashlib
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Imu, PointCloud2, PointField

from benchmark import inputs
from benchmark.node.topics import CAMERA_TOPICS, CAMERAS, IMU_TOPIC, LIDAR_TOPIC, folder_of
from robocache_sim import sensors
from robocache_sim.trajectory import Trajectory

KINDS = ('recorded', 'simulated', 'tiny')
Messages = dict[str, Sequence[Any]]
_DATATYPES = {'float32': PointField.FLOAT32, 'uint32': PointField.UINT32, 'uint16': PointField.UINT16}
_NUM_READINGS = 30


def default_kind() -> str:
    """The best that there is here."""
    return 'simulated' if inputs.DATA is None else 'recorded'


def make(kind: str) -> Messages:
    """The messages by topic, without stamps; of each topic one after the other is sent, and then again."""
    if kind == 'recorded':
        return _messages(inputs.ouster_scans(), _recorded_images(), _recorded_readings())
    rings, columns, width, height = (128, 1024, 1600, 900) if kind == 'simulated' else (16, 256, 160, 90)
    scan = inputs.simulated_ouster_scan(rings, columns)
    return _messages(scan[None], _simulated_images(width, height), _simulated_readings())


def write(messages: Messages, folder: Path) -> None:
    """Serialize the messages into ``folder``."""
    for topic, of_topic in messages.items():
        place = folder_of(topic, folder)
        place.mkdir(parents=True, exist_ok=True)
        for number, message in enumerate(of_topic):
            (place / f'{number:03}.cdr').write_bytes(serialize_message(message))


def sha256(messages: Messages) -> str:
    """Of what the sensors gave, in order: not of the serialized messages, whose padding is any byte."""
    sha = hashlib.sha256()
    for message in itertools.chain.from_iterable(messages.values()):
        sha.update(np.array(_values(message)) if isinstance(message, Imu) else message.data)
    return sha.hexdigest()


def _values(message: Imu) -> list[float]:
    turn, force = message.angular_velocity, message.linear_acceleration
    return [turn.x, turn.y, turn.z, force.x, force.y, force.z]


def _messages(scans: npt.NDArray[np.uint8], images: list[bytes], readings: npt.NDArray[np.float64]) -> Messages:
    return {
        LIDAR_TOPIC: [_cloud(scan) for scan in scans],
        **{topic: [_image(jpeg, name)] for topic, jpeg, name in zip(CAMERA_TOPICS, images, CAMERAS, strict=True)},
        IMU_TOPIC: [_reading(values) for values in readings],
    }


def _recorded_images() -> list[bytes]:
    assert inputs.DATA is not None
    return [(inputs.DATA / f'nuscenes_cam_{name}.jpg').read_bytes() for name in CAMERAS]


def _recorded_readings() -> npt.NDArray[np.float64]:
    assert inputs.DATA is not None
    found = np.load(inputs.DATA / 'ouster_os1_128.npz')
    return np.hstack([found['angular_velocity'], found['linear_acceleration']])[:_NUM_READINGS]


def _world() -> sensors.World:
    return sensors.World(Trajectory(sensors.START_NS, speed=1.0, yaw_rate=0.5))


def _simulated_images(width: int, height: int) -> list[bytes]:
    jpegs = []
    for number, name in enumerate(CAMERAS):
        yaw = 2 * math.pi * number / len(CAMERAS)
        camera = sensors.Camera(
            _world(), name, (0.4, 0.0, 0.9), yaw, phase_ns=0, width=width, height=height, focal=width * 0.625
        )
        encoded, data = cv2.imencode('.jpg', camera.read(0).pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])
        if not encoded:
            raise RuntimeError('OpenCV cannot encode JPEG')
        jpegs.append(data.tobytes())
    return jpegs


def _simulated_readings() -> npt.NDArray[np.float64]:
    imu = sensors.Imu(_world(), rate_hz=100.0)
    readings = [imu.read(number) for number in range(_NUM_READINGS)]
    return np.array([[*reading.angular_velocity, *reading.linear_acceleration] for reading in readings])


def _cloud(scan: npt.NDArray[np.uint8]) -> PointCloud2:
    rings, row_step = scan.shape
    point_step = inputs.OUSTER_POINT.itemsize
    message = PointCloud2(
        height=rings,
        width=row_step // point_step,
        fields=[
            PointField(name=field.name, offset=field.offset, datatype=_DATATYPES[field.dtype], count=1)
            for field in inputs.OUSTER_FIELDS
        ],
        point_step=point_step,
        row_step=row_step,
        data=array.array('B', scan.tobytes()),
    )
    message.header.frame_id = 'lidar'
    return message


def _image(jpeg: bytes, name: str) -> CompressedImage:
    message = CompressedImage(format='jpeg', data=array.array('B', jpeg))
    message.header.frame_id = name
    return message


def _reading(values: npt.NDArray[np.float64]) -> Imu:
    message = Imu()
    message.header.frame_id = 'imu'
    message.orientation_covariance[0] = -1.0
    turn, force = message.angular_velocity, message.linear_acceleration
    turn.x, turn.y, turn.z, force.x, force.y, force.z = map(float, values)
    return message
