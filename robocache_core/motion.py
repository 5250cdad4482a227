# SPDX-License-Identifier: Apache-2.0
"""How the robot moved: poses of the target frame at given instants, from a gyroscope or from odometry.

A pose is that of the target frame, which is fixed to the robot, at an instant, in the target frame at the target time.
Everything is computed in double from integer nanoseconds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from robocache_core import rotation
from robocache_core.buffer import bracket
from robocache_core.ledger import Reason
from robocache_core.odometry_steps import Steps, check_steps
from robocache_core.rotation import Array
from robocache_core.samples import DataError
from robocache_core.units import MS, SECOND

Stamps = npt.NDArray[np.int64]

_IDENTITY = (0.0, 0.0, 0.0, 1.0)


def motion_from_gyro(
    stamps_ns: Stamps,
    angular_velocity: Array,
    instants_ns: Stamps,
    target_ns: int,
    *,
    imu: Array | None = None,
    bias: Sequence[float] = (0.0, 0.0, 0.0),
    velocity: Array | None = None,
    tolerance_ns: int = 100 * MS,
) -> Array:
    """Integrate angular velocity: poses ``[P, 3, 4]`` of the target frame, in itself at the target time.

    Between readings the angular velocity is linear; a step from one to the next, or to an instant between them, turns
    by the exponential of its value at the middle.
    A gyroscope gives no translation: without ``velocity`` the origin of the target frame stands still.

    Args:
        stamps_ns: ``[S]`` of the readings, ascending.
        angular_velocity: ``[S, 3]`` rad/s in the IMU's frame.
        instants_ns: ``[P]``, ascending.
        target_ns: target time.
        imu: rotation ``[3, 3]`` of the IMU in the target frame; None: they are turned alike.
        bias: angular velocity that the IMU gives at rest, rad/s.
        velocity: ``[3]``, or ``[S, 3]`` at the readings, of the target frame's origin in the target frame, m/s.
        tolerance_ns: greatest distance between the readings on either side of an instant.

    Raises:
        DataError: ``no_motion``: an instant, or the target time, has no reading within the tolerance on either side, or
            the turn of a step is more than half a turn.
    """
    first, last = _covered(stamps_ns, instants_ns, target_ns, tolerance_ns)
    rates = angular_velocity - np.asarray(bias, float)
    if imu is not None:
        rates = rotation.apply(imu, rates)
    # From knot to knot, and from the knot before it to each instant.
    within = stamps_ns[(stamps_ns > first) & (stamps_ns < last)]
    knots = np.unique(np.append(within, (first, target_ns, last)))
    knot = np.searchsorted(knots, instants_ns, side='right') - 1
    to_next, to_instant = np.diff(knots), instants_ns - knots[knot]
    rates_at = _between(stamps_ns, rates, knots)
    turn = _turn(rates_at[:-1], rates_at[1:], to_next)
    turn_on = _turn(rates_at[knot], _between(stamps_ns, rates, instants_ns), to_instant)
    _check_turns(np.concatenate([turn, turn_on]), rates)
    turned = rotation.running_product(np.concatenate([[_IDENTITY], rotation.exp(turn)]))
    moved, position = np.zeros((len(knots), 3)), np.zeros((len(instants_ns), 3))
    if velocity is not None:
        velocities = np.broadcast_to(velocity, rates.shape)
        velocity_at = _between(stamps_ns, velocities, knots)
        ahead = _advance(turn, velocity_at[:-1], velocity_at[1:], to_next)
        moved[1:] = np.cumsum(rotation.apply(rotation.matrix(turned[:-1]), ahead), axis=0)
        ahead = _advance(turn_on, velocity_at[knot], _between(stamps_ns, velocities, instants_ns), to_instant)
        position = moved[knot] + rotation.apply(rotation.matrix(turned)[knot], ahead)
    target = int(np.searchsorted(knots, target_ns))
    orientation = rotation.product(turned[knot], rotation.exp(turn_on))
    return _seen_from(turned[target], moved[target], orientation, position)


def motion_from_odometry(
    stamps_ns: Stamps,
    positions: Array,
    orientations: Array,
    instants_ns: Stamps,
    target_ns: int,
    *,
    tolerance_ns: int = 100 * MS,
) -> Array:
    """Interpolate odometry: poses ``[P, 3, 4]`` of the target frame, in itself at the target time.

    Positions go linearly, orientations by slerp, the shortest way.

    Args:
        stamps_ns: ``[S]`` of the poses, ascending, at least one; those beyond the instants show how the robot moves.
        positions: ``[S, 3]`` of the target frame in a fixed frame, m.
        orientations: ``[S, 4]`` (x y z w), likewise, of any length but 0.
        instants_ns: ``[P]``, ascending.
        target_ns: target time.
        tolerance_ns: greatest distance between the poses on either side of an instant.

    Raises:
        DataError: ``no_motion``: an instant, or the target time, has no pose within the tolerance on either side, or
            no robot makes the step from one pose to the next (``odometry_steps``).
    """
    first, last = _covered(stamps_ns, instants_ns, target_ns, tolerance_ns)
    unit = rotation.normalized(orientations)
    ways = rotation.log(rotation.product(rotation.inverse(unit[:-1]), unit[1:]))
    used = bracket(stamps_ns, first, last)
    check_steps(Steps(stamps_ns, np.diff(positions, axis=0), ways), used.start, min(used.stop, len(stamps_ns)) - 1)
    lower, fraction = _locate(stamps_ns, np.append(target_ns, instants_ns))
    way = ways[np.minimum(lower, len(ways) - 1)] * fraction if len(ways) else np.zeros((len(lower), 3))
    orientation = rotation.normalized(rotation.product(unit[lower], rotation.exp(way)))
    position = _between(stamps_ns, positions, np.append(target_ns, instants_ns))
    return _seen_from(orientation[0], position[0], orientation[1:], position[1:])


def on_mount(mount: Array, poses: Array) -> Array:
    """Poses ``[P, 3, 4]`` of a frame in itself, of those of another frame that is fixed to it.

    Args:
        mount: pose ``[4, 4]`` of the other frame in the first one.
        poses: ``[P, 3, 4]`` of the other frame, in itself at the target time.
    """
    turn, place = mount[:3, :3], mount[:3, 3]
    result = np.empty_like(poses)
    for i in range(3):
        result[:, :, i] = rotation.apply(turn, rotation.apply(poses[:, :, :3], turn[i]))
    result[:, :, 3] = rotation.apply(turn, poses[:, :, 3]) + place - rotation.apply(result[:, :, :3], place)
    return result


def _covered(stamps_ns: Stamps, instants_ns: Stamps, target_ns: int, tolerance_ns: int) -> tuple[int, int]:
    """First and last instant, the target among them; raises ``no_motion`` where samples do not cover them."""
    first, last = min(int(instants_ns[0]), target_ns), max(int(instants_ns[-1]), target_ns)
    if not len(stamps_ns) or stamps_ns[0] > first or stamps_ns[-1] < last:
        has = f'{len(stamps_ns)} from {stamps_ns[0]} to {stamps_ns[-1]} ns' if len(stamps_ns) else 'none'
        raise DataError(Reason.NO_MOTION, f'the scan needs readings from {first} to {last} ns; there are {has}')
    gap = int(np.diff(stamps_ns[bracket(stamps_ns, first, last)]).max(initial=0))
    if gap > tolerance_ns:
        raise DataError(
            Reason.NO_MOTION,
            f'readings are {gap / SECOND:g} s apart, more than {tolerance_ns / SECOND:g} s: have them sent more often, '
            'or raise the tolerance of their stream; between two of them the motion is taken for even',
        )
    return first, last


def _locate(stamps_ns: Stamps, instants_ns: Stamps) -> tuple[npt.NDArray[np.intp], Array]:
    """Index of the sample at or before each instant, and how far it is to the next, 0 to 1, ``[N, 1]``."""
    lower = np.searchsorted(stamps_ns, instants_ns, side='right') - 1
    upper = np.minimum(lower + 1, len(stamps_ns) - 1)
    fraction = (instants_ns - stamps_ns[lower]) / np.maximum(stamps_ns[upper] - stamps_ns[lower], 1)
    return lower, fraction[:, None]


def _between(stamps_ns: Stamps, values: Array, instants_ns: Stamps) -> Array:
    """Of ``values [S, D]``, those at the instants, ``[N, D]``, linear."""
    lower, fraction = _locate(stamps_ns, instants_ns)
    upper = np.minimum(lower + 1, len(stamps_ns) - 1)
    found: Array = values[lower] + (values[upper] - values[lower]) * fraction
    return found


def _turn(begin: Array, end: Array, duration_ns: Stamps) -> Array:
    """Rotation vectors ``[N, 3]`` of steps, from the angular velocities at their ends."""
    seconds = (duration_ns / SECOND)[:, None]
    # The middle, and what an axis that turns itself adds to it.
    return (begin + end) / 2 * seconds + rotation.cross(begin, end) * (seconds * seconds / 12)


def _check_turns(turns: Array, rates: Array) -> None:
    """Refuse turns that are no robot's, and that ``rotation.exp`` does not take."""
    largest = float(np.linalg.norm(turns, axis=1).max())
    if largest > np.pi:
        raise DataError(
            Reason.NO_MOTION,
            f'the robot would turn by {largest:.3g} rad from one reading to the next, more than half a turn: angular '
            f'velocities are up to {np.abs(rates).max():.3g} rad/s',
        )


def _advance(turn: Array, begin: Array, end: Array, duration_ns: Stamps) -> Array:
    """Translations ``[N, 3]`` of steps, from the velocities at their ends, in the frame as it is at their begin."""
    ahead = (begin + end) / 2 * (duration_ns / SECOND)[:, None]
    across = rotation.cross(turn, ahead)
    return ahead + across / 2 + rotation.cross(turn, across) / 6


def _seen_from(orientation: Array, position: Array, orientations: Array, positions: Array) -> Array:
    """Poses ``[P, 3, 4]`` in the frame of one of them."""
    back = rotation.inverse(orientation)
    result = np.empty((len(orientations), 3, 4))
    result[:, :, :3] = rotation.matrix(rotation.product(back, orientations))
    result[:, :, 3] = rotation.apply(rotation.matrix(back), positions - position)
    return result
