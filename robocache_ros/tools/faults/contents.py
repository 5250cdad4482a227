# SPDX-License-Identifier: Apache-2.0
"""Faults of what messages hold: values, units, layouts, encodings and sizes."""

from __future__ import annotations

import dataclasses
import math
from abc import abstractmethod
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from robocache_core.time_field import is_named_as_time
from robocache_core.tunable import tunable
from robocache_ros.tools.faults.fault import Change, Fault, Message
from robocache_ros.tools.faults.points import field_values, point_rows
from robocache_ros.tools.faults.serialized import decoded, edited

CLOUD, SCAN, IMU = 'sensor_msgs/msg/PointCloud2', 'sensor_msgs/msg/LaserScan', 'sensor_msgs/msg/Imu'
IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'

#: What 1 is in another unit, by quantity: m/s² in g, rad/s in degrees a second.
_UNITS = {'acceleration': ('linear_acceleration', 1 / 9.80665), 'angular_velocity': ('angular_velocity', 180 / math.pi)}


@dataclass(frozen=True)
class Contents(Fault):
    """Changes messages of ``types``, member by member."""

    def change(self, message: Message, random: Random) -> Change | None:
        found = decoded(message)
        detail = None if found is None else self.edit(found, random)
        return None if detail is None else Change((message._replace(raw=edited(message, found)),), detail)

    @abstractmethod
    def edit(self, found: Any, random: Random) -> str | None:
        """Change a message in place, and return what was done; None where nothing can be done to it."""


@dataclass(frozen=True)
class WrongUnit(Contents):
    """Values are in another unit."""

    types = (IMU, CLOUD)

    of: str = tunable(
        'acceleration',
        'which values: of an IMU its acceleration (in g) or its angular_velocity (in degrees a second), of a cloud the '
        'times of its points (integers in units of 1000, others of 0.001)',
        choices=(*_UNITS, 'times'),
    )

    def edit(self, found: Any, random: Random) -> str | None:
        if self.of == 'times':
            return _scale_times(found) if hasattr(found, 'point_step') else None
        name, factor = _UNITS[self.of]
        vector = getattr(found, name, None)
        if vector is None:
            return None
        for axis in 'xyz':
            setattr(vector, axis, getattr(vector, axis) * factor)
        return f'{name} times {factor:.6g}'


def _scale_times(cloud: Any) -> str | None:
    times = [field for field in cloud.fields if is_named_as_time(field.name)]
    cloud.data = cloud.data.copy()
    for field in times:
        values = field_values(cloud, field)
        if values is None:
            return None
        values[...] = values.astype(np.int64) // 1000 if values.dtype.kind in 'iu' else values * 1000
    return f'{", ".join(field.name for field in times)} in another unit' if times else None


@dataclass(frozen=True)
class NotFinite(Contents):
    """Readings are NaN, as of a sensor that fails."""

    types = (IMU, CLOUD, SCAN)

    points: float = tunable(1.0, 'part of the points of a cloud or scan, chosen at random', low=0.0, high=1.0)

    def edit(self, found: Any, random: Random) -> str | None:
        if hasattr(found, 'angular_velocity'):
            for vector in (found.angular_velocity, found.linear_acceleration):
                vector.x = vector.y = vector.z = math.nan
            return 'all readings'
        if hasattr(found, 'ranges'):
            found.ranges = found.ranges.copy()
            values = [found.ranges]
        else:
            found.data = found.data.copy()
            values = [field_values(found, field) for field in found.fields if field.name in ('x', 'y', 'z')]
        if not values or any(each is None or each.dtype.kind != 'f' for each in values):
            return None
        lost = np.random.default_rng(random.getrandbits(64)).random(values[0].shape) < self.points
        for each in values:
            each[lost] = np.nan
        return f'{int(lost.sum())} of {lost.size} points'


@dataclass(frozen=True)
class Empty(Contents):
    """Messages hold no points and no pixels."""

    types = (CLOUD, SCAN, IMAGE, COMPRESSED)

    def edit(self, found: Any, random: Random) -> str:
        for name in ('data', 'ranges', 'intensities'):
            if hasattr(found, name):
                setattr(found, name, getattr(found, name)[:0])
        for name in ('width', 'row_step', 'step'):
            if hasattr(found, name):
                setattr(found, name, 0)
        return 'empty'


@dataclass(frozen=True)
class Layout(Contents):
    """A cloud has another layout: its fields are elsewhere, and one of them may be gone."""

    types = (CLOUD,)

    pad: int = tunable(8, 'bytes ahead of the fields of each point', low=0, high=65_536)
    without: str = tunable('', 'name of a field that it no longer has')

    def edit(self, found: Any, random: Random) -> str | None:
        points = point_rows(found)
        if points is None:
            return None
        found.data = np.pad(points, ((0, 0), (self.pad, 0))).reshape(-1)
        found.point_step += self.pad
        found.row_step = found.width * found.point_step
        found.fields = [
            dataclasses.replace(field, offset=field.offset + self.pad)
            for field in found.fields
            if field.name != self.without
        ]
        return f'point_step {found.point_step}' + (f', no {self.without}' if self.without else '')
