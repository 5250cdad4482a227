# SPDX-License-Identifier: Apache-2.0
"""Voxelization to channels in NumPy."""

from __future__ import annotations

import numpy as np
import torch

from robocache_core.backends.reference.arrays import Array, ordered_float, ordered_int
from robocache_core.backends.reference.points import Points
from robocache_core.ops.grid import BoxPlan
from robocache_core.ops.points import Cloud
from robocache_core.ops.voxels import VoxelPlan

Voxels = tuple[Array, Array, Array, dict[str, int]]


def voxelize_dense(plan: VoxelPlan, cloud: Cloud, tensor: torch.Tensor) -> list[int]:
    """Write ``tensor [C, Z, Y, X] float32``; returns 0, then the points dropped."""
    index, features, _, dropped = _voxelize(plan, cloud)
    tensor.zero_()
    tensor.view(len(plan.channels), -1).numpy()[:, index] = features.T
    return [0, *dropped.values()]


def voxelize_sparse(
    plan: VoxelPlan, cloud: Cloud, coords: torch.Tensor, features: torch.Tensor, counts: torch.Tensor
) -> list[int]:
    """Write the first V rows of ``coords [R, 3] int32``, ``features [R, C] float32`` and ``counts [R] int32``.

    Returns:
        V, then the points dropped, one number for each of ``POINT_DROP_REASONS``.
    """
    index, all_features, all_counts, dropped = _voxelize(plan, cloud)
    size = min(len(index), counts.shape[0])
    dropped['table_full'] = int(all_counts[size:].sum())
    write_coords(plan.box, index[:size], coords)
    features[:size].numpy()[:] = all_features[:size]
    counts[:size].numpy()[:] = all_counts[:size]
    return [size, *dropped.values()]


def write_coords(box: BoxPlan, index: Array, coords: torch.Tensor) -> None:
    """Write z y x of the voxels with the linear ``index``."""
    x, y, _ = box.shape
    coords[: len(index)].numpy()[:] = np.stack([index // (x * y), index // x % y, index % x], axis=-1)


@np.errstate(all='ignore')
def _voxelize(plan: VoxelPlan, cloud: Cloud) -> Voxels:
    """Linear index ``[V] int64`` of every occupied voxel in order, features ``[V, C]``, counts ``[V]``, drops."""
    points = Points(plan.points, cloud)
    index, fraction = points.place(plan.box)
    values = points.values
    sums: list[Array] = []
    maxima: list[Array] = []
    overflow = np.zeros(len(index), dtype=bool)
    for channel in plan.channels:
        if channel.kind == 'mean_offset':
            sums.append((fraction[channel.source] * np.float32(65536)).astype(np.int64))
        elif channel.kind == 'mean':
            q = np.rint(values[channel.source].astype(np.float64) * plan.inverse_quantum)
            overflow |= ~(np.abs(q) < 2.0**31)
            sums.append(q.astype(np.int64))
        elif channel.kind == 'max':
            maxima.append(ordered_int(values[channel.source]))
        elif channel.kind == 'min':
            maxima.append(~ordered_int(values[channel.source]))
    (terms,) = points.keep('overflow', ~overflow, np.stack([index, *sums, *maxima]))
    dropped = points.dropped

    terms = terms[:, np.argsort(terms[0], kind='stable')]
    voxels, begins, counts = np.unique(terms[0], return_index=True, return_counts=True)
    if not len(voxels):
        return voxels, np.empty((0, len(plan.channels)), dtype=np.float32), counts, dropped
    sums = list(np.add.reduceat(terms[1 : 1 + plan.num_sums], begins, axis=1))
    maxima = list(np.maximum.reduceat(terms[1 + plan.num_sums :], begins, axis=1))
    n = counts.astype(np.float64)
    features = np.empty((len(voxels), len(plan.channels)), dtype=np.float32)
    for c, channel in enumerate(plan.channels):
        if channel.kind == 'count':
            features[:, c] = counts
        elif channel.kind == 'occupancy':
            features[:, c] = 1
        elif channel.kind == 'density':
            features[:, c] = n * plan.inverse_volume
        elif channel.kind == 'mean_offset':
            total = sums[channel.slot].astype(np.float64) + 0.5 * n
            features[:, c] = (total / (65536.0 * n) - 0.5) * plan.box.size[channel.source]
        elif channel.kind == 'mean':
            features[:, c] = (sums[channel.slot].astype(np.float64) * plan.quantum) / n
        elif channel.kind == 'max':
            features[:, c] = ordered_float(maxima[channel.slot])
        else:
            features[:, c] = ordered_float(~maxima[channel.slot])
    return voxels, features, counts, dropped
