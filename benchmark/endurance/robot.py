# SPDX-License-Identifier: Apache-2.0
"""A robot with small payloads: lidar 10 Hz, deskewed by an IMU of 100 Hz, a JPEG camera 15 Hz, a raw camera 10 Hz."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image, Imu, PointCloud2, PointField
from std_msgs.msg import Header

from robocache_core.units import MS, SECOND

_IDENTITY = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]
_NUM_POINTS = 256
PARAMETERS: dict[str, Any] = {
    'lidars': ['lidar'],
    'cameras': ['front', 'rear'],
    'imus': ['imu'],
    'target_frame': 'base_link',
    'lidar': {
        'topic': '/lidar',
        'extrinsics': list(_IDENTITY),
        'voxel': {'size': [1.0] * 3, 'lower': [-16.0] * 3, 'upper': [16.0] * 3, 'channels': ['count', 'mean:z']},
        'deskew': {'source': 'imu', 'time_unit': 'ns', 'time_reference': 'start'},
    },
    'front': {'topic': '/front', 'width': 32, 'height': 24, 'message': 'compressed'},
    'rear': {'topic': '/rear', 'width': 32, 'height': 24, 'message': 'raw'},
    'imu': {'topic': '/imu', 'extrinsics': list(_IDENTITY), 'window_size': 10, 'window_period': 0.01},
}
RATES_HZ = {'lidar': 10, 'front': 15, 'rear': 10, 'imu': 100}


def write_params(file: Path) -> None:
    """Write the node's parameters."""
    content = {'/**/preprocess': {'ros__parameters': PARAMETERS}}
    file.write_text(yaml.safe_dump(content, sort_keys=False, default_flow_style=None))


def second() -> list[tuple[int, str]]:
    """Offsets, ns, and streams of the messages of one second, in order."""
    return sorted((i * SECOND // rate, name) for name, rate in RATES_HZ.items() for i in range(rate))


class Messages:
    """Serialized messages of each stream; their content repeats itself, their stamps are set."""

    def __init__(self, variants: int = 7) -> None:
        self._raw = {
            name: [bytes(serialize_message(make(np.random.default_rng(i)))) for i in range(variants)]
            for name, make in MAKERS.items()
        }

    def stamped(self, name: str, number: int, stamp_ns: int) -> bytes:
        """Message ``number``: its stamp comes first in it, behind four bytes that every message has."""
        raw = self._raw[name][number % len(self._raw[name])]
        return b''.join((raw[:4], struct.pack('<iI', *divmod(stamp_ns, SECOND)), raw[12:]))

    def between(self, begin_s: int, end_s: int, base_ns: int) -> Iterator[tuple[str, int, bytes]]:
        """Yield stream, stamp and message of the whole seconds from ``begin_s`` to ``end_s`` after ``base_ns``."""
        for at_s in range(begin_s, end_s):
            for number, (offset_ns, name) in enumerate(second()):
                stamp_ns = base_ns + at_s * SECOND + offset_ns
                yield name, stamp_ns, self.stamped(name, at_s + number, stamp_ns)


def _cloud(rng: np.random.Generator) -> PointCloud2:
    points = np.zeros(_NUM_POINTS, [('xyz', '<f4', 3), ('t', '<u4')])
    points['xyz'] = rng.uniform(-16, 16, (_NUM_POINTS, 3))
    points['t'] = np.linspace(0, 99 * MS, _NUM_POINTS)
    fields = [PointField(name=name, offset=4 * i, datatype=7, count=1) for i, name in enumerate('xyz')]
    fields.append(PointField(name='t', offset=12, datatype=6, count=1))
    return PointCloud2(
        header=Header(frame_id='lidar'), height=1, width=_NUM_POINTS, fields=fields, point_step=16,
        row_step=16 * _NUM_POINTS, data=points.tobytes(),
    )  # fmt: skip


def _jpeg(rng: np.random.Generator) -> CompressedImage:
    pixels = cv2.resize(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), (64, 48))
    return CompressedImage(
        header=Header(frame_id='front'), format='jpeg', data=cv2.imencode('.jpg', pixels)[1].tobytes()
    )


def _image(rng: np.random.Generator) -> Image:
    pixels = rng.integers(0, 256, 48 * 64 * 3, dtype=np.uint8)
    return Image(header=Header(frame_id='rear'), height=48, width=64, step=192, encoding='bgr8', data=pixels.tobytes())


def _imu(rng: np.random.Generator) -> Imu:
    message = Imu(header=Header(frame_id='imu'))
    message.angular_velocity.z, message.linear_acceleration.z = float(rng.uniform(-1, 1)), 9.81
    return message


MAKERS = {'lidar': _cloud, 'front': _jpeg, 'rear': _image, 'imu': _imu}
MESSAGE_TYPES = {'lidar': PointCloud2, 'front': CompressedImage, 'rear': Image, 'imu': Imu}
