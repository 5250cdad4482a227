# SPDX-License-Identifier: Apache-2.0
"""Settings of the voxels of a depth camera's points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from robocache_core.channels import parse_channel
from robocache_core.ops.points import AXES
from robocache_core.streams.lidar import VoxelConfig
from robocache_core.tunable import ConfigError, tunable


@dataclass(frozen=True)
class DepthVoxelConfig(VoxelConfig):
    """The voxel grid of a depth camera's points, which have x, y, z and nothing else."""

    channels: tuple[str, ...] = tunable(
        ('count', 'mean:x', 'mean:y', 'mean:z'),
        'count, occupancy, density, and mean:, max: or min: of x, y, z; mean:x|y|z are relative to its centre',
    )
    output: str = tunable(
        'none',
        'none (no voxels), sparse (coords, features, counts) or dense [C, Z, Y, X]',
        choices=('none', 'sparse', 'dense'),
    )

    def check(self, prefix: str) -> None:
        super().check(prefix)
        for channel in fields_beyond_depth(self.channels):
            raise ConfigError(f'{prefix}channels has {channel!r}: the points of a depth camera have x, y, z alone')


def fields_beyond_depth(channels: Sequence[str]) -> list[str]:
    """Return the voxel channels that the points of a depth camera cannot give."""
    return [channel for channel in channels if parse_channel(channel)[1] not in ('', *AXES)]
