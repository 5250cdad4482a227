# SPDX-License-Identifier: Apache-2.0
"""Settings of what undoes the motion of the robot."""

from __future__ import annotations

from dataclasses import dataclass

from robocache_core.tunable import Checked, ConfigError, tunable
from robocache_core.units import MS, SECOND


@dataclass(frozen=True)
class EgoMotionConfig(Checked):
    """Which readings give the robot's motion from the time of a point to the target."""

    source: str = tunable(
        'none',
        'stream that undoes the motion from the time of a point to the target: an IMU, whose angular velocity gives '
        'the turning, or a vector of odometry, whose poses give turning and driving; or none',
    )
    gyro_bias: tuple[float, ...] = tunable(
        (0.0, 0.0, 0.0), "angular velocity of the IMU at rest, x y z in the IMU's frame", unit='rad/s', length=3
    )

    @property
    def is_on(self) -> bool:
        """Whether the motion is undone."""
        return self.source != 'none'


@dataclass(frozen=True)
class DeskewConfig(EgoMotionConfig):
    """How the motion during a scan, and from there to the target, is undone: also which field has the points' times."""

    time_field: str = tunable(
        'auto',
        "field of a point's time; auto: found by its name, and by the values of a scan; none: all points are of the "
        "scan's stamp, and the scan is moved from there to the target as a whole",
    )
    time_unit: str = tunable(
        'auto', 'unit of that field; auto: by its name or its values', choices=('auto', 's', 'ms', 'us', 'ns')
    )
    time_reference: str = tunable(
        'auto',
        'what the times count from: a stamp at the start of the scan, one at its end, or the origin of the stamps '
        '(absolute); auto: by their values',
        choices=('auto', 'start', 'end', 'absolute'),
    )
    scan_duration_ns: int = tunable(
        100 * MS,
        'time that a scan takes, or more (but with time_reference end); readings are awaited so long',
        unit='s',
        low=MS,
        high=SECOND,
    )

    def check(self, prefix: str) -> None:
        if self.time_field == 'none' and (self.time_unit, self.time_reference) != ('auto', 'auto'):
            raise ConfigError(
                f'{prefix}time_field = none: time_unit and time_reference must be auto, as there are no times'
            )

    @property
    def reach_ns(self) -> tuple[int, int]:
        """How long before and after its stamp a scan may be, ns, as far as the settings say."""
        if self.time_field == 'none':
            return 0, 0
        before = 0 if self.time_reference == 'start' else self.scan_duration_ns
        after = 0 if self.time_reference == 'end' else self.scan_duration_ns
        return before, after
