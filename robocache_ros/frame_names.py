# SPDX-License-Identifier: Apache-2.0
"""Frames that the messages of a topic name: where they alternate, several senders publish there."""

from __future__ import annotations

from collections import deque

from robocache_core.text import shown

#: Messages that are looked at, and changes of the frames among them that are no driver which was started again.
_RECENT, _CHANGES = 16, 4


class FrameNames:
    """What the last messages of a stream name."""

    def __init__(self) -> None:
        self._last: tuple[bytes, ...] = ()
        self._before: tuple[bytes, ...] = ()
        self._changed: deque[bool] = deque(maxlen=_RECENT)

    def take(self, frames: tuple[bytes, ...]) -> None:
        """Take the frames of the next message that arrived; empty: they are not known."""
        if not frames:
            return
        is_changed = bool(self._last) and frames != self._last
        self._changed.append(is_changed)
        if is_changed:
            self._before = self._last
        self._last = frames

    def alternating(self) -> str:
        """Return both frames between which messages go to and fro; empty where they do not."""
        if sum(self._changed) < _CHANGES:
            return ''
        both = sorted((self._before, self._last))
        return ' and '.join(' to '.join(shown(name.decode(errors='replace')) for name in names) for names in both)
