# SPDX-License-Identifier: Apache-2.0
"""What a topic's messages hold: layouts and their changes, frames, first readings of an IMU, poses, calibrations."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo as CameraInfoMsg

from robocache_core import jpeg, png
from robocache_core.samples import CameraInfo, DataError
from robocache_core.streams.lidar import LIVOX
from robocache_core.streams.message_vector import ODOMETRY
from robocache_core.text import printable
from robocache_core.tunable import ConfigError
from robocache_core.units import SECOND
from robocache_ros.cdr import deserialize
from robocache_ros.decode import MAX_NAME, POINT_DTYPES
from robocache_ros.decode_depth import open_depth
from robocache_ros.decode_image import decode_camera_info
from robocache_ros.frozen_poses import FrozenPose
from robocache_ros.message_types import Types
from robocache_ros.sources import SOURCES
from robocache_ros.tools.inspect.spread import Spread
from robocache_ros.tools.plausibility import MOST_READINGS, doubts_on_depth, is_depth, why_no_depth

CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
_CLASSES: dict[str, Any] = {
    **{name: source.message for name, source in SOURCES.items()},
    CAMERA_INFO: CameraInfoMsg,
    ODOMETRY: None,
}
#: Different layouts, frames and calibrations that are kept of a topic; scans whose point times are looked at.
_MOST, _SCANS = 16, 4
#: Characters of a name that are shown.
LONGEST = 60


@dataclass
class Layout:
    """A layout: when the first message of it was recorded, ns, and how many there are."""

    first_ns: int
    count: int = 0


class Contents:
    """What the messages of one topic hold, of a type that streams take or that calibrates a camera.

    Args:
        msgtype: full name of the type.
        message: its class.

    Attributes:
        layouts: by description; the first 16.
        changes: messages whose layout is not that of the one before.
        frames: messages by frame_id, as it was sent; the first 16.
        points: points of each cloud, or rays of each scan.
        readings: the first messages of an IMU.
        depth_doubts: a line for each thing that looks wrong with the first image of depth.
        scans: the first cloud of each layout that has points.
        frozen_pose: of odometry.
        calibrations: of a camera; the first 16 that differ.
        sizes: width and height of images, px; the first 16 that differ.
        undeserializable: messages that are none of their type.
    """

    def __init__(self, msgtype: str, message: Any) -> None:
        self._class, self._describe = message, _DESCRIPTIONS[msgtype]
        self._has_images = msgtype.endswith(('/Image', '/CompressedImage'))
        self._is_cloud, self._is_imu = msgtype.endswith('/PointCloud2'), msgtype.endswith('/Imu')
        self.layouts: dict[str, Layout] = {}
        self.changes = self.undeserializable = 0
        self.frames: dict[str, int] = {}
        self.points = Spread()
        self.readings: list[Any] = []
        self.depth_doubts: list[str] | None = None
        self.scans: list[Any] = []
        self.frozen_pose = FrozenPose()
        self.calibrations: list[CameraInfo] = []
        self.sizes: list[tuple[int, int]] = []
        self._last = ''

    def take(self, record_ns: int, raw: bytes) -> bool:
        """Look at a serialized message; return whether it is one of the type."""
        try:
            message = deserialize(raw, self._class)
        except ValueError:
            self.undeserializable += 1
            return False
        frame = message.header.frame_id[: MAX_NAME + 1]
        if frame in self.frames or len(self.frames) < _MOST:
            self.frames[frame] = self.frames.get(frame, 0) + 1
        self._take_layout(record_ns, self._describe(message, self), message)
        if self._is_imu and len(self.readings) < MOST_READINGS:
            self.readings.append(message)
        if self.depth_doubts is None and self._has_images and is_depth(message):
            self.depth_doubts = [] if why_no_depth(message) else doubts_on_depth(message)
        return True

    def _take_layout(self, record_ns: int, layout: str, message: Any) -> None:
        self.changes += bool(self._last) and layout != self._last
        self._last = layout
        if layout not in self.layouts:
            if len(self.layouts) == _MOST:
                return
            self.layouts[layout] = Layout(record_ns)
            if self._is_cloud and len(self.scans) < _SCANS:
                self.scans.append(message)
        self.layouts[layout].count += 1


def contents_of(msgtype: str, types: Types) -> Contents | None:
    """Return what looks into the messages of a type; None where they are not looked into, or ``types`` lacks it."""
    if msgtype not in _CLASSES:
        return None
    try:
        return Contents(msgtype, _CLASSES[msgtype] or types(msgtype))
    except ConfigError:
        return None


def _cloud(message: Any, contents: Contents) -> str:
    contents.points.take(message.width * message.height)
    fields = [
        (printable(field.name, LONGEST), POINT_DTYPES.get(field.datatype, f'type {field.datatype}'))
        for field in message.fields[:64]
    ]
    groups = (
        f'{" ".join(name for name, _ in group)} {kind}'
        for kind, group in itertools.groupby(fields, key=lambda field: field[1])
    )
    size = f'{message.width} x {message.height} points' if message.height > 1 else 'points'
    endian = ', big-endian' if message.is_bigendian else ''
    return f'{size} of {message.point_step} B{endian}: {", ".join(groups)}'


def _laser_scan(message: Any, contents: Contents) -> str:
    contents.points.take(len(message.ranges))
    first, last = math.degrees(message.angle_min), math.degrees(message.angle_max)
    intensities = ', intensities' if len(message.intensities) else ''
    return (
        f'{len(message.ranges)} rays, {first:.4g} to {last:.4g}°, '
        f'{message.range_min:.4g} to {message.range_max:.4g} m, '
        f'time_increment {message.time_increment:.4g} s{intensities}'
    )


def _multi_echo(message: Any, contents: Contents) -> str:
    most = max((len(each.echoes) for each in message.ranges), default=0)
    return f'{_laser_scan(message, contents)}, up to {most} echoes a ray'


def _livox(message: Any, contents: Contents) -> str:
    contents.points.take(len(message.points))
    return 'points: x y z float32, offset_time uint32, reflectivity tag line uint8'


def _image(message: Any, contents: Contents) -> str:
    _take_size(contents, message.width, message.height)
    return f'{message.width} x {message.height} {printable(message.encoding, LONGEST)}, step {message.step}'


def _compressed_image(message: Any, contents: Contents) -> str:
    data = np.frombuffer(message.data, np.uint8)
    start = data[:8].tobytes()
    form = printable(message.format, LONGEST)
    try:
        if is_depth(message):
            depth = open_depth(data, message.format)
            _take_size(contents, depth.width, depth.height)
            return f"{depth.width} x {depth.height} {depth.codec} of {depth.encoding}, format '{form}'"
        if start.startswith(jpeg.START):
            found: Any = jpeg.read_jpeg(data)
        elif start == png.START:
            found = png.read_png(data)
        else:
            return f"neither JPEG nor PNG, format '{form}'"
    except DataError as error:
        return f"damaged ({error.reason}), format '{form}'"
    _take_size(contents, found.width, found.height)
    return f"{found.width} x {found.height} {'JPEG' if start != png.START else 'PNG'}, format '{form}'"


def _imu(message: Any, contents: Contents) -> str:
    fields = ('orientation', 'angular_velocity', 'linear_acceleration')
    given = [name for name in fields if getattr(message, f'{name}_covariance')[0] != -1]
    return ', '.join(given) or 'no field'


def _odometry(message: Any, contents: Contents) -> str:
    stamp = message.header.stamp
    contents.frozen_pose.take(stamp.sec * SECOND + stamp.nanosec, message)
    return f"of '{printable(message.child_frame_id, LONGEST)}'"


def _camera_info(message: Any, contents: Contents) -> str:
    info = decode_camera_info(message)
    if info not in contents.calibrations and len(contents.calibrations) < _MOST:
        contents.calibrations.append(info)
    model = printable(info.distortion_model, LONGEST) or 'no model'
    return f'{info.width} x {info.height}, {model}, fx {info.k[0]:.6g} fy {info.k[4]:.6g}'


def _take_size(contents: Contents, width: int, height: int) -> None:
    if width and height and (width, height) not in contents.sizes and len(contents.sizes) < _MOST:
        contents.sizes.append((width, height))


#: By type, the function that describes a message's layout, and notes what else it holds.
_DESCRIPTIONS: dict[str, Callable[[Any, Contents], str]] = {
    'sensor_msgs/msg/PointCloud2': _cloud,
    'sensor_msgs/msg/LaserScan': _laser_scan,
    'sensor_msgs/msg/MultiEchoLaserScan': _multi_echo,
    **dict.fromkeys(LIVOX, _livox),
    'sensor_msgs/msg/Image': _image,
    'sensor_msgs/msg/CompressedImage': _compressed_image,
    'sensor_msgs/msg/Imu': _imu,
    CAMERA_INFO: _camera_info,
    ODOMETRY: _odometry,
}
