# SPDX-License-Identifier: Apache-2.0
"""Samples whose sensor moves, until TF has its pose at their stamps: a scan may come before the transforms of its time.

How long one waits is decided by the stamps of its own stream, so that live and offline agree. One stamp alone that is
further off than time jumps decides nothing: it may stray.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

from robocache_core.config import StreamConfig, SyncConfig
from robocache_core.samples import DataError, Sample

#: Most samples of a stream that wait.
MOST = 64


class PoseNotYet(DataError):
    """The transforms do not reach the stamp yet; later ones may."""


class HeldBack:
    """Holds samples back in the order of their arrival, and gives each to ``push`` once it is located.

    Args:
        streams: by name.
        sync: ``max_wait``: how much newer the newest sample of a stream may be than one that waits; ``time_jump``.
        locate: returns a sample with its sensor's pose; raises ``PoseNotYet``, or another ``DataError`` where it never
            comes.
        push: takes what is located.
        refuse: takes what is not.
        fail: ends a sample of a stream, within the handler of an exception that nothing foresees.
    """

    def __init__(
        self,
        streams: Mapping[str, StreamConfig],
        sync: SyncConfig,
        locate: Callable[[str, Sample], Sample],
        push: Callable[[str, Sample], None],
        refuse: Callable[[str, DataError], None],
        fail: Callable[[str], None],
    ) -> None:
        self._max_bytes = {name: stream.queue.max_bytes for name, stream in streams.items()}
        self._max_wait_ns, self._far_ns = sync.max_wait_ns, max(sync.max_wait_ns, sync.time_jump_ns)
        self._locate, self._push, self._refuse, self._fail = locate, push, refuse, fail
        self._waiting: dict[str, deque[Sample]] = {}

    def num_waiting(self, name: str) -> int:
        """Samples of a stream that are held back."""
        return len(self._waiting.get(name, ()))

    def put(self, name: str, sample: Sample) -> None:
        """Take a sample, behind those of its stream that wait."""
        self._waiting.setdefault(name, deque()).append(sample)
        self.release(name)

    def release(self, name: str, *, give_up: bool = False) -> None:
        """Pass on what can be located by now, refuse what has waited too long; with ``give_up``, all that cannot."""
        waiting = self._waiting.get(name, deque())
        while waiting:
            try:
                located = self._locate(name, waiting[0])
            except PoseNotYet as error:
                if not give_up and not self._is_overdue(name, waiting):
                    return
                waiting.popleft()
                self._refuse(name, error)
            except DataError as error:
                waiting.popleft()
                self._refuse(name, error)
            except Exception:
                waiting.popleft()
                self._fail(name)
            else:
                waiting.popleft()
                self._push(name, located)

    def release_all(self, *, give_up: bool = False) -> None:
        """``release`` of every stream."""
        for name, waiting in self._waiting.items():
            if waiting:
                self.release(name, give_up=give_up)

    def clear(self, drop: Callable[[str], None]) -> None:
        """End all that waits: ``drop`` is called with the stream of each."""
        for name, waiting in self._waiting.items():
            for _ in waiting:
                drop(name)
            waiting.clear()

    def _is_overdue(self, name: str, waiting: deque[Sample]) -> bool:
        """Whether the oldest sample of a stream has waited too long, or too many or too much wait with it."""
        later_ns = [sample.stamp_ns - waiting[0].stamp_ns for sample in waiting]
        has_waited = any(self._max_wait_ns < each <= self._far_ns for each in later_ns)
        is_left = any(sum(side * each > self._far_ns for each in later_ns) > 1 for side in (1, -1))
        nbytes = sum(sample.nbytes for sample in waiting)
        return has_waited or is_left or len(waiting) > MOST or nbytes > self._max_bytes[name]
