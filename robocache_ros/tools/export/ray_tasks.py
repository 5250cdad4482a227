# SPDX-License-Identifier: Apache-2.0
"""Bags computed by a Ray cluster, a shard a task, whose frames come in the order of one pass.

A task whose worker or node is lost is computed again elsewhere, and no other one. Nodes read the bags themselves, at
the paths that they have here, and must have the versions of all that frames depend on.
"""

from __future__ import annotations

import dataclasses
import io
import logging
import os
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray

from robocache_core.config import PipelineConfig
from robocache_core.tunable import ConfigError
from robocache_ros.bag_outcome import BagOutcome
from robocache_ros.bags import BagError, open_bag
from robocache_ros.shards import Shard
from robocache_ros.tools.export.manifest import made_by
from robocache_ros.tools.export.spool import read_frames, write_frame
from robocache_ros.tools.export.writer import ExportError

if TYPE_CHECKING:
    from robocache_ros.tools.export.engines import Frames

#: How often a task is begun again whose worker is lost.
_RETRIES = 3
#: A task gives its frames one by one, which wait in the cluster's object store, on its disks where they are many.
_OPTIONS: dict[str, Any] = {'num_cpus': 1, 'num_returns': 'streaming', 'max_retries': _RETRIES}


@dataclass(frozen=True)
class _Task:
    """A shard, and what must be the same where it is computed: sizes of the bag's files by name, and versions."""

    shard: Shard
    config: PipelineConfig
    sizes: dict[str, int]
    versions: dict[str, Any]


class RayTasks:
    """Tasks that compute shards: no more than ``jobs`` at once, and as many ahead of the one that is taken.

    It joins the cluster that ``RAY_ADDRESS`` names or that runs on this machine, else it starts one here.

    Args:
        shards: in the order in which they will be taken.
        config: of the pipelines. Each has one thread where it does not say how many; and a GPU where it asks for one.
        jobs: number of tasks.

    Raises:
        ExportError: the cluster cannot be joined.
    """

    def __init__(self, shards: Sequence[Shard], config: PipelineConfig, jobs: int) -> None:
        compute = dataclasses.replace(config.compute, num_threads=config.compute.num_threads or 1)
        self._config = dataclasses.replace(config, compute=compute)
        self._is_own = not ray.is_initialized()
        if self._is_own:
            _join()
        num_gpus = 1 if config.compute.device.startswith('cuda') else 0
        self._compute = ray.remote(_compute).options(**_OPTIONS, num_gpus=num_gpus)
        self._waiting = deque(shards)
        self._running: deque[Any] = deque()
        for _ in range(jobs):
            self._submit()

    def _submit(self) -> None:
        if self._waiting:
            shard = self._waiting.popleft()
            shard = dataclasses.replace(shard, bag=shard.bag.resolve())
            self._running.append(self._compute.remote(_Task(shard, self._config, _sizes(shard), made_by())))

    def take(self) -> Frames:
        """Return the frames of the next shard, as they are computed, and what became of it.

        Raises:
            ExportError: a node lacks the bag or has other versions; or a task was lost too often.
            BagError, ConfigError, OSError: as where it is computed here.
        """
        task = self._running[0]
        outcome: BagOutcome | None = None
        for reference in task:
            found = _found(reference)
            if isinstance(found, BagOutcome):
                outcome = found
            else:
                yield from read_frames(io.BytesIO(found))
        assert outcome is not None
        self._running.popleft()
        self._submit()
        return outcome

    def close(self) -> None:
        """End the tasks, and leave the cluster if it was joined here."""
        for task in self._running:
            ray.cancel(task, force=True)
        if self._is_own:
            ray.shutdown()


def _join() -> None:
    os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')  # else it reports to its makers
    try:
        ray.init(logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ExportError(f'the Ray cluster cannot be joined: {error}; see RAY_ADDRESS') from error


def _found(reference: Any) -> bytes | BagOutcome:
    """What a task gave, or raise what it raised."""
    try:
        found: bytes | BagOutcome = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise (
            error.cause if isinstance(error.cause, (BagError, ConfigError, ExportError, OSError)) else error
        ) from None
    except ray.exceptions.RayError as error:
        why = ' '.join(str(error).split())
        raise ExportError(f'a task was lost {_RETRIES + 1} times, or the cluster itself: {why}') from error
    return found


def _compute(task: _Task) -> Iterator[bytes | BagOutcome]:
    """Yield the frames of a shard, and what became of it."""
    _check_node(task)
    logging.disable(logging.CRITICAL)  # what is wrong with a bag is in the outcome
    with task.shard.frames(task.config) as frames:
        for frame in frames:
            file = io.BytesIO()
            write_frame(file, frame)
            yield file.getvalue()
        yield frames.outcome


def _check_node(task: _Task) -> None:
    host, bag = socket.gethostname(), task.shard.bag
    if not bag.exists():
        raise ExportError(f'{bag} is not on node {host}: all nodes must have the bags at the same path')
    if _sizes(task.shard) != task.sizes:
        raise ExportError(f'{bag} is another one on node {host}: all nodes must have the same bags')
    if made_by() != task.versions:
        raise ExportError(f'node {host} has {made_by()}, must have {task.versions}: install the same versions')


def _sizes(shard: Shard) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in open_bag(shard.bag).files}
