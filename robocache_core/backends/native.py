# SPDX-License-Identifier: Apache-2.0
"""The compiled backend of tensors on the CPU: the functions of ``reference.py`` by the compiled module.

What is passed in has been checked by ``ops.py``. Importing this raises ImportError as ``compiled.py`` does.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from robocache_core.backends.compiled import (
    SCALAR_TYPES,
    cloud_arguments,
    core,
    fuse_params,
    hard_params,
    image_params,
    point_params,
    stream_arguments,
    target_arguments,
    voxel_params,
)
from robocache_core.ops.hard_voxels import HardPlan
from robocache_core.ops.image import ImagePlan
from robocache_core.ops.points import Cloud, PointPlan
from robocache_core.ops.resampling import FusePlan
from robocache_core.ops.voxels import VoxelPlan


def set_num_threads(num_threads: int) -> None:
    """Threads of an operation; 0: as many as this process may run on."""
    core.set_num_threads(num_threads)


def num_threads() -> int:
    """Threads that an operation may use now."""
    threads: int = core.num_threads()
    return threads


def voxelize_dense(plan: VoxelPlan, cloud: Cloud, tensor: torch.Tensor) -> list[int]:
    """See ``reference.voxelize_dense``."""
    dropped: list[int] = core.voxelize_dense(voxel_params(plan), cloud_arguments(cloud), tensor=tensor.data_ptr())
    return [0, *dropped]


def voxelize_sparse(
    plan: VoxelPlan, cloud: Cloud, coords: torch.Tensor, features: torch.Tensor, counts: torch.Tensor
) -> list[int]:
    """See ``reference.voxelize_sparse``."""
    size, dropped = core.voxelize_sparse(
        voxel_params(plan),
        cloud_arguments(cloud),
        capacity=counts.shape[0],
        coords=coords.data_ptr(),
        features=features.data_ptr(),
        counts=counts.data_ptr(),
    )
    return [size, *dropped]


def voxelize_hard(
    plan: HardPlan, cloud: Cloud, voxels: torch.Tensor, coords: torch.Tensor, num_points: torch.Tensor
) -> list[int]:
    """See ``reference.voxelize_hard``."""
    size, dropped = core.voxelize_hard(
        hard_params(plan),
        cloud_arguments(cloud),
        capacity=num_points.shape[0],
        voxels=voxels.data_ptr(),
        coords=coords.data_ptr(),
        num_points=num_points.data_ptr(),
    )
    return [size, *dropped]


def deskew_points(plan: PointPlan, cloud: Cloud, points: torch.Tensor, valid: torch.Tensor) -> None:
    """See ``reference.deskew_points``."""
    core.deskew_points(point_params(plan), cloud_arguments(cloud), points=points.data_ptr(), valid=valid.data_ptr())


def prepare_image(
    plan: ImagePlan, data: torch.Tensor, step: int, rectify: torch.Tensor | None, out: torch.Tensor
) -> None:
    """See ``reference.prepare_image``."""
    core.prepare_image(
        image_params(plan, out.dtype),
        data=data.data_ptr(),
        step=step,
        map=0 if rectify is None else rectify.data_ptr(),
        out=out.data_ptr(),
    )


def fuse(
    plan: FusePlan,
    streams: Sequence[tuple[torch.Tensor, torch.Tensor]],
    targets_ns: torch.Tensor,
    out: torch.Tensor,
    valid: torch.Tensor,
) -> tuple[int, int, int] | None:
    """See ``reference.fuse``."""
    descent: tuple[int, int, int] | None = core.fuse(
        fuse_params(plan),
        [stream_arguments(values, stamps_ns) for values, stamps_ns in streams],
        target_arguments(targets_ns),
        out.data_ptr(),
        SCALAR_TYPES[out.dtype],
        valid.data_ptr(),
    )
    return descent
