# SPDX-License-Identifier: Apache-2.0
"""Voxelization to points in NumPy."""

from __future__ import annotations

import numpy as np
import torch

from robocache_core.backends.reference.arrays import ordered_int
from robocache_core.backends.reference.points import Points, column
from robocache_core.backends.reference.voxels import write_coords
from robocache_core.ops.hard_voxels import HardPlan
from robocache_core.ops.points import Cloud


def voxelize_hard(
    plan: HardPlan, cloud: Cloud, voxels: torch.Tensor, coords: torch.Tensor, num_points: torch.Tensor
) -> list[int]:
    """Write the first V rows of ``voxels [R, K, F] float32``, ``coords [R, 3] int32`` and ``num_points [R] int32``.

    Returns:
        V, then the points dropped, one number for each of ``POINT_DROP_REASONS``.
    """
    points = Points(plan.points, cloud)
    index, fraction = points.place(plan.box)
    x, y, z = (fraction - np.float32(0.5)) * column(plan.box.size)
    distance2 = (x * x + y * y) + z * z
    rows = points.values[list(plan.columns)]  # [F, M]
    order = np.lexsort([*ordered_int(rows)[::-1], distance2, index])
    index, rows = index[order], rows[:, order]
    found, begins, counts = np.unique(index, return_index=True, return_counts=True)

    size = min(len(found), num_points.shape[0])
    points.dropped['table_full'] = int(counts[size:].sum())
    kept = np.minimum(counts[:size], plan.max_points)
    points.dropped['voxel_full'] = int((counts[:size] - kept).sum())
    write_coords(plan.box, found[:size], coords)
    num_points[:size].numpy()[:] = kept
    table = voxels[:size].numpy()
    table[:] = 0
    for v, (begin, count) in enumerate(zip(begins[:size], kept, strict=True)):
        table[v, :count] = rows[:, begin : begin + count].T
    return [size, *points.dropped.values()]
