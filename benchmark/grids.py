# SPDX-License-Identifier: Apache-2.0
"""Points to dense grids, as networks take them: W2 and the lidar grid of the GPU benchmark, on the same inputs."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from benchmark.clouds import sparse_buffers
from benchmark.peers import Peers
from benchmark.runner import Call, Workload, torch_on_threads
from robocache_core import ops
from robocache_core.ops import VoxelGrid
from robocache_core.samples import CloudLayout

Features = npt.NDArray[np.float32]

# A word of torch about the future of a peer's API, which says nothing about its speed.
warnings.filterwarnings('ignore', message='index_reduce')


def workloads(peers: Peers, threads: int, quick: bool) -> dict[str, Callable[[], Workload]]:
    """By name."""
    del peers  # NumPy and torch are always there
    even, box = functools.partial(uniform, 4_000 if quick else 500_000), cube(32 if quick else 128)
    lidar, flat = functools.partial(clustered, 4_000 if quick else 262_144), plate(64 if quick else 512)
    dense = {
        'W2 count 500k, 128³': (even, box, 0, 'count'),
        'W2 occupancy 500k, 128³': (even, box, 0, 'occupancy'),
        'W2 mean of 8, 500k, 128³': (even, box, 8, 'mean'),
        'W2 max of 8, 500k, 128³': (even, box, 8, 'max'),
        'lidar 262k dense mean of 4, 512×512×32': (lidar, flat, 4, 'mean'),
    }
    made: dict[str, Callable[[], Workload]] = {
        name: functools.partial(_dense, *settings, threads) for name, settings in dense.items()
    }
    made['lidar 262k sparse mean of 4, 512×512×32'] = functools.partial(_sparse, lidar, flat, 4, threads)
    return made


def cube(cells: int) -> VoxelGrid:
    edge = 0.0625
    return VoxelGrid((-cells * edge / 2,) * 3, (edge,) * 3, (cells,) * 3)


def plate(cells: int) -> VoxelGrid:
    return VoxelGrid((-cells * 0.1, -cells * 0.1, -2.4), (0.2, 0.2, 0.2), (cells, cells, 32))


def uniform(num_points: int, features: int, number: int) -> Features:
    """``[N, 3 + features]``: points in a cube from -2 m to 2 m."""
    random = np.random.default_rng(number)
    return random.uniform(-2, 2, (num_points, 3 + features)).astype(np.float32)


def clustered(num_points: int, features: int, number: int) -> Features:
    """``[N, 3 + features]``: points that are closer to each other near the sensor, as a lidar's do."""
    random = np.random.default_rng(number)
    distance, angle = random.uniform(1, 7, num_points) ** 2, random.uniform(0, 2 * np.pi, num_points)
    position = [distance * np.cos(angle), distance * np.sin(angle), random.normal(0, 0.7, num_points)]
    return np.stack([*position, *random.uniform(-2, 2, (features, num_points))], axis=1).astype(np.float32)


def _inputs(make: Callable[[int, int], Features], features: int) -> tuple[list[Features], CloudLayout]:
    clouds = [make(features, number) for number in range(4)]
    names = ('x', 'y', 'z', *(f'f{i}' for i in range(features)))
    return clouds, CloudLayout.packed(names, len(clouds[0]))


def channel_names(kind: str, features: int) -> tuple[str, ...]:
    return tuple(f'{kind}:f{i}' for i in range(features)) if features else (kind,)


def _dense(make: Callable[[int, int], Features], grid: VoxelGrid, features: int, kind: str, threads: int) -> Workload:
    clouds, layout = _inputs(make, features)
    data = [torch.from_numpy(cloud.view(np.uint8).reshape(-1)) for cloud in clouds]
    channels = channel_names(kind, features)
    out = torch.empty(len(channels), *reversed(grid.shape))
    return Workload(
        ours=lambda number: (ops.voxelize_dense(data[number % 4], layout, grid, channels, out=out).tensor,),
        peers={
            'numpy': _numpy_dense(clouds, grid, kind),
            **torch_on_threads(threads, _torch_dense(clouds, grid, kind)),
        },
        nbytes=data[0].numel() + out.numel() * 4,
        out=(out,),
    )


