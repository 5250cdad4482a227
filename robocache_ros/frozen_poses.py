# SPDX-License-Identifier: Apache-2.0
"""Odometry whose pose stands still, to the bit, while the robot moves: it is not updated any more.

That it moves is said by the twist of the odometry, or by an IMU that lidars are deskewed by: that one is on the robot
itself, not on a part of it that turns.

No message is dropped for it: a robot whose wheels spin in the air sends such odometry, too.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, NamedTuple

from robocache_core.config import StreamConfig
from robocache_core.streams.message_vector import ODOMETRY
from robocache_core.units import SECOND

#: From which speed on a robot moves, m/s, and from which on it turns, rad/s: a twist has noise.
_MOVES, _TURNS = 0.1, 0.1
#: How long it moves before a pose is frozen, s, and how far, m, or by what angle, rad: poses may be sent several times.
_LEAST_S, _LEAST_WAY, _LEAST_TURN = 1.0, 1.0, 0.5
#: Longest step from message to message that is taken for motion, and from one of an IMU to one of odometry, s.
_LONGEST_STEP_S = 1.0
_IMU = 'sensor_msgs/msg/Imu'
REMEDY = 'restart what sends it, or take odometry whose pose moves: scans would be deskewed as if the robot stood still'


class Turning(NamedTuple):
    """How fast a robot turns by an IMU, rad/s."""

    imu: str
    stamp_ns: int
    rate: float


class FrozenPose:
    """Looks at the messages of one odometry, of class nav_msgs/msg/Odometry, in their order.

    Attributes:
        sentence: what is wrong with the last messages; empty while the pose moves.
        found: the last that was wrong, also where the pose moves again.
    """

    def __init__(self) -> None:
        self.sentence = self.found = ''
        self._pose: tuple[float, ...] = ()
        self._last_ns = 0
        self._restart()

    def _restart(self) -> None:
        self.sentence = ''
        self._count, self._moving_s, self._way, self._turn, self._imu = 0, 0.0, 0.0, 0.0, ''

    def take(self, stamp_ns: int, message: Any, turning: Turning | None = None) -> None:
        """Look at a message of a stamp; ``turning`` is what an IMU on the robot said last."""
        at, turned = message.pose.pose.position, message.pose.pose.orientation
        pose = at.x, at.y, at.z, turned.x, turned.y, turned.z, turned.w
        step_s, self._last_ns = (stamp_ns - self._last_ns) / SECOND, stamp_ns
        if pose != self._pose:
            self._pose = pose
            self._restart()
        elif 0 < step_s <= _LONGEST_STEP_S:
            is_known = turning is not None and abs(stamp_ns - turning.stamp_ns) <= _LONGEST_STEP_S * SECOND
            self._add(step_s, message.twist.twist, turning if is_known else None)

    def _add(self, step_s: float, twist: Any, turning: Turning | None) -> None:
        """Add what the robot moves in a step, at the pose of the message before."""
        speed = math.hypot(twist.linear.x, twist.linear.y, twist.linear.z)
        rate = math.hypot(twist.angular.x, twist.angular.y, twist.angular.z)
        if turning is not None and turning.rate >= _TURNS > rate:
            rate, self._imu = turning.rate, f' and {turning.imu}'
        if not (speed >= _MOVES or rate >= _TURNS):  # no comparison with NaN holds
            return
        self._count += 1
        self._moving_s += step_s
        self._way += speed * step_s
        self._turn += rate * step_s
        if self._moving_s >= _LEAST_S and (self._way >= _LEAST_WAY or self._turn >= _LEAST_TURN):
            self.sentence = self.found = (
                f'its pose is the same, to the bit, in {self._count + 1} messages, in which the robot moves by '
                f'{self._way:.3g} m and turns by {self._turn:.3g} rad within {self._moving_s:.3g} s by its '
                f'twist{self._imu}'
            )


class FrozenPoses:
    """Looks at the messages of all odometry among ``streams``; belongs to one thread."""

    def __init__(self, streams: Collection[StreamConfig]) -> None:
        sources = {stream.motion_source for stream in streams}
        self._imus = {stream.name for stream in streams if stream.message_type == _IMU and stream.name in sources}
        self._by_stream = {stream.name: FrozenPose() for stream in streams if stream.message_type == ODOMETRY}
        self._turning: Turning | None = None

    def take(self, name: str, stamp_ns: int, message: Any) -> None:
        """Look at a message of any stream."""
        if name in self._by_stream:
            self._by_stream[name].take(stamp_ns, message, self._turning)
        elif name in self._imus:
            rate = message.angular_velocity
            self._turning = Turning(name, stamp_ns, math.hypot(rate.x, rate.y, rate.z))

    def now(self, name: str) -> str:
        """What is wrong with the last messages of a stream, with the remedy; empty where nothing is."""
        return self._said(name, self._by_stream[name].sentence) if name in self._by_stream else ''

    def found(self) -> dict[str, str]:
        """By stream, what was wrong with it last, with the remedy; streams of which anything was."""
        return {name: self._said(name, each.found) for name, each in self._by_stream.items() if each.found}

    def _said(self, name: str, sentence: str) -> str:
        return f'{name}: {sentence}: {REMEDY}' if sentence else ''
