# SPDX-License-Identifier: Apache-2.0
"""A stand-in for tf2_ros, which wheels do not have: moving transforms, in the arithmetic of tf2.

Quaternions are multiplied and rotate the translations; between two transforms it goes by the angle's sines.
"""

from __future__ import annotations

import math
import sys
import types
from typing import Any

from geometry_msgs.msg import TransformStamped

SECOND = 10**9


class TransformException(Exception):
    """As tf2_ros has it."""


def product(a, b):
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    return (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by + ay * bw + az * bx - ax * bz,
        aw * bz + az * bw + ax * by - ay * bx,
        aw * bw - ax * bx - ay * by - az * bz,
    )


def rotated(q, v):
    inverse = (-q[0], -q[1], -q[2], q[3])
    return product(product(q, (*v, 0.0)), inverse)[:3]


def slerp(a, b, t):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    length = math.sqrt(sum(x * x for x in a) * sum(x * x for x in b))
    angle = math.acos(min(1.0, abs(dot) / length))
    if angle == 0:
        return a
    begin, end = math.sin((1 - t) * angle), math.sin(t * angle) * (-1 if dot < 0 else 1)
    return tuple((x * begin + y * end) / math.sin(angle) for x, y in zip(a, b, strict=True))


class Buffer:
    """Keeps transforms of 10 s by child frame; one that came as static first holds at any time, the last of them."""

    def __init__(self):
        self._static, self._moving = {}, {}

    def set_transform_static(self, message, authority):
        self._set(message, is_static=True)

    def set_transform(self, message, authority):
        self._set(message, is_static=False)

    def _set(self, message, *, is_static):
        t, q, stamp = message.transform.translation, message.transform.rotation, message.header.stamp
        entry = (message.header.frame_id, (t.x, t.y, t.z), (q.x, q.y, q.z, q.w))
        child = message.child_frame_id
        if child in self._static or (is_static and child not in self._moving):
            self._static[child] = entry
            return
        history = self._moving.setdefault(message.child_frame_id, {})
        history[stamp.sec * SECOND + stamp.nanosec] = entry
        for old in [stamp_ns for stamp_ns in history if stamp_ns < max(history) - 10 * SECOND]:
            del history[old]

    def clear(self):
        self._moving.clear()

    def _at(self, frame, stamp_ns):
        """Parent, translation and quaternion of a frame; the stamp 0 means the latest."""
        if frame not in self._moving:
            return self._static.get(frame)
        history = self._moving[frame]
        stamps = sorted(history)
        stamp_ns = stamp_ns or stamps[-1]
        if stamp_ns < stamps[0]:
            raise TransformException(f'the earliest data is at time {stamps[0] / SECOND:.6f}')
        if stamp_ns > stamps[-1]:
            raise TransformException(f'the latest data is at time {stamps[-1] / SECOND:.6f}')
        begin, end = max(s for s in stamps if s <= stamp_ns), min(s for s in stamps if s >= stamp_ns)
        if begin == end:
            return history[begin]
        ratio = (stamp_ns - begin) / (end - begin)
        (parent, t0, q0), (_, t1, q1) = history[begin], history[end]
        return parent, tuple(a * (1 - ratio) + b * ratio for a, b in zip(t0, t1, strict=True)), slerp(q0, q1, ratio)

    def _to(self, top, frame, stamp_ns):
        t, q, newest = (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0), []
        while frame != top:
            found = self._at(frame, stamp_ns)
            if found is None:
                raise TransformException(f'"{frame}" and "{top}" are not part of the same tree')
            newest += [max(self._moving[frame])] if frame in self._moving else []
            frame, step, turn = found
            t = tuple(a + b for a, b in zip(rotated(turn, t), step, strict=True))
            q = product(turn, q)
        return t, q, min(newest, default=0)

    def lookup_transform(self, target, source, time):
        """Of a source below the target."""
        t, q, newest_ns = self._to(target, source, time.nanoseconds)
        found = TransformStamped(child_frame_id=source)
        found.header.frame_id = target
        # Of the latest, that of the newest ones; of a chain of static ones 0.
        found.header.stamp.sec, found.header.stamp.nanosec = divmod(time.nanoseconds or newest_ns, SECOND)
        to, turn = found.transform.translation, found.transform.rotation
        (to.x, to.y, to.z), (turn.x, turn.y, turn.z, turn.w) = t, q
        return found


class Listener:
    """Listens to nothing: the test fills the buffer."""

    buffers: list[Any] = []  # noqa: RUF012, of the process

    def __init__(self, buffer, node):
        self.buffers.append(buffer)

    def unregister(self):
        self.buffers.clear()


def install(monkeypatch):
    """Put the stand-in in the place of tf2_ros."""
    module = types.ModuleType('tf2_ros')
    module.Buffer, module.TransformListener, module.TransformException = Buffer, Listener, TransformException
    monkeypatch.setitem(sys.modules, 'tf2_ros', module)
