# SPDX-License-Identifier: Apache-2.0
"""The compiled backend: the functions of ``reference.py`` by ``_robocache_core``, to which tensors are addresses.

What is passed in has been checked by ``ops.py``. Importing this raises ImportError where the compiled module is absent
or of another build.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from typing import Any

import torch

from robocache_core.plan import BoxPlan, Cloud, FusePlan, HardPlan, ImagePlan, PointPlan, VoxelPlan

_core: Any = importlib.import_module('_robocache_core')
FILE: str = _core.__file__
COMPILER_FLAGS: str = _core.compiler_flags

_INTERFACE = 2
if _core.interface != _INTERFACE:
    raise ImportError(f'{FILE} has interface {_core.interface}, not {_INTERFACE}: it is of another build')

_SCALAR_TYPES = {getattr(torch, name): number for name, number in _core.scalar_types.items()}


def set_num_threads(num_threads: int) -> None:
    """Threads of an operation; 0: as many as this process may run on."""
    _core.set_num_threads(num_threads)


def num_threads() -> int:
    """Threads that an operation may use now."""
    threads: int = _core.num_threads()
    return threads


def voxelize_dense(plan: VoxelPlan, cloud: Cloud, tensor: torch.Tensor) -> list[int]:
    """See ``reference.voxelize_dense``."""
    dropped: list[int] = _core.voxelize_dense(_voxel_params(plan), _cloud(cloud), tensor=tensor.data_ptr())
    return dropped


def voxelize_sparse(
    plan: VoxelPlan, cloud: Cloud, coords: torch.Tensor, features: torch.Tensor, counts: torch.Tensor
) -> tuple[int, list[int]]:
    """See ``reference.voxelize_sparse``."""
    result: tuple[int, list[int]] = _core.voxelize_sparse(
        _voxel_params(plan),
        _cloud(cloud),
        capacity=counts.shape[0],
        coords=coords.data_ptr(),
        features=features.data_ptr(),
        counts=counts.data_ptr(),
    )
    return result


def voxelize_hard(
    plan: HardPlan, cloud: Cloud, voxels: torch.Tensor, coords: torch.Tensor, num_points: torch.Tensor
) -> tuple[int, list[int]]:
    """See ``reference.voxelize_hard``."""
    result: tuple[int, list[int]] = _core.voxelize_hard(
        _hard_params(plan),
        _cloud(cloud),
        capacity=num_points.shape[0],
        voxels=voxels.data_ptr(),
        coords=coords.data_ptr(),
        num_points=num_points.data_ptr(),
    )
    return result


def deskew_points(plan: PointPlan, cloud: Cloud, points: torch.Tensor, valid: torch.Tensor) -> None:
    """See ``reference.deskew_points``."""
    _core.deskew_points(_point_params(plan), _cloud(cloud), points=points.data_ptr(), valid=valid.data_ptr())


def prepare_image(
    plan: ImagePlan, data: torch.Tensor, step: int, rectify: torch.Tensor | None, out: torch.Tensor
) -> None:
    """See ``reference.prepare_image``."""
    _core.prepare_image(
        _image_params(plan, _name(out.dtype)),
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
    descent: tuple[int, int, int] | None = _core.fuse(
        _fuse_params(plan),
        [
            (
                values.data_ptr(),
                _SCALAR_TYPES[values.dtype],
                *values.shape,
                *values.stride(),
                stamps_ns.data_ptr(),
                *stamps_ns.stride(),
            )
            for values, stamps_ns in streams
        ],
        (targets_ns.data_ptr(), *targets_ns.shape, *targets_ns.stride()),
        out.data_ptr(),
        _SCALAR_TYPES[out.dtype],
        valid.data_ptr(),
    )
    return descent


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix('torch.')


def _cloud(cloud: Cloud) -> Any:
    return _core.Cloud(
        data=cloud.data.data_ptr(),
        shape=(cloud.layout.height, cloud.layout.width),
        strides=(cloud.layout.row_step, cloud.layout.point_step),
        poses=cloud.poses.data_ptr(),
        num_poses=len(cloud.poses),
        clock=cloud.clock,
    )


@functools.lru_cache(maxsize=64)
def _point_params(plan: PointPlan) -> Any:
    return _core.PointParams(
        fields=[(field.offset, field.dtype) for field in plan.fields],
        time=[] if plan.time is None else [(plan.time.offset, plan.time.dtype)],
        swap=plan.swap,
        min_range2=plan.min_range2,
        max_range2=plan.max_range2,
    )


def _box(plan: BoxPlan) -> dict[str, Any]:
    return {'lower': plan.lower, 'inverse_size': plan.inverse_size, 'size': plan.size, 'shape': plan.shape}


@functools.lru_cache(maxsize=64)
def _voxel_params(plan: VoxelPlan) -> Any:
    return _core.VoxelParams(
        points=_point_params(plan.points),
        **_box(plan.box),
        quantum=plan.quantum,
        inverse_quantum=plan.inverse_quantum,
        inverse_volume=plan.inverse_volume,
        channels=[(channel.kind, channel.source, channel.slot) for channel in plan.channels],
        num_sums=plan.num_sums,
        num_maxima=plan.num_maxima,
    )


@functools.lru_cache(maxsize=64)
def _hard_params(plan: HardPlan) -> Any:
    return _core.HardParams(
        points=_point_params(plan.points), **_box(plan.box), columns=plan.columns, max_points=plan.max_points
    )


@functools.lru_cache(maxsize=64)
def _image_params(plan: ImagePlan, out_type: str) -> Any:
    def three(values: tuple[float, ...]) -> tuple[float, ...]:
        return (*values, 0.0, 0.0)[:3]

    return _core.ImageParams(
        size=(plan.width, plan.height),
        pixel_type=plan.encoding.dtype,
        swap=plan.swap,
        layout=plan.encoding.layout,
        source_channels=plan.encoding.channels,
        order=list(plan.encoding.order),
        out_size=(plan.out_width, plan.out_height),
        region=plan.region,
        filter=plan.resize,
        scale=plan.scale,
        inverse=(1 / plan.width, 1 / plan.height),
        multiply=three(plan.multiply),
        add=three(plan.add),
        pad=three(plan.pad),
        out_type=out_type,
    )


@functools.lru_cache(maxsize=64)
def _fuse_params(plan: FusePlan) -> Any:
    return _core.FuseParams(
        readings=list(zip(plan.methods, plan.outsides, plan.tolerances_ns, strict=True)), sort=plan.sort
    )
