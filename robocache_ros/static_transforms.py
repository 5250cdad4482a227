# SPDX-License-Identifier: Apache-2.0
"""The tree of static transforms that a bag carries on /tf_static."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from robocache_core import rotation

Matrix = npt.NDArray[np.float64]


class StaticTransforms:
    """Poses between frames: ``parent_from_child`` matrices ``[4, 4] float64``, metres, composed along the tree."""

    def __init__(self) -> None:
        self._parent: dict[str, tuple[str, Matrix]] = {}

    @classmethod
    def from_messages(cls, messages: Iterable[Any]) -> StaticTransforms:
        """Collect the transforms of TFMessages; a later one of the same child replaces an earlier one, as in tf2."""
        tree = cls()
        for message in messages:
            for item in message.transforms:
                t, q = item.transform.translation, item.transform.rotation
                tree.add(item.header.frame_id, item.child_frame_id, (t.x, t.y, t.z), (q.x, q.y, q.z, q.w))
        return tree

    def add(self, parent: str, child: str, translation: tuple[float, ...], quaternion: tuple[float, ...]) -> None:
        """Add the pose of ``child`` in ``parent``: translation x y z, m, and quaternion x y z w, of any length."""
        matrix = np.eye(4)
        matrix[:3, :3] = _rotation(np.asarray(quaternion, np.float64))
        matrix[:3, 3] = translation
        self._parent[_plain(child)] = (_plain(parent), matrix)

    def __contains__(self, frame: str) -> bool:
        return frame in self._parent or any(frame == parent for parent, _ in self._parent.values())

    def pose(self, frame: str, target: str) -> tuple[float, ...] | None:
        """Pose of ``frame`` in ``target`` as x y z qx qy qz qw; None where no chain of transforms joins them."""
        frame, target = _plain(frame), _plain(target)
        from_frame, from_target = self._ancestors(frame), self._ancestors(target)
        common = next((name for name in from_frame if name in from_target), None)
        if common is None:
            return None
        matrix = np.linalg.inv(from_target[common]) @ from_frame[common]
        return (*(float(v) for v in matrix[:3, 3]), *rotation.quaternion(matrix[:3, :3]).tolist())

    def _ancestors(self, frame: str) -> dict[str, Matrix]:
        """``ancestor_from_frame`` for the frame itself and all above it, nearest first."""
        matrix = np.eye(4)
        chain = {frame: matrix}
        while frame in self._parent:
            frame, parent_from_child = self._parent[frame]
            if frame in chain:  # a loop is no tree: what was reached so far is all there is
                break
            matrix = parent_from_child @ matrix
            chain[frame] = matrix
        return chain


def _plain(frame: str) -> str:
    return frame.lstrip('/')


def _rotation(quaternion: npt.NDArray[np.float64]) -> Matrix:
    if not quaternion.any():  # an unset quaternion, which tf2 also takes for none
        return np.eye(3)
    return rotation.matrix(rotation.normalized(quaternion))
