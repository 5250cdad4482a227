# SPDX-License-Identifier: Apache-2.0
"""Settings of a grid of several sensors, and which lidars are in one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from robocache_core.streams.lidar import LidarConfig, VoxelConfig
from robocache_core.text import shown
from robocache_core.tunable import Checked, ConfigError, tunable


@dataclass(frozen=True)
class GridConfig(Checked):
    """One voxel grid of the points of several lidars, each moved to the target by its ``deskew``."""

    name: str
    from_: tuple[str, ...] = tunable(
        (),
        'lidars whose points are in the grid; they have no voxels of their own, and of their parameters those of voxel '
        "are the grid's; one that has nothing for a frame costs its points alone where its required is false",
    )
    voxel: VoxelConfig = VoxelConfig()

    @property
    def dense_name(self) -> str:
        """Name of the tensor of its voxels in a frame, where they are dense."""
        return self.name

    def check(self, prefix: str) -> None:
        if len(set(self.from_)) != len(self.from_):
            raise ConfigError(f'{prefix}from = {shown(self.from_)}: must name no lidar twice')


def in_grids(lidars: Sequence[LidarConfig], grids: Sequence[GridConfig]) -> tuple[LidarConfig, ...]:
    """Return the lidars, those in a grid with its voxel settings.

    Raises:
        ConfigError: a grid names no lidar, or one that there is not; or a lidar is in two grids, or has voxel settings
            of its own beside those of its grid.
    """
    names = [lidar.name for lidar in lidars]
    taken: dict[str, GridConfig] = {}
    for grid in grids:
        prefix = f'{grid.name}.from = {shown(list(grid.from_))}'
        for name in grid.from_ or ('',):
            if name not in names:
                raise ConfigError(f'{prefix}: must name lidars, of {", ".join(names) or "which there is none"}')
            if name in taken:
                raise ConfigError(f'{prefix}: {name} is in {taken[name].name}; name another stream of its topic')
            taken[name] = grid
    return tuple(_in_grid(lidar, taken) for lidar in lidars)


def _in_grid(lidar: LidarConfig, taken: Mapping[str, GridConfig]) -> LidarConfig:
    grid = taken.get(lidar.name)
    if grid is None:
        return lidar
    if lidar.voxel not in (VoxelConfig(), grid.voxel):
        raise ConfigError(f'{lidar.name}.voxel: has no effect, as it is in {grid.name}; set {grid.name}.voxel instead')
    return dataclasses.replace(lidar, voxel=grid.voxel)
