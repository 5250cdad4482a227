# SPDX-License-Identifier: Apache-2.0
"""Where an episode ends: with its bag or its number, at a gap, a jump of time, and before its times are not precise."""

from __future__ import annotations

from typing import NamedTuple

import torch

from robocache_core.frame import FusedFrame
from robocache_core.units import MS, SECOND
from robocache_ros.tools.export.writer import ExportError

#: Longest episode, s: LeRobot has times in float32, and wants them right to 0.1 ms.
LONGEST_S = 1000


class End(NamedTuple):
    """Why an episode ends, and whether that is since frames are missing."""

    why: str
    is_gap: bool = False


#: The numbers of an episode, the last row of a vector; empty where a bag is one.
Number = tuple[float, ...]


def number_in(frame: FusedFrame, name: str) -> Number | None:
    """Return the number of a frame's episode in the vector ``name``; None where the frame is of none.

    Without a name every frame is of the episode of its bag.

    Raises:
        ExportError: the number is so large that another one could be rounded to it.
    """
    if not name:
        return ()
    row = frame.tensors[name][-1]
    number = tuple(row.tolist()) if frame.valid[name] else ()
    exact = round(2 / torch.finfo(row.dtype).eps)
    largest = max(number, key=abs, default=0.0)
    if abs(largest) >= exact:
        kind = str(row.dtype).removeprefix('torch.')
        wider = f'set {name}.dtype: float64, or ' if kind == 'float32' else ''
        raise ExportError(
            f'{name} has the number {largest:.0f}, and {kind} holds whole numbers below {exact} alone: two episodes '
            f'could be one; {wider}number them from 1'
        )
    return number if any(number) else None


def end_of(number: Number, following: Number | None, name: str) -> End | None:
    """Why the episode ``number`` ends before a frame of the episode ``following``; None: it is the same."""
    if following == number:
        return None
    return End(f'{name} is {_listed(following)} and no more {_listed(number)}' if following else f'{name} numbers none')


def _listed(number: Number) -> str:
    return ', '.join(f'{value:g}' for value in number)


def end_between(before: FusedFrame, frame: FusedFrame, length: int, fps: int, is_grid: bool) -> End | None:
    """Why the episode of ``before``, which has ``length`` frames by now, does not go on with ``frame``; None: it does.

    Args:
        before: the last frame of the episode.
        frame: the next one of the bag.
        length: frames of the episode.
        fps: nominal frames a second.
        is_grid: whether targets are on the grid of a fixed rate: then frames are a period apart, to the nanosecond to
            which instants are rounded; else, as a trigger is not even, from half a period to one and a half.
    """
    step_ns = frame.stamp_ns - before.stamp_ns
    if frame.epoch != before.epoch:
        return End(f'time jumped by {step_ns / SECOND:.3f} s')
    is_next = abs(step_ns * fps - SECOND) <= fps if is_grid else SECOND <= 2 * step_ns * fps <= 3 * SECOND
    if not is_next:
        return End(f'the next frame is {step_ns / MS:.3f} ms later, not {1000 / fps:.3f} ms', is_gap=True)
    return End(f'it is {LONGEST_S} s long') if length >= LONGEST_S * fps else None
