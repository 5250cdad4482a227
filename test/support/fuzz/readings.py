# SPDX-License-Identifier: Apache-2.0
"""Readings of an IMU and static transforms that are whole, and what is done to them."""

from __future__ import annotations

from random import Random
from typing import Any

from geometry_msgs.msg import Quaternion, Vector3
from sensor_msgs.msg import Imu
from support import bags
from support.fuzz.changes import Changes, header, number, text

PERIOD_NS = 10_000_000
FRAMES = ('base_link', 'mast', 'lidar', 'camera')

IMU = Changes()
TRANSFORMS = Changes()


def imu(rng: Random, serial: int) -> Imu:
    """A reading of a robot that moves."""
    message = Imu(header=header(serial, 'imu', PERIOD_NS))
    message.angular_velocity = Vector3(x=rng.gauss(0, 1), y=rng.gauss(0, 1), z=rng.gauss(0, 1))
    message.linear_acceleration = Vector3(x=rng.gauss(0, 5), y=rng.gauss(0, 5), z=9.81)
    message.orientation = random_quaternion(rng)
    return message


def random_quaternion(rng: Random) -> Quaternion:
    """A turn of length 1."""
    x, y, z, w = (rng.gauss(0, 1) for _ in range(4))
    length = (x * x + y * y + z * z + w * w) ** 0.5
    return Quaternion(x=x / length, y=y / length, z=z / length, w=w / length)


@IMU('non_finite')
def numbers_changed(rng: Random, message: Any) -> None:
    part = rng.choice((message.angular_velocity, message.linear_acceleration))
    for axis in rng.sample('xyz', rng.choice((1, 3))):
        setattr(part, axis, rng.choice((number(rng), 3e38, -3e38)))


@IMU('non_finite', 'no_orientation')
def orientation_of_another_length(rng: Random, message: Any) -> None:
    factor = rng.choice((0.0, 5e-324, 1e-160, 1e-30, 1.0001, 2.0, 1e160, 1e300, number(rng)))
    for axis in 'xyzw':
        setattr(message.orientation, axis, getattr(message.orientation, axis) * factor)


@IMU('non_finite', 'no_orientation')
def orientation_changed(rng: Random, message: Any) -> None:
    for axis in rng.sample('xyzw', rng.choice((1, 2, 4))):
        setattr(message.orientation, axis, number(rng))


@IMU('no_orientation', 'no_angular_velocity', 'no_linear_acceleration')
def covariances_changed(rng: Random, message: Any) -> None:
    for name in ('orientation', 'angular_velocity', 'linear_acceleration'):
        getattr(message, f'{name}_covariance')[0] = rng.choice((-1.0, 0.0, 0.0, number(rng)))


def transforms(rng: Random, serial: int) -> Any:
    """Static transforms that join all frames to one tree, as they are read from a bag."""
    edges = []
    for at in range(1, len(FRAMES)):
        q = random_quaternion(rng)
        place = rng.uniform(-3, 3), rng.uniform(-3, 3), rng.uniform(0, 2)
        edges.append((rng.choice(FRAMES[:at]), FRAMES[at], place, (q.x, q.y, q.z, q.w)))
    rng.shuffle(edges)
    return bags.transforms(*edges)


@TRANSFORMS('no_transform')
def transform_left_out(rng: Random, message: Any) -> None:
    message.transforms = [item for item in message.transforms if rng.random() < 0.7]


@TRANSFORMS('no_transform')
def frames_renamed(rng: Random, message: Any) -> None:
    for item in message.transforms:
        if rng.random() < 0.3:
            item.child_frame_id = rng.choice((text(rng), *FRAMES, '/lidar'))
        if rng.random() < 0.3:
            item.header.frame_id = rng.choice((text(rng), *FRAMES))


@TRANSFORMS('no_transform')
def place_changed(rng: Random, message: Any) -> None:
    for item in message.transforms:
        setattr(item.transform.translation, rng.choice('xyz'), number(rng))


@TRANSFORMS('no_transform')
def rotation_changed(rng: Random, message: Any) -> None:
    for item in message.transforms:
        factor = rng.choice((1.0, 1.004, 0.996, 0.0, 2.0, number(rng)))
        for axis in 'xyzw':
            setattr(item.transform.rotation, axis, getattr(item.transform.rotation, axis) * factor)


@TRANSFORMS('no_transform')
def transforms_many(rng: Random, message: Any) -> None:
    message.transforms = [*message.transforms, *transforms(rng, 0).transforms * rng.choice((1, 30))]
