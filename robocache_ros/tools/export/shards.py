# SPDX-License-Identifier: Apache-2.0
"""Bags computed by several processes, a shard each, whose frames come in the order of one pass."""

from __future__ import annotations

import dataclasses
import logging
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import TYPE_CHECKING

from robocache_core.config import PipelineConfig
from robocache_ros.bag_outcome import BagOutcome
from robocache_ros.bags import Bag
from robocache_ros.shards import Shard
from robocache_ros.tools.export.spool import read_frames, write_frame
from robocache_ros.tools.export.writer import ExportError

if TYPE_CHECKING:
    from robocache_ros.tools.export.engines import Frames

_stopped: Event | None = None


class Workers:
    """Processes that compute shards: no more than ``jobs`` at once, and as many ahead of the one that is taken.

    Args:
        shards: in the order in which they will be taken.
        config: of the pipelines.
        jobs: number of processes.
        spool: folder that frames wait in.
    """

    def __init__(self, shards: Sequence[Shard], config: PipelineConfig, jobs: int, spool: Path) -> None:
        threads = config.compute.num_threads or max(1, len(os.sched_getaffinity(0)) // jobs)
        self._config = dataclasses.replace(config, compute=dataclasses.replace(config.compute, num_threads=threads))
        self._spool = spool
        self._waiting = deque(enumerate(shards))
        context = multiprocessing.get_context('spawn')  # a fork would not have the threads of this process
        self._stop = context.Event()
        self._pool = ProcessPoolExecutor(jobs, context, initializer=_enter, initargs=(self._stop,))
        self._running: deque[tuple[Path, Future[BagOutcome]]] = deque()
        for _ in range(jobs):
            self._submit()

    def _submit(self) -> None:
        if self._waiting:
            number, shard = self._waiting.popleft()
            spool = self._spool / f'{number}.frames'
            self._running.append((spool, self._pool.submit(_compute, shard, self._config, spool)))

    def take(self) -> Frames:
        """Wait for the next shard, and return its frames, and what became of it.

        Raises:
            ExportError: a process was lost.
        """
        spool, future = self._running.popleft()
        try:
            outcome = future.result()
        except BrokenProcessPool as error:
            raise ExportError('a process that computed frames was killed: use fewer --jobs, or free memory') from error
        self._submit()
        with spool.open('rb') as file:
            yield from read_frames(file)
        spool.unlink()
        return outcome

    def close(self) -> None:
        """End the processes."""
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)


class _StoppedError(Exception):
    """The export has ended before this shard."""


def _enter(stop: Event) -> None:
    """Leave signals to the process that started this one, listen to its ``stop``, and end when it is killed."""
    global _stopped
    _stopped = stop
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _compute(shard: Shard, config: PipelineConfig, spool: Path) -> BagOutcome:
    """Write the frames of a shard to ``spool``; the last shard of a bag, which sees all of it, logs what it lacks."""
    logging.basicConfig(format='%(message)s')
    logging.disable(logging.NOTSET if shard.end_ns is None else logging.CRITICAL)
    with (
        spool.open('wb') as file,
        shard.frames(config, _until_stopped) as frames,
    ):
        for frame in frames:
            write_frame(file, frame)
        return frames.outcome


def _until_stopped(bag: Bag, topics: Collection[str]) -> Iterator[tuple[str, int, bytes]]:
    """Read a bag until the processes end: also while a shard passes over what is before it, and gives no frame.

    Raises:
        _StoppedError: they end; the bag does not, so that nothing is said of what it lacks.
    """
    assert _stopped is not None
    for message in bag.messages(topics):
        if _stopped.is_set():
            raise _StoppedError
        yield message
