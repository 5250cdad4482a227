# SPDX-License-Identifier: Apache-2.0
"""Settings of a grid of several sensors, and which lidars and depth cameras are in one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from robocache_core.streams.depth import DepthConfig
from robocache_core.streams.depth_voxels import DepthVoxelConfig, fields_beyond_depth
from robocache_core.streams.lidar import LidarConfig, VoxelConfig
from robocache_core.text import shown
from robocache_core.tunable import Checked, ConfigError, tunable


@dataclass(frozen=True)
class GridConfig(Checked):
    """One voxel grid of the points of several lidars and depth cameras, each moved to the target by its ``deskew``."""

    name: str
    from_: tuple[str, ...] = tunable(
        (),
        'lidars and depth cameras whose points are in the grid; they have no voxels of their own, and of their '
        "parameters those of voxel are the grid's; one that has nothing for a frame costs its points alone where its "
        'required is false',
    )
    voxel: VoxelConfig = VoxelConfig()

    @property
    def dense_name(self) -> str:
        """Name of the tensor of its voxels in a frame, where they are dense."""
        return self.name

    def check(self, prefix: str) -> None:
        if len(set(self.from_)) != len(self.from_):
            raise ConfigError(f'{prefix}from = {shown(self.from_)}: must name no sensor twice')


def in_grids(
    lidars: Sequence[LidarConfig], depths: Sequence[DepthConfig], grids: Sequence[GridConfig]
) -> tuple[tuple[LidarConfig, ...], tuple[DepthConfig, ...]]:
    """Return the lidars and the depth cameras, those in a grid with its voxel settings.

    Raises:
        ConfigError: a grid names no sensor, or one that there is not; or a sensor is in two grids, or has voxel
            settings of its own beside those of its grid; or a depth camera's points lack a field that its grid reads.
    """
    names = [sensor.name for sensor in (*lidars, *depths)]
    taken: dict[str, GridConfig] = {}
    for grid in grids:
        prefix = f'{grid.name}.from = {shown(list(grid.from_))}'
        for name in grid.from_ or ('',):
            if name not in names:
                raise ConfigError(
                    f'{prefix}: must name lidars or depth cameras, of {", ".join(names) or "which there is none"}'
                )
            if name in taken:
                raise ConfigError(f'{prefix}: {name} is in {taken[name].name}; name another stream of its topic')
            taken[name] = grid
    return (
        tuple(_lidar_in(taken[lidar.name], lidar) if lidar.name in taken else lidar for lidar in lidars),
        tuple(_depth_in(taken[depth.name], depth) if depth.name in taken else depth for depth in depths),
    )


def _lidar_in(grid: GridConfig, lidar: LidarConfig) -> LidarConfig:
    if lidar.voxel not in (VoxelConfig(), grid.voxel):
        raise _without_effect(lidar.name, grid)
    return dataclasses.replace(lidar, voxel=grid.voxel)


def _depth_in(grid: GridConfig, depth: DepthConfig) -> DepthConfig:
    if beyond := fields_beyond_depth(grid.voxel.channels):
        raise ConfigError(
            f'{grid.name}.voxel.channels has {", ".join(map(repr, beyond))}: the points of {depth.name}, a depth '
            'camera, have x, y, z alone'
        )
    voxel = DepthVoxelConfig(**vars(grid.voxel))
    if depth.voxel not in (DepthVoxelConfig(), voxel):
        raise _without_effect(depth.name, grid)
    return dataclasses.replace(depth, voxel=voxel)


def _without_effect(name: str, grid: GridConfig) -> ConfigError:
    return ConfigError(f'{name}.voxel: has no effect, as it is in {grid.name}; set {grid.name}.voxel instead')
