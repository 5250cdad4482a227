# SPDX-License-Identifier: Apache-2.0
"""Where an episode ends: at the end of its bag, at a gap, a jump of time, and before its times lose their precision."""

from __future__ import annotations

from typing import NamedTuple

from robocache_core.frame import FusedFrame
from robocache_core.units import MS, SECOND

#: Longest episode, s: LeRobot has times in float32, and wants them right to 0.1 ms.
LONGEST_S = 1000


class End(NamedTuple):
    """Why an episode ends, and whether that is since frames are missing."""

    why: str
    is_gap: bool = False


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
