# SPDX-License-Identifier: Apache-2.0
"""Wheel odometry of the simulated robot: its own integration of what the wheels turned, which slip."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from robocache_sim.sensors import SECOND_NS, World
from robocache_sim.trajectory import Array, Pose


@dataclass(frozen=True)
class OdometryReading:
    """The pose of ``base_link`` in the frame of the odometry, and its velocity in ``base_link``.

    ``linear [3]`` m/s, ``angular [3]`` rad/s.
    """

    stamp_ns: int
    pose: Pose
    linear: Array
    angular: Array


@dataclass(frozen=True)
class WheelOdometry:
    """Odometry that begins in the robot's pose at the start, and drifts away from there.

    Attributes:
        rate_hz: readings a second.
        lead_ns: how long before the start its readings begin.
        slip: standard deviation, over seeds, of the parts by which distances and turns are wrong.
    """

    world: World
    rate_hz: float = 50.0
    name: str = 'odom'
    lead_ns: int = SECOND_NS // 5
    slip: float = 0.03

    @cached_property
    def slips(self) -> tuple[float, float]:
        """Parts by which a distance and a turn are read too long (negative: too short)."""
        distance, turn = self.world.noise(f'{self.name}.slip', 0).normal(0, self.slip, 2)
        return float(distance), float(turn)

    def stamp_ns(self, index: int) -> int:
        """Stamp of reading ``index``."""
        return self.world.trajectory.start_ns - self.lead_ns + round(index * SECOND_NS / self.rate_hz)

    def poses(self, stamps_ns: npt.NDArray[np.int64]) -> Pose:
        """Poses of ``base_link`` as the wheels have it, ``[N]``, in closed form: the slips are constant."""
        trajectory, (far, round_) = self.world.trajectory, self.slips
        s = trajectory.arc(stamps_ns)
        # It drives along its true path as seen by who turns more: another circle.
        turn = trajectory.speed / trajectory.radius + round_ * trajectory.yaw_rate
        angle = turn * s
        half = np.sinc(angle / (2 * np.pi))  # of a straight drive too
        way = (1 + far) * trajectory.speed * s * half
        position = np.stack([way * np.cos(angle / 2), way * np.sin(angle / 2), np.zeros_like(s)], axis=-1)
        return Pose.planar(position, (1 + round_) * trajectory.yaw_rate * s)

    def read(self, index: int) -> OdometryReading:
        """Reading ``index``."""
        stamps_ns = np.array([self.stamp_ns(index)])
        motion, (far, round_) = self.world.trajectory.at(stamps_ns), self.slips
        (forward,) = np.swapaxes(motion.pose.rotation, -1, -2) @ motion.velocity[..., None]
        pose = self.poses(stamps_ns)
        return OdometryReading(
            int(stamps_ns[0]),
            Pose(pose.translation[0], pose.rotation[0]),
            (1 + far) * forward[:, 0],
            np.array([0.0, 0.0, (1 + round_) * motion.yaw_rate[0]]),
        )
