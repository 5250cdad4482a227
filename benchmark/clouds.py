# SPDX-License-Identifier: Apache-2.0
"""Clouds to occupied voxels with the mean of their points, as odometry and mapping downsample them."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from benchmark.inputs import Points, recorded, simulated, turned
from benchmark.peers import Peers
from benchmark.row import Goal
from benchmark.runner import Call, Workload, on_threads
from robocache_core import ops
from robocache_core.ops import VoxelGrid
from robocache_core.samples import CloudLayout

SIZES = (0.1, 0.5)
MEANS = ('mean:x', 'mean:y', 'mean:z')


def workloads(peers: Peers, threads: int, quick: bool) -> dict[str, Callable[[], Workload]]:
    """By name: every cloud at every size of a voxel."""
    million = 20_000 if quick else 1_000_000
    clouds: dict[str, Callable[[], Points]] = {
        name: functools.partial(_head, cloud, quick) for name, cloud in recorded().items()
    }
    clouds['simulated 1M'] = functools.cache(lambda: simulated(million))
    return {
        f'cloud {name}, {size} m': functools.partial(_workload, cloud, name, size, peers, threads)
        for name, cloud in clouds.items()
        for size in SIZES
    }


def _head(cloud: Points, quick: bool) -> Points:
    return cloud[:5000] if quick else cloud


def _workload(make_cloud: Callable[[], Points], name: str, size: float, peers: Peers, threads: int) -> Workload:
    clouds = [turned(make_cloud(), number) for number in range(4)]
    num_points = len(clouds[0])
    grid = box_around(clouds, size)
    layout = CloudLayout.packed(('x', 'y', 'z'), num_points)
    inputs = [torch.from_numpy(cloud.view(np.uint8).reshape(-1)) for cloud in clouds]
    out = sparse_buffers(num_points, len(MEANS))

    def ours(number: int) -> tuple[torch.Tensor, ...]:
        voxels = ops.voxelize_sparse(inputs[number % 4], layout, grid, MEANS, out=out)
        return voxels.coords, voxels.features, voxels.counts

    num_voxels = ours(0)[0].shape[0]
    per_point_ns = 7 if num_points >= 1_000_000 else 5
    return Workload(
        ours=ours,
        peers=downsamplers(clouds, size, peers, threads),
        nbytes=inputs[0].numel() + num_voxels * (3 + len(MEANS) + 1) * 4,
        goal=Goal(max_ms=num_points * per_point_ns * 1e-6, at_least={'small_gicp': 4} if name == 'KITTI' else {}),
        out=out,
    )


def downsamplers(clouds: list[Points], size: float, peers: Peers, threads: int) -> dict[str, Call]:
    """The peers, each with its input already in the form that it likes best."""
    doubles = [cloud.astype(np.float64) for cloud in clouds]
    found: dict[str, Call] = {'numpy unique': lambda number: numpy_means(clouds[number % len(clouds)], size)}
    if (gicp := peers.get('small_gicp')) is not None:
        gicp_clouds = [gicp.PointCloud(points) for points in doubles]
        found |= on_threads(
            'small_gicp',
            threads,
            lambda number, count: gicp.voxelgrid_sampling(gicp_clouds[number % len(clouds)], size, num_threads=count),
        )
    if (kiss := peers.get('kiss-icp')) is not None:
        # It has one thread and cannot be given more.
        found['kiss-icp'] = lambda number: kiss.voxel_down_sample(doubles[number % len(clouds)], size)
    if (open3d := peers.get('open3d-cpu')) is not None:
        o3d_clouds = [open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points)) for points in doubles]
        found['open3d'] = lambda number: o3d_clouds[number % len(clouds)].voxel_down_sample(size)
    return found


def numpy_means(cloud: Points, size: float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Linear index and mean of each occupied voxel, in index order: what one writes without a library."""
    cells = np.floor(cloud * np.float32(1 / size)).astype(np.int64)
    cells -= cells.min(axis=0)
    shape = cells.max(axis=0) + 1
    linear = (cells[:, 2] * shape[1] + cells[:, 1]) * shape[0] + cells[:, 0]
    index, inverse, counts = np.unique(linear, return_inverse=True, return_counts=True)
    sums = [np.bincount(inverse, weights=cloud[:, axis], minlength=len(index)) for axis in range(3)]
    return index, np.stack(sums, axis=1) / counts[:, None]


def box_around(clouds: list[Points], size: float) -> VoxelGrid:
    """The smallest box of voxels around all clouds whose faces are whole voxels, as in the peers."""
    lower = np.floor(np.min([cloud.min(axis=0) for cloud in clouds], axis=0) / size) - 1
    upper = np.floor(np.max([cloud.max(axis=0) for cloud in clouds], axis=0) / size) + 2
    shape = tuple(int(n) for n in upper - lower)
    return VoxelGrid(tuple(float(n) * size for n in lower), (size,) * 3, shape)  # type: ignore[arg-type]


def sparse_buffers(rows: int, channels: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The ``out`` of ``voxelize_sparse``: coords, features, counts."""
    return (
        torch.empty(rows, 3, dtype=torch.int32),
        torch.empty(rows, channels),
        torch.empty(rows, dtype=torch.int32),
    )
