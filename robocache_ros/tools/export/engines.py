# SPDX-License-Identifier: Apache-2.0
"""What computes the shards of a set side by side: processes of this machine, or tasks of a Ray cluster."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Protocol

from robocache_core.config import PipelineConfig
from robocache_core.frame import FusedFrame
from robocache_ros.bag_outcome import BagOutcome
from robocache_ros.shards import Shard
from robocache_ros.tools.export.shards import Workers
from robocache_ros.tools.export.writer import UnusableError

#: Frames of a bag or a shard, and at their end what became of it.
Frames = Generator[FusedFrame, None, BagOutcome]


class Engine(Protocol):
    """Computes shards side by side, and gives them one after the other."""

    def take(self) -> Frames:
        """Return the frames of the next shard; where it is not computed yet they wait for it."""

    def close(self) -> None:
        """End what computes."""


def make_engine(name: str, shards: Sequence[Shard], config: PipelineConfig, jobs: int, spool: Path) -> Engine:
    """Begin to compute shards.

    Args:
        name: of ``names.ENGINES``.
        shards: in the order in which they will be taken.
        config: of the pipelines.
        jobs: shards that are computed at once.
        spool: folder that frames of processes wait in.

    Raises:
        UnusableError: a library is missing.
        ExportError: there is no cluster.
    """
    if name != 'ray':
        return Workers(shards, config, jobs, spool)
    try:
        from robocache_ros.tools.export.ray_tasks import RayTasks
    except ModuleNotFoundError as error:
        raise UnusableError(f'--engine ray needs {error.name}: pip install robocache_ros[ray]') from error
    return RayTasks(shards, config, jobs)
