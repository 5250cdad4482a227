# SPDX-License-Identifier: Apache-2.0
"""Voxels as they are in a frame: those of a lidar, a depth camera, or a grid of several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from robocache_core import ops
from robocache_core.device import Device
from robocache_core.ledger import Reason
from robocache_core.ops import DenseVoxels, DepthLayout, SparseVoxels
from robocache_core.samples import CloudLayout, DataError

if TYPE_CHECKING:
    from robocache_core.streams.lidar import VoxelConfig


def voxelize(
    data: torch.Tensor, layout: CloudLayout | DepthLayout, voxel: VoxelConfig, **placing: Any
) -> DenseVoxels | SparseVoxels:
    """Voxelize a cloud as ``voxel`` says; ``placing``: the poses and ranges that ``ops.voxelize_dense`` takes."""
    settings = {'quantum': voxel.quantum, **placing}
    if voxel.output == 'dense':
        return ops.voxelize_dense(data, layout, voxel.grid, voxel.channels, **settings)
    return ops.voxelize_sparse(data, layout, voxel.grid, voxel.channels, max_voxels=voxel.max_voxels, **settings)


def named_voxels(name: str, voxels: DenseVoxels | SparseVoxels, dense: str = '') -> dict[str, torch.Tensor]:
    """Return the tensors of a result by their names in a frame; ``dense``: that of a dense one, empty: ``name``."""
    if isinstance(voxels, DenseVoxels):
        return {dense or name: voxels.tensor}
    return {f'{name}.coords': voxels.coords, f'{name}.features': voxels.features, f'{name}.counts': voxels.counts}


def blank_voxels(name: str, voxel: VoxelConfig, device: Device, dense: str = '') -> dict[str, torch.Tensor]:
    """Return the tensors of a frame that has no points, by the names of ``named_voxels``."""
    channels, (x, y, z), where = len(voxel.channels), voxel.grid.shape, device.torch_device
    if voxel.output == 'dense':
        return {dense or name: torch.zeros(channels, z, y, x, dtype=torch.float32, device=where)}
    coords = torch.zeros(0, 3, dtype=torch.int32, device=where)
    features = torch.zeros(0, channels, dtype=torch.float32, device=where)
    counts = torch.zeros(0, dtype=torch.int32, device=where)
    return named_voxels(name, SparseVoxels(coords, features, counts, [0]))


def check_overflow(name: str, voxel: VoxelConfig, dropped: dict[str, int], num_points: int) -> None:
    """Refuse points most of which were lost in the grid, which a valid frame would hide.

    Args:
        name: whose voxels they are.
        voxel: their settings.
        dropped: of them, by reason.
        num_points: how many there were.

    Raises:
        DataError: ``sum_overflow``.
    """
    inside = num_points - sum(dropped[reason] for reason in ('non_finite', 'range', 'outside'))
    if 2 * dropped['overflow'] > inside:
        means = ', '.join(channel for channel in voxel.channels if channel.startswith('mean:'))
        raise DataError(
            Reason.SUM_OVERFLOW,
            f'{dropped["overflow"]} of {inside} points in the grid have values too large for the sums of {means}: '
            f'set {name}.voxel.quantum = {voxel.quantum:g} higher, or leave the channel out',
        )
