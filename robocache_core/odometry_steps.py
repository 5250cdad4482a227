# SPDX-License-Identifier: Apache-2.0
"""Steps of odometry that no vehicle makes: it was reset, or its pose corrected, which would smear a scan.

A step from one pose to the next is compared with what the steps before and behind it foretell. A vehicle differs from
that by its acceleration, ``HARDEST`` at the most; by what its stamps are wrong, up to the time of a step, so by as much
as its neighbour moves; and by the noise of its poses. A step that differs by more from both of its neighbours, or from
the only one that is there, is a jump. Speed is bounded for itself, so that a single step is checked, too. Poses alone
are read: the twist of odometry is often not set.

Poses that are sent several times, at a higher rate than they are found, are one that was held: its step began when it
was sent first.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from robocache_core.ledger import Reason
from robocache_core.rotation import Array
from robocache_core.samples import DataError
from robocache_core.units import SECOND

#: Greatest speed of a robot, m/s, and the least time that a step from pose to pose is taken for: stamps jitter, s.
FASTEST, SHORTEST_STEP = 100.0, 0.1
#: Greatest acceleration of a robot, 10 g, m/s², and of its turning, rad/s².
HARDEST, HARDEST_TURN = 98.1, 50.0
#: Differences up to these are the noise of poses, m and rad.
NOISE, NOISE_TURN = 0.25, 0.05

_CAUSE = 'the odometry was reset, or its pose was corrected; deskew with odometry whose poses are continuous'


class Steps(NamedTuple):
    """Steps from pose to pose.

    Attributes:
        stamps_ns: ``[S]``, ascending.
        ways: ``[S - 1, 3]``, m.
        turns: ``[S - 1, 3]``, rotation vectors, rad.
    """

    stamps_ns: npt.NDArray[np.int64]
    ways: Array
    turns: Array


def check_steps(steps: Steps, first: int, last: int) -> None:
    """Check the steps from index ``first`` to ``last``, exclusive; those around are neighbours of them.

    Raises:
        DataError: ``no_motion``: no robot makes one of them.
    """
    checked = np.arange(first, last)
    if not len(checked):
        return
    seconds = np.diff(steps.stamps_ns) / SECOND
    _check_speeds(steps.ways[checked], seconds[checked])
    neighbours = _neighbours(steps, seconds)
    for values, hardest, noise, verb, unit in (
        (steps.ways, HARDEST, NOISE, 'move', 'm'),
        (steps.turns, HARDEST_TURN, NOISE_TURN, 'turn', 'rad'),
    ):
        excess = _excess(values, neighbours, hardest, noise)[checked]
        at = int(np.argmax(excess))
        if excess[at] > 0:
            step = checked[at]
            raise DataError(
                Reason.NO_MOTION,
                f'the robot would {verb} by {np.linalg.norm(values[step]):.3g} {unit} in {seconds[step]:.3g} s, '
                f'{excess[at]:.3g} {unit} more than the steps around allow: {_CAUSE}',
            )


def _check_speeds(ways: Array, seconds: Array) -> None:
    """Refuse poses that are further apart than a robot can drive."""
    with np.errstate(over='ignore'):  # infinite is too far, too
        distance = np.linalg.norm(ways, axis=1)
    if not (distance <= FASTEST * np.maximum(seconds, SHORTEST_STEP)).all():
        at = int(np.argmax(distance / np.maximum(seconds, SHORTEST_STEP)))
        raise DataError(
            Reason.NO_MOTION,
            f'the robot would move by {distance[at]:.3g} m in {seconds[at]:.3g} s, faster than {FASTEST:g} m/s: '
            f'{_CAUSE}',
        )


class _Neighbours(NamedTuple):
    """On one side of each step, the one that its velocity is compared with.

    Attributes:
        there: ``[N]``, whether there is any step on this side.
        moving: ``[N]``, index of the next one that moves; -1: the robot stands still there.
        seconds: ``[N]``, the longer of the step and the one beside it.
        held: ``[N]``, time of each step, from when its first pose was sent first.
    """

    there: npt.NDArray[np.bool_]
    moving: npt.NDArray[np.intp]
    seconds: Array
    held: Array


def _neighbours(steps: Steps, seconds: Array) -> tuple[_Neighbours, _Neighbours]:
    """Return the neighbours before each step, and behind it."""
    num = len(seconds)
    index = np.arange(num)
    moves = (steps.ways != 0).any(axis=1) | (steps.turns != 0).any(axis=1)
    before = np.full(num, -1)
    before[1:] = np.maximum.accumulate(np.where(moves, index, -1))[:-1]
    behind = np.full(num, num)
    behind[:-1] = np.minimum.accumulate(np.where(moves, index, num)[::-1])[::-1][1:]
    behind[behind == num] = -1
    held = (steps.stamps_ns[1:] - steps.stamps_ns[before + 1]) / SECOND
    longer = np.maximum(seconds[:-1], seconds[1:])
    return (
        _Neighbours(index > 0, before, np.append(seconds[:1], longer), held),
        _Neighbours(index < num - 1, behind, np.append(longer, seconds[-1:]), held),
    )


def _excess(values: Array, sides: tuple[_Neighbours, _Neighbours], hardest: float, noise: float) -> Array:
    """By how much each step ``[N, 3]`` differs from what is around it by more than it may, ``[N]``; -inf: unknown."""
    excess = np.full((2, len(values)), np.inf)
    for of_side, side in zip(excess, sides, strict=True):
        held = side.held[:, None]
        # Of a robot that stands still there, the velocity is 0.
        beside = np.where(side.moving[:, None] < 0, 0.0, values[side.moving] / held[side.moving])
        longer = np.maximum(side.held, side.held[side.moving])
        with np.errstate(over='ignore', invalid='ignore'):  # a neighbour that is too far says nothing
            allowed = noise + np.linalg.norm(beside, axis=1) * longer + hardest * side.seconds**2
            differs = np.linalg.norm(values - beside * held, axis=1) - allowed
        of_side[side.there] = differs[side.there]
    least = excess.min(axis=0)
    return np.where(np.isfinite(least), least, -np.inf)
