# SPDX-License-Identifier: Apache-2.0
"""The messages of a bag, read ahead of their time by a thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Iterator
from types import TracebackType

from robocache_ros.bags import Bag


class ReadAhead:
    """Iterates over ``(topic, record_ns, raw)`` of a bag in record order, read by a thread of its own.

    The thread keeps up to ``max_bytes`` ready, so that a slow disk or a compressed chunk does not make the player
    late. A ``BagError`` of the thread is raised in the thread that iterates.
    """

    def __init__(self, bag: Bag, topics: Collection[str], max_bytes: int = 128 << 20) -> None:
        self._bag, self._topics, self._max_bytes = bag, topics, max_bytes
        self._ready: deque[tuple[str, int, bytes]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._done = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._read, name='read_ahead', daemon=True)

    def __enter__(self) -> ReadAhead:
        """Start to read, and wait until ``max_bytes`` are ready, or all."""
        self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._done or self._bytes >= self._max_bytes)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop reading."""
        with self._changed:
            self._done = True
            self._changed.notify_all()
        self._thread.join()

    def __iter__(self) -> Iterator[tuple[str, int, bytes]]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ready or self._done)
                if not self._ready:
                    if self._error is not None:
                        raise self._error
                    return
                item = self._ready.popleft()
                self._bytes -= len(item[2])
                self._changed.notify_all()
            yield item

    def _read(self) -> None:
        try:
            for item in self._bag.messages(self._topics):
                with self._changed:
                    self._changed.wait_for(lambda: self._done or self._bytes < self._max_bytes)
                    if self._done:
                        return
                    self._ready.append(item)
                    self._bytes += len(item[2])
                    self._changed.notify_all()
        except Exception as error:  # raised again in the thread that iterates
            self._error = error
        finally:
            with self._changed:
                self._done = True
                self._changed.notify_all()
