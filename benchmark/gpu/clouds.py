# SPDX-License-Identifier: Apache-2.0
"""Points to voxels: W2 and the lidar's grids, uniform and clustered."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from benchmark.gpu import in_torch
from benchmark.gpu.workload import CALL, GRAPH, Inputs, Out, Workload
from benchmark.grids import Features, channel_names, clustered, cube, numpy_cells, plate, uniform
from robocache_core import ops
from robocache_core.ops import VoxelGrid
from robocache_core.samples import CloudLayout

#: Of the hard voxels: most points of one, and most of them.
MAX_POINTS, MAX_VOXELS = 10, 60_000

Cloud = Callable[[int, int], Features]


def workloads(quick: bool) -> dict[str, Callable[[], Workload]]:
    """By name."""
    num_w2, num_lidar = (4_000, 4_000) if quick else (500_000, 262_144)
    box, flat = cube(32 if quick else 128), plate(64 if quick else 512)
    even: Cloud = functools.partial(uniform, num_w2)
    uneven: Cloud = functools.partial(clustered, num_w2)
    lidar: Cloud = functools.partial(clustered, num_lidar)
    spread: Cloud = functools.partial(_spread, flat, num_lidar)
    return {
        'W2 count 500k, 128³': functools.partial(_dense, even, box, 0, 'count', {CALL: 15, GRAPH: 7}),
        'W2 occupancy 500k, 128³': functools.partial(_dense, even, box, 0, 'occupancy', {CALL: 15, GRAPH: 6}),
        'W2 mean of 8, 500k, 128³': functools.partial(_dense, even, box, 8, 'mean', {CALL: 60, GRAPH: 50}),
        'W2 max of 8, 500k, 128³': functools.partial(_dense, even, box, 8, 'max', {CALL: 55, GRAPH: 45}),
        'W2 count 500k clustered, 128³': functools.partial(_dense, uneven, box, 0, 'count', {}),
        'W2 mean of 8, 500k clustered, 128³': functools.partial(_dense, uneven, box, 8, 'mean', {}),
        'lidar 262k dense mean of 4, 512×512×32': functools.partial(_dense, lidar, flat, 4, 'mean', {CALL: 90}),
        'lidar 262k sparse mean of 4, 512×512×32': functools.partial(_sparse, lidar, flat, 4, {CALL: 35}),
        'uniform 262k dense mean of 4, 512×512×32': functools.partial(_dense, spread, flat, 4, 'mean', {}),
        'uniform 262k sparse mean of 4, 512×512×32': functools.partial(_sparse, spread, flat, 4, {}),
        f'lidar 262k hard voxels of {MAX_POINTS}, 512×512×32': functools.partial(_hard, lidar, flat),
    }


def sparse_buffers(rows: int, num_channels: int, device: torch.device) -> Out:
    """The ``out`` of ``voxelize_sparse``."""
    return (
        torch.empty(rows, 3, dtype=torch.int32, device=device),
        torch.empty(rows, num_channels, device=device),
        torch.empty(rows, dtype=torch.int32, device=device),
    )


def _spread(grid: VoxelGrid, num_points: int, features: int, number: int) -> Features:
    """``[N, 3 + features]``: points anywhere in the grid."""
    random = np.random.default_rng(number)
    extent = np.array(grid.size) * np.array(grid.shape)
    points = np.array(grid.lower) + random.uniform(0, 1, (num_points, 3)) * extent
    return np.concatenate([points, random.uniform(-2, 2, (num_points, features))], axis=1).astype(np.float32)


def _inputs(make: Cloud, grid: VoxelGrid, features: int) -> tuple[list[Inputs], CloudLayout, str]:
    clouds = [make(features, number) for number in range(4)]
    layout = CloudLayout.packed(('x', 'y', 'z', *(f'f{i}' for i in range(features))), len(clouds[0]))
    index = numpy_cells(clouds[0], grid)[0]
    about = f'{len(index) / len(clouds[0]):.0%} of the points inside the grid, in {len(np.unique(index))} voxels'
    return [[torch.from_numpy(cloud.view(np.uint8).reshape(-1))] for cloud in clouds], layout, about


def _rows(inputs: Inputs, layout: CloudLayout) -> torch.Tensor:
    """The points of packed bytes, as torch sees them: ``[N, 3 + features]``."""
    return inputs[0].view(torch.float32).view(layout.num_points, -1)


def _dense(make: Cloud, grid: VoxelGrid, features: int, kind: str, goals: dict[str, float]) -> Workload:
    inputs, layout, about = _inputs(make, grid, features)
    channels = channel_names(kind, features)
    shape = (len(channels), *reversed(grid.shape))

    def ours(inputs: Inputs, out: Out | None) -> Any:
        return ops.voxelize_dense(inputs[0], layout, grid, channels, out=None if out is None else out[0])

    def peer(inputs: Inputs, by_rows: bool) -> torch.Tensor:
        points = _rows(inputs, layout)
        return in_torch.dense(in_torch.cells(points[:, :3], grid), points[:, 3:], grid, kind, by_rows=by_rows)

    # Sums a voxel or sums a channel: which is faster depends on the GPU.
    ways = {'torch': True, 'torch, channels first': False} if features else {'torch': True}
    return Workload(
        inputs=inputs,
        ours=ours,
        out=lambda device: (torch.empty(shape, device=device),),
        peers={name: functools.partial(peer, by_rows=by_rows) for name, by_rows in ways.items()},
        nbytes=inputs[0][0].numel() + 4 * len(channels) * grid.num_voxels,
        goals=goals,
        sent=1,
        about=about,
    )


def _sparse(make: Cloud, grid: VoxelGrid, features: int, goals: dict[str, float]) -> Workload:
    inputs, layout, about = _inputs(make, grid, features)
    channels = channel_names('mean', features)

    def ours(inputs: Inputs, out: Out | None) -> Any:
        return ops.voxelize_sparse(inputs[0], layout, grid, channels, out=out)  # type: ignore[arg-type]

    def peer(inputs: Inputs, way: Callable[..., object]) -> object:
        points = _rows(inputs, layout)
        return way(in_torch.cells(points[:, :3], grid), points[:, 3:], grid)

    return Workload(
        inputs=inputs,
        ours=ours,
        out=functools.partial(sparse_buffers, layout.num_points, features),
        peers={
            'torch unique': functools.partial(peer, way=in_torch.sparse_by_unique),
            'torch sort': functools.partial(peer, way=in_torch.sparse_by_sort),
        },
        waiting=frozenset({'torch unique'}),
        nbytes=inputs[0][0].numel() + _num_voxels(ours, inputs) * (3 + features + 1) * 4,
        goals=goals,
        sent=1,
        about=about,
    )


def _hard(make: Cloud, grid: VoxelGrid) -> Workload:
    inputs, layout, about = _inputs(make, grid, 1)
    fields = ('x', 'y', 'z', 'f0')

    def ours(inputs: Inputs, out: Out | None) -> Any:
        return ops.voxelize_hard(
            inputs[0], layout, grid, fields, max_points=MAX_POINTS, max_voxels=MAX_VOXELS, out=out  # type: ignore[arg-type]
        )  # fmt: skip

    def out(device: torch.device) -> Out:
        # Rows that no result exceeds would be enough, but the caller knows only what it asked for.
        return (
            torch.empty(MAX_VOXELS, MAX_POINTS, len(fields), device=device),
            torch.empty(MAX_VOXELS, 3, dtype=torch.int32, device=device),
            torch.empty(MAX_VOXELS, dtype=torch.int32, device=device),
        )

    return Workload(
        inputs=inputs,
        ours=ours,
        out=out,
        peers={'torch sort': lambda inputs: in_torch.hard(_rows(inputs, layout), grid, MAX_POINTS, MAX_VOXELS)},
        nbytes=inputs[0][0].numel() + _num_voxels(ours, inputs) * (MAX_POINTS * len(fields) + 4) * 4,
        sent=1,
        about=f'{about}, at most {MAX_VOXELS}',
    )


def _num_voxels(ours: Callable[[Inputs, Out | None], Any], inputs: Sequence[Inputs]) -> int:
    return len(ours(inputs[0], None).coords)
