# SPDX-License-Identifier: Apache-2.0
"""Depth images of 848×480 (16UC1): at half the size, in a camera's image of 640×480, and as voxels of 5 cm."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmark.clouds import MEANS, sparse_buffers
from benchmark.peers import Peers
from benchmark.row import Goal
from benchmark.runner import Call, Workload, on_threads, torch_on_threads
from robocache_core import ops
from robocache_core.camera_model import camera_model_of
from robocache_core.ops import DepthLayout, VoxelGrid
from robocache_core.rays import corner_rays_of, rays_of
from robocache_core.rotation import pose_matrix
from robocache_core.samples import CameraInfo

Counts = npt.NDArray[np.uint16]

FOCAL, FURTHEST, SIZE, BASELINE = 420.0, 10.0, 0.05, 0.05
GRID = VoxelGrid(lower=(-10.0, -6.0, 0.0), size=(SIZE,) * 3, shape=(400, 240, 202))


def workloads(peers: Peers, threads: int, quick: bool) -> dict[str, Callable[[], Workload]]:
    """By name."""
    width, height = (106, 60) if quick else (848, 480)
    return {
        'depth 848×480 to 424×240': functools.partial(_prepare, width, height, peers, threads),
        'depth 848×480 registered to 640×480': functools.partial(_register, width, height, peers, threads),
        'depth 848×480 to voxels, 0.05 m': functools.partial(_voxels, width, height, peers, threads),
    }


def images(width: int, height: int) -> list[Counts]:
    """Two images of a floor, a wall and a box before it, mm, with holes and noise as a stereo camera has them."""
    y, x = np.mgrid[0:height, 0:width]
    made = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        metres = np.minimum(6.0 + x / width, 1.2 * height / np.maximum(y - height / 2, 1))
        metres[height // 3 : 2 * height // 3, width // 3 : width // 2] = 2.0 + 0.1 * seed
        metres += 0.001 * metres**2 * rng.standard_normal(metres.shape)
        metres[rng.random(metres.shape) < 0.05] = 0
        made.append((metres * 1000).astype(np.uint16))
    return made


def _info(width: int, height: int) -> CameraInfo:
    focal = FOCAL * width / 848
    k = (focal, 0.0, (width - 1) / 2, 0.0, focal, (height - 1) / 2, 0.0, 0.0, 1.0)
    p = (*k[:3], 0.0, *k[3:6], 0.0, *k[6:], 0.0)
    return CameraInfo(width, height, '', (), k, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0), p)


def _prepare(width: int, height: int, peers: Peers, threads: int) -> Workload:
    made = images(width, height)
    inputs = [torch.from_numpy(counts.view(np.uint8).reshape(-1)) for counts in made]
    size = width // 2, height // 2
    out = torch.empty(1, size[1], size[0]), torch.empty(1, size[1], size[0], dtype=torch.bool)

    def ours(number: int) -> tuple[torch.Tensor, ...]:
        return ops.prepare_depth(
            inputs[number % 2],
            encoding='16UC1',
            width=width,
            height=height,
            step=2 * width,
            out_width=size[0],
            out_height=size[1],
            max_depth=FURTHEST,
            out=out,
        )

    found: dict[str, Call] = torch_on_threads(threads, lambda number: _torch_metres(made[number % 2], size))
    cv2 = peers.get('opencv-python-headless')
    if cv2 is not None:
        found |= on_threads('cv2', threads, lambda number, count: _cv2_metres(cv2, made[number % 2], size, count))
    nbytes = size[0] * size[1] * (2 + 4 + 1)
    return Workload(ours=ours, peers=found, nbytes=nbytes, goal=Goal(), out=out)


def _cv2_metres(cv2: Any, counts: Counts, size: tuple[int, int], threads: int) -> object:
    cv2.setNumThreads(threads)
    metres = cv2.resize(counts, size, interpolation=cv2.INTER_NEAREST).astype(np.float32) * np.float32(0.001)
    valid = (metres > 0) & (metres <= FURTHEST)
    metres[~valid] = 0
    return metres, valid


def _torch_metres(counts: Counts, size: tuple[int, int]) -> object:
    image = torch.from_numpy(counts.view(np.int16)).float().unsqueeze(0).unsqueeze(0)  # below 32.8 m
    metres = torch.nn.functional.interpolate(image, (size[1], size[0]), mode='nearest') * 0.001
    valid = (metres > 0) & (metres <= FURTHEST)
    return metres.masked_fill_(~valid, 0), valid


def _register(width: int, height: int, peers: Peers, threads: int) -> Workload:
    """To a camera 5 cm beside, of 640×480 pixels; a peer puts each pixel into one of the result, we draw it whole."""
    made, info = images(width, height), _info(width, height)
    inputs = [torch.from_numpy(counts.view(np.uint8).reshape(-1)) for counts in made]
    size = 640 * width // 848, height
    camera = _info(*size)
    camera_model = camera_model_of(camera, out_width=size[0], out_height=size[1])
    corners, rays = (make(info, width=width, height=height) for make in (corner_rays_of, rays_of))
    pose = pose_matrix((BASELINE, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    out = torch.empty(1, size[1], size[0]), torch.empty(1, size[1], size[0], dtype=torch.bool)

    def ours(number: int) -> tuple[torch.Tensor, ...]:
        return ops.register_depth(
            inputs[number % 2],
            encoding='16UC1',
            width=width,
            height=height,
            step=2 * width,
            corners=corners,
            transform=pose,
            camera_model=camera_model,
            max_depth=FURTHEST,
            out=out,
        )

    found = torch_on_threads(threads, lambda number: _torch_registered(made[number % 2], rays, camera))
    nbytes = width * height * (2 + 12) + size[0] * size[1] * (4 + 1)
    return Workload(ours=ours, peers=found, nbytes=nbytes, goal=Goal(), out=out)


def _torch_registered(counts: Counts, rays: torch.Tensor, camera: CameraInfo) -> object:
    metres = torch.from_numpy(counts.view(np.int16)).float() * 0.001
    points = (metres.unsqueeze(-1) * rays)[(metres > 0) & (metres <= FURTHEST)]
    x, y, z = points.unbind(1)
    u = torch.floor((x + BASELINE) / z * camera.k[0] + (camera.k[2] + 0.5)).long()
    v = torch.floor(y / z * camera.k[4] + (camera.k[5] + 0.5)).long()
    inside = (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    nearest = torch.full((camera.height * camera.width,), torch.inf)
    nearest.scatter_reduce_(0, (v * camera.width + u)[inside], z[inside], 'amin')
    valid = nearest < torch.inf
    return nearest.masked_fill_(~valid, 0), valid


def _voxels(width: int, height: int, peers: Peers, threads: int) -> Workload:
    made, info = images(width, height), _info(width, height)
    inputs = [torch.from_numpy(counts.view(np.uint8).reshape(-1)) for counts in made]
    rays = rays_of(info, width=width, height=height)
    layout = DepthLayout('16UC1', width, height, 2 * width, rays, max_depth=FURTHEST)
    out = sparse_buffers(width * height, len(MEANS))

    def ours(number: int) -> tuple[torch.Tensor, ...]:
        voxels = ops.voxelize_sparse(inputs[number % 2], layout, GRID, MEANS, out=out)
        return voxels.coords, voxels.features, voxels.counts

    num_voxels = ours(0)[0].shape[0]
    found: dict[str, Call] = torch_on_threads(threads, lambda number: _torch_voxels(made[number % 2], rays))
    open3d = peers.get('open3d-cpu')
    if open3d is not None:
        intrinsic = open3d.camera.PinholeCameraIntrinsic(width, height, info.k[0], info.k[4], info.k[2], info.k[5])
        found['open3d'] = lambda number: _open3d_voxels(open3d, made[number % 2], intrinsic)
    nbytes = width * height * (2 + 12) + num_voxels * (3 + len(MEANS) + 1) * 4
    return Workload(ours=ours, peers=found, nbytes=nbytes, goal=Goal(), out=out)


def _open3d_voxels(open3d: Any, counts: Counts, intrinsic: Any) -> object:
    cloud = open3d.geometry.PointCloud.create_from_depth_image(
        open3d.geometry.Image(counts), intrinsic, depth_scale=1000.0, depth_trunc=FURTHEST
    )
    return cloud.voxel_down_sample(SIZE)


def _torch_voxels(counts: Counts, rays: torch.Tensor) -> object:
    metres = torch.from_numpy(counts.view(np.int16)).float() * 0.001
    points = (metres.unsqueeze(-1) * rays)[(metres > 0) & (metres <= FURTHEST)]
    cells = torch.floor((points - torch.tensor(GRID.lower)) * (1 / SIZE)).long()
    inside = ((cells >= 0) & (cells < torch.tensor(GRID.shape))).all(dim=1)
    points, cells = points[inside], cells[inside]
    x, y, _ = GRID.shape
    index, inverse, number = torch.unique(
        (cells[:, 2] * y + cells[:, 1]) * x + cells[:, 0], return_inverse=True, return_counts=True
    )
    sums = torch.zeros(len(index), 3).index_add_(0, inverse, points)
    return index, sums / number.unsqueeze(1), number
