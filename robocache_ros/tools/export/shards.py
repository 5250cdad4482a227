# SPDX-License-Identifier: Apache-2.0
"""Bags computed by several processes, a shard each, whose frames come in the order of one pass."""

from __future__ import annotations

import dataclasses
import logging
import multiprocessing
import os
import pickle
import signal
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

from robocache_core import payload
from robocache_core.config import PipelineConfig
from robocache_core.frame import FusedFrame
from robocache_core.ledger import Counts
from robocache_ros.bags import Bag
from robocache_ros.offline import fused_frames
from robocache_ros.tools.export.writer import ExportError

#: What it takes to pass over a second of a bag, as a share of what it takes to compute one.
_PASSING_OVER = 0.25
_stopped: Event | None = None


@dataclass(frozen=True)
class Shard:
    """The frames of a bag between two record times, ns, None at its ends."""

    bag: Path
    start_ns: int | None = None
    end_ns: int | None = None


def shards_of(bag: Bag, count: int) -> list[Shard]:
    """Cut a bag into shards that take about as long: the later one begins, the more it has to pass over."""
    left = 1 - _PASSING_OVER
    share = _PASSING_OVER / (1 - left**count)
    ends = [share * (1 - left ** (k + 1)) / _PASSING_OVER for k in range(count - 1)]
    cuts = [bag.start_ns + round(end * (bag.end_ns - bag.start_ns)) for end in ends]
    return [Shard(bag.path, start, end) for start, end in zip([None, *cuts], [*cuts, None], strict=True)]


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
        self._running: deque[tuple[Path, Future[dict[str, Counts]]]] = deque()
        for _ in range(jobs):
            self._submit()

    def _submit(self) -> None:
        if self._waiting:
            number, shard = self._waiting.popleft()
            spool = self._spool / f'{number}.frames'
            self._running.append((spool, self._pool.submit(_compute, shard, self._config, spool)))

    def take(self) -> tuple[Iterator[FusedFrame], Mapping[str, Counts]]:
        """Wait for the next shard, and return its frames, which can be taken once, and its counts.

        Raises:
            ExportError: a process was lost.
        """
        spool, future = self._running.popleft()
        try:
            counts = future.result()
        except BrokenProcessPool as error:
            raise ExportError('a process that computed frames was killed: use fewer --jobs, or free memory') from error
        self._submit()
        return _spooled(spool), counts

    def close(self) -> None:
        """End the processes."""
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)


def _enter(stop: Event) -> None:
    """Leave signals to the process that started this one, and listen to its ``stop``."""
    global _stopped
    _stopped = stop
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _compute(shard: Shard, config: PipelineConfig, spool: Path) -> dict[str, Counts]:
    """Write the frames of a shard to ``spool``; the last shard of a bag, which sees all of it, logs what it lacks."""
    logging.basicConfig(format='%(message)s')
    logging.disable(logging.NOTSET if shard.end_ns is None else logging.CRITICAL)
    with (
        spool.open('wb') as file,
        fused_frames(shard.bag, config, start_ns=shard.start_ns, end_ns=shard.end_ns) as frames,
    ):
        for frame in frames:
            assert _stopped is not None
            if _stopped.is_set():
                break
            pickle.dump((payload.write(frame, bytearray), frame.views), file, pickle.HIGHEST_PROTOCOL)
        return dict(frames.counts)


def _spooled(spool: Path) -> Iterator[FusedFrame]:
    with spool.open('rb') as file:
        size = os.fstat(file.fileno()).st_size
        while file.tell() < size:
            data, views = pickle.load(file)
            yield dataclasses.replace(payload.decode(data), views=views)
    spool.unlink()
