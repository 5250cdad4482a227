# SPDX-License-Identifier: Apache-2.0
"""The simulated robot's motion and poses in closed form, so that the truth is exact.

Frames: ``map`` is fixed, z up, the ground at z = 0; ``base_link`` stands on the ground, x forward, y left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Pose:
    """Pose of a child frame in its parent, or many: ``point_in_parent = rotation @ point_in_child + translation``.

    ``translation [..., 3]`` m, ``rotation [..., 3, 3]``.
    """

    translation: Array
    rotation: Array

    @staticmethod
    def planar(translation: Array, yaw: Array | float) -> Pose:
        """Pose turned about z alone by ``yaw [...]`` rad; its zeros are exact, which ``rotate`` relies on."""
        cos, sin = np.cos(yaw), np.sin(yaw)
        zero, one = np.zeros_like(cos), np.ones_like(cos)
        rows = ((cos, -sin, zero), (sin, cos, zero), (zero, zero, one))
        return Pose(np.asarray(translation, float), np.stack([np.stack(row, axis=-1) for row in rows], axis=-2))

    def __matmul__(self, child: Pose) -> Pose:
        """Chain: the pose of ``child`` in the parent of ``self``."""
        translation = (self.rotation @ child.translation[..., None])[..., 0] + self.translation
        return Pose(translation, self.rotation @ child.rotation)

    def apply(self, points: Array) -> Array:
        """``points [..., 3]`` of the child frame, in the parent frame."""
        return (self.rotation @ points[..., None])[..., 0] + self.translation

    @property
    def quaternion(self) -> Array:
        """Unit quaternion ``[..., 4]`` (x y z w), w >= 0 where it is not 0."""
        r = self.rotation
        xx, yy, zz = r[..., 0, 0], r[..., 1, 1], r[..., 2, 2]
        x = np.stack(
            [1 + xx - yy - zz, r[..., 0, 1] + r[..., 1, 0], r[..., 0, 2] + r[..., 2, 0], r[..., 2, 1] - r[..., 1, 2]],
            -1,
        )
        y = np.stack([x[..., 1], 1 - xx + yy - zz, r[..., 1, 2] + r[..., 2, 1], r[..., 0, 2] - r[..., 2, 0]], -1)
        z = np.stack([x[..., 2], y[..., 2], 1 - xx - yy + zz, r[..., 1, 0] - r[..., 0, 1]], -1)
        w = np.stack([x[..., 3], y[..., 3], z[..., 3], 1 + xx + yy + zz], -1)
        # Each is the quaternion times four times one of its elements: that of the largest is well conditioned.
        candidates = np.stack([x, y, z, w], -2)
        largest = np.argmax(np.stack([x[..., 0], y[..., 1], z[..., 2], w[..., 3]], -1), -1)
        best = np.take_along_axis(candidates, largest[..., None, None], -2)[..., 0, :]
        unit: Array = best / np.linalg.norm(best, axis=-1, keepdims=True)
        return np.where(unit[..., 3:] < 0, -unit, unit)


@dataclass(frozen=True)
class Motion:
    """The robot at N instants, in ``map``; all exact derivatives of each other.

    ``position``, ``velocity``, ``acceleration [N, 3]`` m, m/s, m/s²; ``yaw``, ``yaw_rate``, ``yaw_acceleration [N]``
    rad, rad/s, rad/s².
    """

    position: Array
    velocity: Array
    acceleration: Array
    yaw: Array
    yaw_rate: Array
    yaw_acceleration: Array

    @property
    def pose(self) -> Pose:
        """Pose of ``base_link`` in ``map``."""
        return Pose.planar(self.position, self.yaw)


@dataclass(frozen=True)
class Trajectory:
    """A circle about the origin, driven with a speed that rises and falls, so that nothing in the motion is constant.

    With ``s(t) = t - swell / rate * sin(rate * t)``, the arc's angle is ``speed / radius * s - pi/2`` and the yaw is
    ``yaw_rate * s``. The robot is omnidirectional: speed and yaw rate are free of each other; with
    ``yaw_rate = speed / radius`` it looks along its path. With both at 0 it stands at (0, -radius), yaw 0.

    Attributes:
        start_ns: stamp of t = 0.
        speed: mean speed along the circle, counter-clockwise, m/s.
        yaw_rate: mean yaw rate, rad/s.
        radius: of the circle, m.
        swell: part by which the speed and the yaw rate swing about their means.
        swell_rate: angular frequency of that swing, rad/s.
    """

    start_ns: int
    speed: float
    yaw_rate: float
    radius: float = 4.5
    swell: float = 0.4
    swell_rate: float = 2 * math.pi / 5

    def arc(self, stamps_ns: npt.NDArray[np.int64]) -> Array:
        """``s`` at ``stamps_ns [N] int64``, s."""
        t = (stamps_ns - self.start_ns) * 1e-9
        arc: Array = t - self.swell / self.swell_rate * np.sin(self.swell_rate * t)
        return arc

    def at(self, stamps_ns: npt.NDArray[np.int64]) -> Motion:
        """Motion at ``stamps_ns [N] int64``, before the start and after any end too."""
        t = (stamps_ns - self.start_ns) * 1e-9
        wave = self.swell_rate * t
        s = self.arc(stamps_ns)
        ds = 1 - self.swell * np.cos(wave)
        dds = self.swell * self.swell_rate * np.sin(wave)

        angle = self.speed / self.radius * s - math.pi / 2
        zero = np.zeros_like(t)
        outward = np.stack([np.cos(angle), np.sin(angle), zero], axis=-1)
        along = np.stack([-np.sin(angle), np.cos(angle), zero], axis=-1)
        speed = (self.speed * ds)[:, None]
        return Motion(
            position=self.radius * outward,
            velocity=speed * along,
            acceleration=(self.speed * dds)[:, None] * along - speed**2 / self.radius * outward,
            yaw=self.yaw_rate * s,
            yaw_rate=self.yaw_rate * ds,
            yaw_acceleration=self.yaw_rate * dds,
        )
