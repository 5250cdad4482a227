# SPDX-License-Identifier: Apache-2.0
"""An arm on the simulated robot, of which its encoders are there alone: joints that swing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from robocache_sim.sensors import SECOND_NS, World
from robocache_sim.trajectory import Array


@dataclass(frozen=True)
class ArmReading:
    """What the encoders read of the joints, in the order of ``Arm.joints``.

    ``position [N]`` rad, ``velocity [N]`` rad/s, ``effort [N]`` Nm.
    """

    stamp_ns: int
    position: Array
    velocity: Array
    effort: Array


@dataclass(frozen=True)
class Arm:
    """Joints that swing about their middle, each at its own pace.

    Attributes:
        rate_hz: readings a second.
        lead_ns: how long before the start its readings begin.
        resolution: step of the encoders, rad.
    """

    joints: ClassVar[tuple[str, ...]] = ('shoulder', 'elbow', 'wrist')
    #: Of each joint: how far it swings, rad; how fast, rad/s of the phase; and its inertia, kg m².
    _swings: ClassVar[Array] = np.array([[0.8, 1.1, 0.9], [1.2, 2.3, 0.3], [0.5, 4.1, 0.05]])

    world: World
    rate_hz: float = 100.0
    name: str = 'arm'
    lead_ns: int = SECOND_NS // 5
    resolution: float = 1e-4

    def stamp_ns(self, index: int) -> int:
        """Stamp of reading ``index``."""
        return self.world.trajectory.start_ns - self.lead_ns + round(index * SECOND_NS / self.rate_hz)

    def truth(self, stamp_ns: int) -> tuple[Array, Array, Array]:
        """Position, velocity and acceleration of the joints, ``[N]`` each, exact derivatives of each other."""
        span, pace, _ = self._swings.T
        phase = pace * (stamp_ns - self.world.trajectory.start_ns) / SECOND_NS
        return span * np.sin(phase), span * pace * np.cos(phase), -span * pace**2 * np.sin(phase)

    def read(self, index: int) -> ArmReading:
        """Reading ``index``."""
        stamp_ns = self.stamp_ns(index)
        position, velocity, acceleration = self.truth(stamp_ns)
        counted = np.rint(position / self.resolution) * self.resolution
        return ArmReading(stamp_ns, counted, velocity, self._swings[:, 2] * acceleration)
