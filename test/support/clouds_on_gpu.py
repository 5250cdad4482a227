# SPDX-License-Identifier: Apache-2.0
"""A cloud for the tests on a GPU, all voxelizations of it, and results as something that can be compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from benchmark.gpu.workload import differences
from robocache_core import ops
from robocache_core.ops import VoxelGrid
from robocache_core.samples import CloudLayout

FIELDS = ('x', 'y', 'z', 'intensity')
GRID = VoxelGrid((-4.0, -4.0, -1.0), (0.125, 0.125, 0.125), (64, 64, 16))
CHANNELS = ('count', 'mean:x', 'mean:intensity', 'max:intensity', 'min:z')


def points(num: int, seed: int) -> torch.Tensor:
    """``[num, 4]`` about the origin, many to a voxel there; some outside, a few not finite."""
    generator = torch.Generator().manual_seed(seed)
    cloud = torch.randn(num, 4, generator=generator) * torch.tensor([1.5, 1.5, 0.5, 10.0])
    cloud[:: max(1, num // 7), seed % 3] = torch.nan
    return cloud


def as_bytes(cloud: torch.Tensor) -> torch.Tensor:
    return cloud.contiguous().view(torch.uint8).reshape(-1)


def layout(num: int) -> CloudLayout:
    return CloudLayout.packed(FIELDS, num)


def _dense(data: torch.Tensor, out: Any = None) -> Any:
    return ops.voxelize_dense(data, layout(len(data) // 16), GRID, CHANNELS, out=None if out is None else out[0])


def _sparse(data: torch.Tensor, out: Any = None) -> Any:
    return ops.voxelize_sparse(data, layout(len(data) // 16), GRID, CHANNELS, out=out)


def _hard(data: torch.Tensor, out: Any = None) -> Any:
    return ops.voxelize_hard(data, layout(len(data) // 16), GRID, FIELDS, max_points=5, out=out)


#: By name: ``call(data, out=None)``.
VOXELIZATIONS: dict[str, Callable[..., Any]] = {'dense': _dense, 'sparse': _sparse, 'hard': _hard}


def buffers(name: str, num: int, device: str) -> tuple[torch.Tensor, ...]:
    """The ``out`` of a voxelization of ``num`` points."""
    coords, counts = (torch.empty(shape, dtype=torch.int32, device=device) for shape in ((num, 3), (num,)))
    if name == 'dense':
        return (torch.empty(len(CHANNELS), *reversed(GRID.shape), device=device),)
    if name == 'sparse':
        return coords, torch.empty(num, len(CHANNELS), device=device), counts
    return torch.empty(num, 5, len(FIELDS), device=device), coords, counts


def assert_same_bits(found: Any, expected: Any) -> None:
    assert differences(found, expected) == ''
