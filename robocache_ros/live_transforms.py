# SPDX-License-Identifier: Apache-2.0
"""The buffer of tf2_ros, filled by the rules that hold for the transforms of a bag."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from robocache_core.units import SECOND
from robocache_ros.event_log import EventLog
from robocache_ros.events import Event
from robocache_ros.transform_faults import fault_of, fault_on_tf, ignored_on_tf, plain

#: Most frames of which it is logged that a transform was ignored: others can name any.
_MAX_LOGGED = 64


class LiveTransforms:
    """What a listener of tf2_ros fills, in the place of its buffer.

    Args:
        make_buffer: makes a buffer of tf2_ros.
        log: receives what is ignored, of each frame once.

    Attributes:
        buffer: of tf2_ros, to look transforms up in; another one once a frame turned out to be static.
    """

    def __init__(self, make_buffer: Callable[[], Any], log: EventLog) -> None:
        self.buffer = make_buffer()
        self._make_buffer, self._log = make_buffer, log
        #: By child frame, what came on /tf_static; and the frames that came on /tf.
        self._static: dict[str, tuple[Any, str]] = {}
        self._moving: set[str] = set()
        self._logged: set[str] = set()

    def set_transform(self, item: Any, authority: str) -> None:
        """Take a TransformStamped that came on /tf."""
        child, stamp = plain(item.child_frame_id), item.header.stamp
        if fault := fault_on_tf(stamp.sec * SECOND + stamp.nanosec, is_static=child in self._static):
            self._ignore(plain(item.header.frame_id), child, fault)
            return
        self._moving.add(child)
        self.buffer.set_transform(item, authority)

    def set_transform_static(self, item: Any, authority: str) -> None:
        """Take a TransformStamped that came on /tf_static."""
        parent, child = plain(item.header.frame_id), plain(item.child_frame_id)
        t, q = item.transform.translation, item.transform.rotation
        if not fault_of(parent, child, (t.x, t.y, t.z), (q.x, q.y, q.z, q.w)):
            self._static[child] = item, authority
        if child not in self._moving or child not in self._static:
            self.buffer.set_transform_static(item, authority)
            return
        # To tf2 a frame that has moved moves for ever: another buffer does not know it.
        self._moving.clear()
        buffer = self._make_buffer()
        for static, by in self._static.values():
            buffer.set_transform_static(static, by)
        self.buffer = buffer

    def clear(self) -> None:
        """Forget what came on /tf: time has jumped."""
        self.buffer.clear()

    def _ignore(self, parent: str, child: str, fault: str) -> None:
        if child not in self._logged and len(self._logged) < _MAX_LOGGED:
            self._logged.add(child)
            self._log.emit(Event.TRANSFORM_IGNORED, detail=ignored_on_tf(parent, child, fault))
