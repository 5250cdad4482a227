# SPDX-License-Identifier: Apache-2.0
"""Which transforms are ignored, from TF as from a bag: what tf2 ignores, and what it would take by order of arrival."""

from __future__ import annotations

import math

from robocache_core.text import shown

#: Greatest distance of a quaternion's squared length to 1; tf2's own.
_TOLERANCE = 1e-2


def plain(frame: str) -> str:
    """Return the name of a frame without the slash before it that ROS 1 had."""
    return frame.lstrip('/')


def fault_of(parent: str, child: str, translation: tuple[float, ...], quaternion: tuple[float, ...]) -> str:
    """Return what is wrong with a transform, for which tf2 ignores it; empty where nothing is."""
    if not parent or not child:
        return 'a frame has no name'
    if parent == child:
        return 'a frame has no pose in itself'
    if not all(map(math.isfinite, (*translation, *quaternion))):
        return f'translation {translation}, quaternion {quaternion} is not finite'
    squared = sum(value * value for value in quaternion)
    if abs(squared - 1) > _TOLERANCE:
        return f'the quaternion {quaternion} has length {math.sqrt(squared):.3g}, not 1'
    return ''


def fault_on_tf(stamp_ns: int, *, is_static: bool) -> str:
    """Return why a transform on /tf is ignored that tf2 would take; empty where it is not.

    Of a frame that is on both topics, tf2 has what came first decide whether it moves; here /tf_static decides. And a
    stamp that is not set would be no time to interpolate at: to tf2, 0 means the latest.
    """
    if is_static:
        return '/tf_static has that frame, too, and holds; publish it on one of them'
    return '' if stamp_ns > 0 else 'its stamp is not set'


def ignored_on_tf(parent: str, child: str, fault: str) -> str:
    """Return in one line that a transform on /tf is ignored, and why."""
    return f'a transform from {shown(parent)} to {shown(child)} on /tf is ignored: {fault}'
