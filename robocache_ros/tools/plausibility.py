# SPDX-License-Identifier: Apache-2.0
"""Whether a topic carries what its type promises: a picture, distances in metres, readings of an IMU in their units."""

from __future__ import annotations

import itertools
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from robocache_core import ops, rotation
from robocache_core.config import DepthConfig
from robocache_core.encodings import DEPTH_ENCODINGS, encoding_of
from robocache_core.gpu_bytes import to_host
from robocache_core.samples import CameraFrame, DataError
from robocache_ros.bags import Bag, BagError
from robocache_ros.decode_depth import decode_compressed_depth, decode_depth
from robocache_ros.decode_image import Format

#: Messages of an IMU that are looked at.
MOST_READINGS = 1000
_GRAVITY = 9.8
#: Ratio of a median acceleration to gravity within which it is one, and units that give other ratios.
_NEAR = (0.8, 1.25)
_UNITS = {'g': 1.0, 'mg': 1000.0}
#: Median distance of an image beyond which it is not in metres: of depth cameras none sees so far.
_FURTHEST = 100.0
#: Full scale of the fastest gyroscopes, 2000 degrees a second, rad/s.
_FASTEST = 35.0


def is_depth(message: Any) -> bool:
    """Whether an Image or CompressedImage says that it holds distances."""
    encoding = getattr(message, 'encoding', None)
    if encoding is not None:
        return encoding in DEPTH_ENCODINGS
    name, _, compression = message.format[:200].partition(';')
    return name.strip() in DEPTH_ENCODINGS or 'compresseddepth' in f'{name}{compression}'.lower()


def why_no_depth(message: Any) -> str:
    """Return why an Image or CompressedImage cannot be taken as a depth camera's; empty where it can."""
    try:
        _decoded(message)
    except DataError as error:
        return str(error)
    return ''


def size_of_depth(message: Any) -> tuple[int, int]:
    """Return width and height of a depth image, which can be taken as one, px."""
    frame = _decoded(message)
    return frame.width, frame.height


def doubts_on_depth(message: Any) -> list[str]:
    """Return a line where the distances of a depth image, which can be taken as one, are not in metres."""
    frame = _decoded(message)
    depth, valid = ops.prepare_depth(
        to_host(frame.data),
        encoding=frame.encoding,
        width=frame.width,
        height=frame.height,
        step=frame.step,
        is_bigendian=frame.is_bigendian,
        out_width=frame.width,
        out_height=frame.height,
    )
    median = float(np.median(depth[valid].numpy())) if valid.any() else 0.0
    if median <= _FURTHEST:
        return []
    return [f'its {frame.encoding} seems to be in mm, not m: the median of its distances is {median:.4g}']


def _decoded(message: Any) -> CameraFrame:
    """A depth image, raw or compressed."""
    config = DepthConfig('depth')
    if hasattr(message, 'encoding'):
        return decode_depth(message, config)
    return decode_compressed_depth(message, config).decode()


def why_no_camera(message: Any) -> str:
    """Return why an Image or CompressedImage cannot be taken as a camera's; empty where it can."""
    encoding = getattr(message, 'encoding', None)
    try:
        if encoding is None:
            Format.parse(message.format)
        else:
            encoding_of(encoding)
    except DataError as error:
        return str(error)
    return ''


def doubts_on_imu(bag: Bag, topic: str) -> list[str]:
    """Return a line for each field of an IMU of a bag whose values are not in the units of sensor_msgs/Imu."""
    readings: list[Any] = []
    for _, _, raw in bag.messages({topic}):
        with suppress(BagError):
            readings.append(bag.deserialize(topic, raw))
        if len(readings) >= MOST_READINGS:
            break
    return doubts_on_readings(readings)


def doubts_on_readings(readings: list[Any]) -> list[str]:
    """Return a line for each field whose values, in messages of one IMU, are not in the units of sensor_msgs/Imu."""
    with np.errstate(over='ignore', invalid='ignore'):  # of readings beyond every sensor
        return [line for line in (_acceleration(readings), _angular_velocity(readings)) if line]


def _acceleration(readings: list[Any]) -> str:
    vectors = _vectors(readings, 'linear_acceleration')
    if not len(vectors):
        return ''
    median = float(np.median(np.linalg.norm(vectors, axis=1)))
    if _NEAR[0] < median / _GRAVITY < _NEAR[1]:
        return ''
    for unit, gravity in _UNITS.items():
        if _NEAR[0] < median / gravity < _NEAR[1]:
            return f'its linear_acceleration seems to be in {unit}, not m/s²: its median is {median:.4g}'
    return f'its linear_acceleration has a median of {median:.4g} m/s²; with gravity it would be near {_GRAVITY}'


def _angular_velocity(readings: list[Any]) -> str:
    vectors = _vectors(readings, 'angular_velocity')
    greatest = float(np.abs(vectors).max(initial=0.0))
    if greatest > _FASTEST:
        return f'its angular_velocity seems to be in degrees, not rad/s: it reaches {greatest:.4g}'
    turned, said = _turns(readings)
    if turned > 0.1 and 40 < said / turned < 75:
        return (
            f'its angular_velocity seems to be in degrees, not rad/s: it adds up to {said:.4g} '
            f'while the orientation turns by {turned:.4g} rad'
        )
    return ''


def _turns(readings: list[Any]) -> tuple[float, float]:
    """Return by how much the orientation turned, rad, and what the angular velocity says of the same time."""
    given = [r for r in readings if r.orientation_covariance[0] != -1 and r.angular_velocity_covariance[0] != -1]
    quaternions = np.array([(q.x, q.y, q.z, q.w) for q in (r.orientation for r in given)]).reshape(-1, 4)
    if len(given) < 2 or not np.isfinite(quaternions).all() or (np.linalg.norm(quaternions, axis=1) < 0.5).any():
        return 0.0, 0.0
    unit = rotation.normalized(quaternions)
    steps = rotation.product(rotation.inverse(unit[:-1]), unit[1:])
    angles = 2 * np.arctan2(np.linalg.norm(steps[:, :3], axis=1), np.abs(steps[:, 3]))
    stamps = [r.header.stamp.sec + r.header.stamp.nanosec / 1e9 for r in given]
    periods = np.array([b - a for a, b in itertools.pairwise(stamps)])
    speeds = np.array([np.hypot(np.hypot(w.x, w.y), w.z) for w in (r.angular_velocity for r in given)])
    return float(angles.sum()), float(np.nansum(speeds[:-1] * periods))


def _vectors(readings: list[Any], name: str) -> npt.NDArray[np.float64]:
    """The finite values ``[N, 3]`` of a field, where the IMU gives it."""
    given = (getattr(r, name) for r in readings if getattr(r, f'{name}_covariance')[0] != -1)
    vectors = np.array([(v.x, v.y, v.z) for v in given], np.float64).reshape(-1, 3)
    return vectors[np.isfinite(vectors).all(axis=1)]