def _sparse(make: Callable[[int, int], Features], grid: VoxelGrid, features: int, threads: int) -> Workload:
    clouds, layout = _inputs(make, features)
    data = [torch.from_numpy(cloud.view(np.uint8).reshape(-1)) for cloud in clouds]
    channels = channel_names('mean', features)
    out = sparse_buffers(len(clouds[0]), features)

    def ours(number: int) -> tuple[torch.Tensor, ...]:
        voxels = ops.voxelize_sparse(data[number % 4], layout, grid, channels, out=out)
        return voxels.coords, voxels.features, voxels.counts

    def numpy(number: int) -> tuple[npt.NDArray[np.int64], Features]:
        linear, values = numpy_cells(clouds[number % 4], grid)
        index, inverse, counts = np.unique(linear, return_inverse=True, return_counts=True)
        sums = [np.bincount(inverse, weights=column, minlength=len(index)) for column in values.T]
        return index, (np.stack(sums, axis=1) / counts[:, None]).astype(np.float32)

    def torch_(number: int) -> tuple[torch.Tensor, torch.Tensor]:
        linear, values = _torch_cells(torch.from_numpy(clouds[number % 4]), grid)
        index, inverse, counts = torch.unique(linear, return_inverse=True, return_counts=True)
        sums = torch.zeros(len(index), values.shape[1]).index_add_(0, inverse, values)
        return index, sums / counts[:, None]

    return Workload(
        ours=ours,
        peers={'numpy unique': numpy, **torch_on_threads(threads, torch_)},
        nbytes=data[0].numel() + ours(0)[0].shape[0] * (3 + features + 1) * 4,
        out=out,
    )


def numpy_cells(cloud: Features, grid: VoxelGrid) -> tuple[npt.NDArray[np.int64], Features]:
    """Linear index of each point inside the grid, and its features."""
    inverse_size = np.float32(1 / grid.size[0])
    cells = np.floor((cloud[:, :3] - np.array(grid.lower, np.float32)) * inverse_size)
    inside = ((cells >= 0) & (cells < np.array(grid.shape, np.float32))).all(axis=1)
    cells = cells[inside].astype(np.int64)
    return (cells[:, 2] * grid.shape[1] + cells[:, 1]) * grid.shape[0] + cells[:, 0], cloud[inside, 3:]


def _torch_cells(cloud: torch.Tensor, grid: VoxelGrid) -> tuple[torch.Tensor, torch.Tensor]:
    """The same in torch."""
    cells = ((cloud[:, :3] - torch.tensor(grid.lower)) * (1 / grid.size[0])).floor()
    inside = ((cells >= 0) & (cells < torch.tensor(grid.shape))).all(dim=1)
    cells = cells[inside].long()
    return (cells[:, 2] * grid.shape[1] + cells[:, 1]) * grid.shape[0] + cells[:, 0], cloud[inside, 3:]


def _numpy_dense(clouds: list[Features], grid: VoxelGrid, kind: str) -> Call:
    def run(number: int) -> Features:
        linear, values = numpy_cells(clouds[number % 4], grid)
        if kind == 'max':
            result = np.full((values.shape[1], grid.num_voxels), -np.inf, np.float32)
            for row, column in zip(result, values.T, strict=True):
                np.maximum.at(row, linear, column)
            result[np.isneginf(result)] = 0
            return result
        counts = np.bincount(linear, minlength=grid.num_voxels)
        if kind == 'occupancy':
            return (counts > 0).astype(np.float32)[None]
        if kind == 'count':
            return counts.astype(np.float32)[None]
        sums = [np.bincount(linear, weights=column, minlength=grid.num_voxels) for column in values.T]
        return (np.stack(sums) / np.maximum(counts, 1)).astype(np.float32)

    return run


def _torch_dense(clouds: list[Features], grid: VoxelGrid, kind: str) -> Call:
    tensors = [torch.from_numpy(cloud) for cloud in clouds]

    def run(number: int) -> torch.Tensor:
        linear, values = _torch_cells(tensors[number % 4], grid)
        if kind == 'max':
            empty = torch.zeros(grid.num_voxels, values.shape[1])
            return empty.index_reduce_(0, linear, values, 'amax', include_self=False).T.contiguous()
        counts = torch.bincount(linear, minlength=grid.num_voxels)
        if kind == 'occupancy':
            return (counts > 0).float()[None]
        if kind == 'count':
            return counts.float()[None]
        sums = torch.zeros(grid.num_voxels, values.shape[1]).index_add_(0, linear, values)
        return (sums / counts.clamp(min=1)[:, None]).T.contiguous()

    return run
