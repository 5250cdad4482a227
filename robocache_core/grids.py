# SPDX-License-Identifier: Apache-2.0
"""Grids of several sensors: the points of all of them, each at its place at the target time, in one voxelization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from robocache_core.channels import parse_channel
from robocache_core.device import Device
from robocache_core.grid_config import GridConfig
from robocache_core.ops.points import AXES
from robocache_core.samples import CloudLayout, DataError
from robocache_core.streams.base import FrameDraft, Job
from robocache_core.streams.points_job import PointsJob
from robocache_core.streams.voxels import blank_voxels, check_overflow, named_voxels, voxelize

if TYPE_CHECKING:
    from robocache_core.target import Target


class Grids:
    """The grids of a pipeline.

    Attributes:
        names: of the grids.
        sources: names of the streams whose points are in one.
    """

    def __init__(self, configs: Sequence[GridConfig]) -> None:
        self._grids = [Grid(config) for config in configs]
        self.names = tuple(config.name for config in configs)
        self.sources = tuple(name for config in configs for name in config.from_)

    def jobs(self, jobs: Mapping[str, Job], draft: FrameDraft) -> list[Job | GridJob]:
        """Return the jobs of the streams, by name, and those of the grids, in the order in which they are to run.

        Grids come after their sources; what must be decoded first comes last, so that it is decoded while all else is
        computed.
        """
        all_jobs: list[Job | GridJob] = [*jobs.values(), *(grid.job(jobs, draft) for grid in self._grids)]
        return sorted(all_jobs, key=lambda job: job.decodes)

    def left_out(self, target: Target) -> list[str]:
        """Return the sources whose samples are too far from a target to be in their grid."""
        return [name for name in self.sources if not target.picks[name].valid]


class Grid:
    """A grid of a pipeline.

    Args:
        config: its configuration.
    """

    def __init__(self, config: GridConfig) -> None:
        self.config = config
        self.name = config.name
        fields = (field for _, field in map(parse_channel, config.voxel.channels) if field and field not in AXES)
        #: What is read of a point beside x, y, z.
        self.fields = tuple(dict.fromkeys(fields))
        self._columns = (*AXES, *self.fields)

    def job(self, jobs: Mapping[str, Job], draft: FrameDraft) -> GridJob:
        """Return what computes the grid's part of a frame, of the jobs of its sources, by name."""
        sources = [jobs[name] for name in self.config.from_]
        return GridJob(self, [source for source in sources if isinstance(source, PointsJob)], draft)

    def layout(self, num_points: int) -> CloudLayout:
        """Layout of the points of all sources."""
        return CloudLayout.packed(self._columns, num_points)


class GridJob:
    """Voxelizes the points of the sources that have a sample for the frame; the others are left out.

    Sums of integers do not depend on the order of the points, and so not on that of the sources.
    """

    def __init__(self, grid: Grid, sources: list[PointsJob], draft: FrameDraft) -> None:
        self._grid = grid
        self._sources = sources
        self._draft = draft
        self._result: Any = None

    @property
    def decodes(self) -> bool:
        """Whether a source is decoded before the points are there."""
        return any(source.decodes for source in self._sources)

    def upload(self, device: Device) -> None:
        """Nothing: the sources have uploaded theirs."""

    def launch(self, device: Device) -> None:
        """Write the points of all sources, and voxelize them."""
        grid = self._grid
        sizes = [source.num_points for source in self._sources]
        layout = grid.layout(sum(sizes))
        width = len(layout.fields)
        rows = torch.empty(sum(sizes), width, dtype=torch.float32, device=device.torch_device)
        for source, part in zip(self._sources, torch.split(rows, sizes), strict=True):
            source.write(device, part, grid.fields)
        data = rows.view(-1).view(torch.uint8)
        self._result = voxelize(data, layout, grid.config.voxel)
        self._draft.voxels.append(self._result)
        device.record_stage(grid.name)

    def collect(self, device: Device) -> None:
        """Read what the voxelization found out; after the sources have read theirs."""
        draft, name, config = self._draft, self._grid.name, self._grid.config
        draft.valid[name] = any(draft.valid[source] for source in config.from_)
        draft.left_out += [source for source in config.from_ if not draft.valid[source]]
        draft.tensors[name] = named_voxels(name, self._result)
        # What a source lost on the way is counted there.
        dropped = self._result.dropped | {'non_finite': 0}
        num_points = sum(source.num_valid for source in self._sources)
        try:
            check_overflow(name, config.voxel, dropped, num_points)
        except DataError as error:
            for source in self._sources:
                source.refuse(device, error)
            draft.valid[name] = False
            draft.tensors[name] = blank_voxels(name, config.voxel, device)
            return
        draft.points_dropped[name] = dropped
        if num_points and sum(dropped.values()) == num_points:
            draft.without_voxels += [source.stream.name for source in self._sources if source.num_valid]
