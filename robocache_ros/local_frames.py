# SPDX-License-Identifier: Apache-2.0
"""Frames for consumers in the node's own process: the objects themselves, on their device, never as bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable

from robocache_core.frame import FusedFrame


class LocalFrames:
    """Consumers that are handed every frame of a node, on the thread that computed it; they must not raise."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: Replaced as a whole, so that a thread can go through it while another one changes it.
        self._consumers: tuple[Callable[[FusedFrame], None], ...] = ()

    def __len__(self) -> int:
        return len(self._consumers)

    def add(self, consumer: Callable[[FusedFrame], None]) -> None:
        """Hand frames to ``consumer`` from here on."""
        with self._lock:
            self._consumers = (*self._consumers, consumer)

    def remove(self, consumer: Callable[[FusedFrame], None]) -> None:
        """Hand no more frames to ``consumer``."""
        with self._lock:
            self._consumers = tuple(other for other in self._consumers if other != consumer)

    def hand_over(self, frame: FusedFrame) -> None:
        """Hand ``frame`` to every consumer."""
        for consumer in self._consumers:
            consumer(frame)
