# SPDX-License-Identifier: Apache-2.0
"""Where a frame waits to be published, so that the next one is computed meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Full, Queue

from robocache_core.frame import FusedFrame
from robocache_ros.frame_times import FrameTimes

#: Frames that may wait, beside the one that is being published.
_DEPTH = 1
#: Time that ``stop`` gives to the frames that wait.
STOP_S = 5.0


class Outbox:
    """Publishes frames in their order, on a thread of its own from ``start`` to ``stop``; else as they are put.

    Args:
        publish: called with every frame, and when it was computed.
        on_failure: called within the handler of an exception that it raises; the next frame is published.
    """

    def __init__(self, publish: Callable[[FusedFrame, FrameTimes], None], on_failure: Callable[[], None]) -> None:
        self._publish = publish
        self._on_failure = on_failure
        self._waiting: Queue[tuple[FusedFrame, FrameTimes] | None] = Queue(_DEPTH)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Publish on a thread from here on."""
        self._thread = threading.Thread(target=self._run, name='robocache-publisher', daemon=True)
        self._thread.start()

    def put(self, frame: FusedFrame, times: FrameTimes) -> None:
        """Publish ``frame``; waits for room where the frames before it are not published yet."""
        if self._thread is None:
            self._publish_one(frame, times)
        else:
            self._waiting.put((frame, times))

    def stop(self) -> None:
        """Publish what waits, and end the thread; nothing is put meanwhile.

        Raises:
            TimeoutError: that takes longer than ``STOP_S``; the thread ends after it.
        """
        thread, self._thread = self._thread, None
        if thread is not None:
            with suppress(Full):
                self._waiting.put(None, timeout=STOP_S)
                thread.join(STOP_S)
            if thread.is_alive():
                raise TimeoutError(f'a frame is still being published after {STOP_S} s')

    def _run(self) -> None:
        while (waiting := self._waiting.get()) is not None:
            self._publish_one(*waiting)
            del waiting  # until the next one comes, nothing is kept here

    def _publish_one(self, frame: FusedFrame, times: FrameTimes) -> None:
        try:
            self._publish(frame, times)
        except Exception:
            self._on_failure()
