# SPDX-License-Identifier: Apache-2.0
"""Transforms of a bag as tf2 has them at an instant: static ones, and those on /tf of the last 10 s, interpolated."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any, NamedTuple

import numpy as np

from robocache_core import rotation
from robocache_core.ledger import Reason
from robocache_core.samples import DataError
from robocache_core.text import shown
from robocache_core.units import SECOND
from robocache_ros.held_back import PoseNotYet
from robocache_ros.poses import SensorPose
from robocache_ros.static_transforms import StaticTransforms
from robocache_ros.transform_chain import Chain, Matrix, chain_above, common_frame, pose_by
from robocache_ros.transform_faults import fault_of, fault_on_tf, ignored_on_tf, plain

#: How far behind the newest one of its frame a transform is kept; tf2's own.
KEPT_NS = 10 * SECOND
#: Most frames whose transforms are kept, and most of which it is said that one was ignored: a bag can hold any names.
MAX_FRAMES, MAX_IGNORED = 4096, 64


class _Transform(NamedTuple):
    """The pose of a frame in ``parent``: x y z, m, and a quaternion x y z w."""

    parent: str
    translation: tuple[float, ...]
    quaternion: tuple[float, ...]


class _History:
    """The transforms of one frame, by their stamps."""

    def __init__(self) -> None:
        self.stamps_ns: list[int] = []
        self._transforms: list[_Transform] = []

    @property
    def newest(self) -> _Transform:
        """The one of the latest stamp."""
        return self._transforms[-1]

    def add(self, stamp_ns: int, transform: _Transform) -> None:
        """Add one; of two of a stamp the later one holds."""
        newest_ns = self.stamps_ns[-1] if self.stamps_ns else stamp_ns
        if stamp_ns < newest_ns - KEPT_NS:
            return
        at = bisect_left(self.stamps_ns, stamp_ns)
        same = slice(at, bisect_right(self.stamps_ns, stamp_ns))
        self.stamps_ns[same], self._transforms[same] = [stamp_ns], [transform]
        num_old = bisect_right(self.stamps_ns, self.stamps_ns[-1] - KEPT_NS - 1)
        del self.stamps_ns[:num_old], self._transforms[:num_old]

    def at(self, stamp_ns: int) -> _Transform | None:
        """Return the transform at an instant; None before the oldest and after the newest."""
        before = bisect_right(self.stamps_ns, stamp_ns) - 1
        if before < 0 or stamp_ns > self.stamps_ns[-1]:
            return None
        older, begin_ns = self._transforms[before], self.stamps_ns[before]
        newer = self._transforms[min(before + 1, len(self._transforms) - 1)]
        if begin_ns == stamp_ns or newer.parent != older.parent:
            return older
        return _between(older, newer, (stamp_ns - begin_ns) / (self.stamps_ns[before + 1] - begin_ns))


class TransformBuffer:
    """Poses between frames at an instant.

    Args:
        static: the transforms that hold at any time; what /tf has of their frames is ignored.

    Attributes:
        ignored: by child frame, the first ``MAX_IGNORED``, why a transform on /tf was ignored.
    """

    def __init__(self, static: StaticTransforms) -> None:
        self._static = static
        self._histories: dict[str, _History] = {}
        self.ignored: dict[str, str] = {}

    def take(self, message: Any) -> None:
        """Add the transforms of a TFMessage on /tf; what ``transform_faults`` names is ignored."""
        for item in message.transforms:
            t, q, header = item.transform.translation, item.transform.rotation, item.header
            translation, quaternion = (t.x, t.y, t.z), (q.x, q.y, q.z, q.w)
            parent, child = plain(header.frame_id), plain(item.child_frame_id)
            stamp_ns = header.stamp.sec * SECOND + header.stamp.nanosec
            fault = fault_on_tf(stamp_ns, is_static=self._static.parent(child) is not None)
            if fault := fault or fault_of(parent, child, translation, quaternion) or self._why_too_many(child):
                if child in self.ignored or len(self.ignored) < MAX_IGNORED:
                    self.ignored[child] = ignored_on_tf(parent, child, fault)
                continue
            self._histories.setdefault(child, _History()).add(stamp_ns, _Transform(parent, translation, quaternion))

    def _why_too_many(self, child: str) -> str:
        is_full = len(self._histories) == MAX_FRAMES and child not in self._histories
        return f'/tf has {MAX_FRAMES} other frames already' if is_full else ''

    def clear(self) -> None:
        """Forget what came on /tf: time has jumped."""
        self._histories.clear()

    def pose(self, frame: str, target: str, stamp_ns: int) -> SensorPose:
        """Return the pose of ``frame`` in ``target`` at an instant.

        Raises:
            PoseNotYet: ``no_transform``: the stamp is beyond the newest transforms.
            DataError: ``no_transform``: no chain of transforms joins them then.
        """
        frame, target = plain(frame), plain(target)
        from_frame, from_target = (
            chain_above(name, lambda child: self._step(child, stamp_ns)) for name in (frame, target)
        )
        common = common_frame(from_frame, from_target)
        if common is None:
            raise self._missing(frame, target, stamp_ns, (*from_frame, *from_target))
        steps = [name for chain in (from_frame, from_target) for name in _until(chain, common)]
        return SensorPose(
            pose_by(common, from_frame, from_target), moves=any(name in self._histories for name in steps)
        )

    def _step(self, child: str, stamp_ns: int) -> tuple[str, Matrix] | None:
        """The parent of a frame, and ``parent_from_child``; None where it has none at the instant."""
        if child not in self._histories:
            return self._static.parent(child)
        transform = self._histories[child].at(stamp_ns)
        if transform is None:
            return None
        matrix = np.eye(4)
        matrix[:3, :3] = rotation.matrix(rotation.normalized(np.array(transform.quaternion)))
        matrix[:3, 3] = transform.translation
        return transform.parent, matrix

    def _has(self, frame: str) -> bool:
        parents = (history.newest.parent for history in self._histories.values())
        return frame in self._static or frame in self._histories or frame in parents

    def _missing(self, frame: str, target: str, stamp_ns: int, reached: tuple[str, ...]) -> DataError:
        """Why two frames are not joined at an instant, with how far the transforms of those reach that end a chain."""
        what = f'the pose of {shown(frame)} in {shown(target)} is unknown'
        ends = [name for name in reached if name in self._histories and self._histories[name].at(stamp_ns) is None]
        if not ends or not self._has(frame) or not self._has(target):
            ignored = [self.ignored[name] for name in reached if name in self.ignored]
            why = 'neither /tf nor /tf_static of the bag joins them; record them with the bag'
            return DataError(Reason.NO_TRANSFORM, f'{what}: {"; ".join(ignored) or why}')
        first_ns, last_ns = self._histories[ends[0]].stamps_ns[0], self._histories[ends[0]].stamps_ns[-1]
        kind = PoseNotYet if stamp_ns > last_ns else DataError
        return kind(
            Reason.NO_TRANSFORM,
            f'{what} at {stamp_ns / SECOND:.3f} s: /tf has that of {shown(ends[0])} from {first_ns / SECOND:.3f} to '
            f'{last_ns / SECOND:.3f} s; it must be there, for the stamp, at the latest sync.max_wait after the message',
        )


def _until(chain: Chain, last: str) -> list[str]:
    names = list(chain)
    return names[: names.index(last)]


def _between(older: _Transform, newer: _Transform, fraction: float) -> _Transform:
    """A transform between two of one parent: linear, and by slerp on the shorter way, as tf2 has it."""
    pairs = zip(older.translation, newer.translation, strict=True)
    translation = tuple((1 - fraction) * a + fraction * b for a, b in pairs)
    return _Transform(older.parent, translation, _slerp(older.quaternion, newer.quaternion, fraction))


def _slerp(older: tuple[float, ...], newer: tuple[float, ...], fraction: float) -> tuple[float, ...]:
    if abs(_dot(older, newer)) >= (_dot(older, older) * _dot(newer, newer)) ** 0.5:
        return older  # so near each other that a double does not hold the angle: tf2 takes the older one
    begin, end = (rotation.normalized(np.array(quaternion)) for quaternion in (older, newer))
    way = rotation.log(rotation.product(rotation.inverse(begin), end))
    turned = rotation.product(begin, rotation.exp(way * fraction))
    return tuple(turned.tolist())


def _dot(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return ((a[0] * b[0] + a[1] * b[1]) + a[2] * b[2]) + a[3] * b[3]
