# SPDX-License-Identifier: Apache-2.0
"""Messages of numbers that are whole, and what is done to them: joints, poses, fixes, joysticks and distances."""

from __future__ import annotations

from random import Random
from typing import Any

from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import JointState, Joy, NavSatFix, Range
from support.fuzz.changes import COUNTS, Changes, header, number, single, text
from support.fuzz.readings import PERIOD_NS, random_quaternion

NAMES = ['shoulder', 'elbow', 'wrist']

JOINTS, POSE, FIX, JOY, RANGE = Changes(), Changes(), Changes(), Changes(), Changes()


def joints(rng: Random, serial: int) -> JointState:
    """Three joints in any order."""
    names = rng.sample(NAMES, 3)
    message = JointState(header=header(serial, 'arm', PERIOD_NS), name=names)
    message.position, message.velocity = ([rng.gauss(0, 1) for _ in names] for _ in range(2))
    return message


@JOINTS('wrong_joints', 'wrong_size')
def names_changed(rng: Random, message: Any) -> None:
    names = list(message.name)
    for _ in range(rng.choice((1, 2, 500))):
        names.insert(rng.randrange(len(names) + 1), rng.choice((text(rng), *NAMES)))
    message.name = names


@JOINTS('wrong_joints', 'wrong_size')
def names_left_out(rng: Random, message: Any) -> None:
    message.name = message.name[: rng.randrange(4)]


@JOINTS('wrong_size')
def array_of_another_length(rng: Random, message: Any) -> None:
    name = rng.choice(('position', 'velocity', 'effort'))
    setattr(message, name, [1.0] * rng.choice([n for n in COUNTS if n < 1000]))


@JOINTS('non_finite', 'wrong_size')
def joint_numbers_changed(rng: Random, message: Any) -> None:
    message.position = [number(rng) for _ in message.name]


def pose(rng: Random, serial: int) -> PoseStamped:
    """A pose anywhere near."""
    message = PoseStamped(header=header(serial, 'odom', PERIOD_NS))
    message.pose.position.x = rng.gauss(0, 100)
    message.pose.orientation = random_quaternion(rng)
    return message


@POSE('non_finite')
def place_of_pose_changed(rng: Random, message: Any) -> None:
    setattr(message.pose.position, rng.choice('xyz'), number(rng))


@POSE('non_finite', 'no_orientation')
def turn_of_pose_changed(rng: Random, message: Any) -> None:
    factor = rng.choice((0.0, 5e-324, 1e-160, -1.0, 2.0, 1e160, number(rng)))
    for axis in 'xyzw':
        setattr(message.pose.orientation, axis, getattr(message.pose.orientation, axis) * factor)


def fix(rng: Random, serial: int) -> NavSatFix:
    """A place on the globe."""
    message = NavSatFix(header=header(serial, 'gps', PERIOD_NS))
    message.latitude, message.longitude, message.altitude = rng.uniform(-90, 90), rng.uniform(-180, 180), 500.0
    return message


@FIX('non_finite')
def place_of_fix_changed(rng: Random, message: Any) -> None:
    setattr(message, rng.choice(('latitude', 'longitude', 'altitude')), number(rng))


@FIX('no_fix')
def status_changed(rng: Random, message: Any) -> None:
    message.status.status = rng.choice((-128, -1, 0, 2, 127))


def joy(rng: Random, serial: int) -> Joy:
    """A joystick of four axes and two buttons."""
    return Joy(header=header(serial, '', PERIOD_NS), axes=[rng.uniform(-1, 1) for _ in range(4)], buttons=[0, 1])


@JOY('wrong_size')
def number_of_axes_changed(rng: Random, message: Any) -> None:
    message.axes = [0.5] * rng.choice([n for n in COUNTS if n < 1000])


@JOY('wrong_size')
def number_of_buttons_changed(rng: Random, message: Any) -> None:
    message.buttons = [1] * rng.randrange(4)


@JOY('non_finite', 'wrong_size')
def axes_changed(rng: Random, message: Any) -> None:
    message.axes = [single(rng) for _ in message.axes]


@POSE('non_finite', 'no_orientation')
def parts_of_turn_changed(rng: Random, message: Any) -> None:
    for axis in rng.sample('xyzw', rng.choice((1, 4))):
        setattr(message.pose.orientation, axis, number(rng))


@FIX()
def covariance_of_fix_changed(rng: Random, message: Any) -> None:
    message.position_covariance[rng.randrange(9)] = number(rng)


def distance(rng: Random, serial: int) -> Range:
    """A sonar's."""
    message = Range(header=header(serial, 'sonar', PERIOD_NS), min_range=0.25, max_range=4.0)
    message.range = rng.uniform(0.5, 3.5)
    return message


@RANGE('non_finite', 'out_of_range')
def distance_changed(rng: Random, message: Any) -> None:
    message.range = single(rng)


@RANGE('out_of_range')
def limits_of_distance_changed(rng: Random, message: Any) -> None:
    setattr(message, rng.choice(('min_range', 'max_range')), single(rng))


@RANGE()
def beam_changed(rng: Random, message: Any) -> None:
    message.field_of_view = single(rng)
