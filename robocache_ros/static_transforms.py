# SPDX-License-Identifier: Apache-2.0
"""The tree of static transforms that a bag carries on /tf_static."""

from __future__ import annotations

from typing import Any

import numpy as np

from robocache_core import rotation
from robocache_core.text import MAX_SHOWN, printable, shown
from robocache_ros.bags import Bag, BagError, Topic
from robocache_ros.transform_chain import Matrix, chain_above, common_frame, pose_by
from robocache_ros.transform_faults import fault_of, plain

_TOPIC, _TYPE = '/tf_static', 'tf2_msgs/msg/TFMessage'


class StaticTransforms:
    """Poses between frames: ``parent_from_child`` matrices ``[4, 4] float64``, metres, composed along the tree.

    Attributes:
        ignored: by child frame (or topic), why a transform of it was ignored; an earlier one stays.
    """

    def __init__(self) -> None:
        self._parent: dict[str, tuple[str, Matrix]] = {}
        self.ignored: dict[str, str] = {}

    @classmethod
    def from_bag(cls, bag: Bag) -> StaticTransforms:
        """Collect those on /tf_static; a message that cannot be read is ignored by name.

        A later transform of the same child replaces an earlier one, as in tf2.
        """
        tree = cls()
        topic = bag.topics.get(_TOPIC)
        if topic is not None and (why := why_unread(topic)):
            tree.ignored[_TOPIC] = f'{_TOPIC} is ignored: {why}'
            return tree
        for _, record_ns, raw in bag.messages({_TOPIC}):
            try:
                tree.take(bag.deserialize(_TOPIC, raw))
            except BagError as error:
                tree.ignored[_TOPIC] = f'the message recorded at {record_ns} ns is ignored: {error}'
        return tree

    def take(self, message: Any) -> None:
        """Add the transforms of a TFMessage."""
        for item in message.transforms:
            t, q = item.transform.translation, item.transform.rotation
            self.add(item.header.frame_id, item.child_frame_id, (t.x, t.y, t.z), (q.x, q.y, q.z, q.w))

    def add(self, parent: str, child: str, translation: tuple[float, ...], quaternion: tuple[float, ...]) -> None:
        """Add the pose of ``child`` in ``parent``: translation x y z, m, and quaternion x y z w.

        What tf2 ignores is ignored: a pose that is not finite, a quaternion whose length is not 1, a frame without a
        name, and a frame in itself.
        """
        parent, child = plain(parent), plain(child)
        fault = fault_of(parent, child, translation, quaternion)
        if fault:
            self.ignored[child] = f'the transform from {shown(parent)} to {shown(child)} is ignored: {fault}'
            return
        matrix = np.eye(4)
        matrix[:3, :3] = rotation.matrix(rotation.normalized(np.asarray(quaternion, np.float64)))
        matrix[:3, 3] = translation
        self._parent[child] = (parent, matrix)

    def __contains__(self, frame: str) -> bool:
        return frame in self._parent or any(frame == parent for parent, _ in self._parent.values())

    def parent(self, frame: str) -> tuple[str, Matrix] | None:
        """Return the parent of a frame and ``parent_from_child``; None where it has none."""
        return self._parent.get(plain(frame))

    def root(self, frame: str) -> str:
        """The frame at the top of the tree of ``frame``: itself where nothing joins it to another."""
        return list(chain_above(plain(frame), self.parent))[-1]

    def pose(self, frame: str, target: str) -> tuple[float, ...] | None:
        """Pose of ``frame`` in ``target`` as x y z qx qy qz qw; None where no chain of transforms joins them."""
        from_frame, from_target = (chain_above(plain(name), self.parent) for name in (frame, target))
        common = common_frame(from_frame, from_target)
        return None if common is None else pose_by(common, from_frame, from_target)


def why_unread(topic: Topic) -> str:
    """Return why the messages of a topic of transforms cannot be read; empty where they can."""
    if topic.unreadable or topic.msgtype == _TYPE:
        return topic.unreadable
    return f'it is {printable(topic.msgtype, MAX_SHOWN)}, not {_TYPE}'
