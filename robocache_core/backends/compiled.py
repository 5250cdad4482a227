# SPDX-License-Identifier: Apache-2.0
"""The compiled module ``_robocache_core``, and plans and tensors as it takes them: tensors are addresses to it.

Importing this raises ImportError where the module is absent or of another build.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

import torch

from robocache_core.ops.grid import BoxPlan
from robocache_core.ops.hard_voxels import HardPlan
from robocache_core.ops.image import ImagePlan
from robocache_core.ops.points import Cloud, PointPlan
from robocache_core.ops.resampling import FusePlan
from robocache_core.ops.voxels import VoxelPlan

core: Any = importlib.import_module('_robocache_core')
FILE: str = core.__file__
COMPILER_FLAGS: str = core.compiler_flags

_INTERFACE = 6
if core.interface != _INTERFACE:
    raise ImportError(f'{FILE} has interface {core.interface}, not {_INTERFACE}: it is of another build')

SCALAR_TYPES = {getattr(torch, name): number for name, number in core.scalar_types.items()}


def stream_arguments(values: torch.Tensor, stamps_ns: torch.Tensor) -> tuple[Any, ...]:
    """Values ``[B, S, D]`` and stamps ``[B, S]``: address, type, shape and strides; address and strides."""
    return (
        values.data_ptr(),
        SCALAR_TYPES[values.dtype],
        values.shape,
        values.stride(),
        stamps_ns.data_ptr(),
        stamps_ns.stride(),
    )


def target_arguments(targets_ns: torch.Tensor) -> tuple[Any, ...]:
    """Targets ``[B, T]``: address, shape and strides."""
    return targets_ns.data_ptr(), targets_ns.shape, targets_ns.stride()


def cloud_arguments(cloud: Cloud) -> tuple[Any, ...]:
    """Address of the points, height, width, row and point step; address and number of the poses, and their clock."""
    layout, poses = cloud.layout, cloud.poses
    return (
        cloud.data.data_ptr(),
        layout.height,
        layout.width,
        layout.row_step,
        layout.point_step,
        poses.data_ptr(),
        poses.shape[0],
        cloud.clock,
    )


@functools.lru_cache(maxsize=64)
def point_params(plan: PointPlan) -> Any:
    """The plan as the module takes it; made once."""
    return core.PointParams(
        fields=[(field.offset, field.dtype) for field in plan.fields],
        time=[] if plan.time is None else [(plan.time.offset, plan.time.dtype)],
        swap=plan.swap,
        min_range2=plan.min_range2,
        max_range2=plan.max_range2,
    )


def _box(plan: BoxPlan) -> dict[str, Any]:
    return {'lower': plan.lower, 'inverse_size': plan.inverse_size, 'size': plan.size, 'shape': plan.shape}


@functools.lru_cache(maxsize=64)
def voxel_params(plan: VoxelPlan) -> Any:
    """The plan as the module takes it; made once."""
    return core.VoxelParams(
        points=point_params(plan.points),
        **_box(plan.box),
        quantum=plan.quantum,
        inverse_quantum=plan.inverse_quantum,
        inverse_volume=plan.inverse_volume,
        channels=[(channel.kind, channel.source, channel.slot) for channel in plan.channels],
        num_sums=plan.num_sums,
        num_maxima=plan.num_maxima,
    )


@functools.lru_cache(maxsize=64)
def hard_params(plan: HardPlan) -> Any:
    """The plan as the module takes it; made once."""
    return core.HardParams(
        points=point_params(plan.points), **_box(plan.box), columns=plan.columns, max_points=plan.max_points
    )


@functools.lru_cache(maxsize=64)
def image_params(plan: ImagePlan, out_type: torch.dtype) -> Any:
    """The plan as the module takes it, for a result of ``out_type``; made once."""

    def three(values: tuple[float, ...]) -> tuple[float, ...]:
        return (*values, 0.0, 0.0)[:3]

    return core.ImageParams(
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
        out_type=str(out_type).removeprefix('torch.'),
    )


@functools.lru_cache(maxsize=64)
def fuse_params(plan: FusePlan) -> Any:
    """The plan as the module takes it; made once."""
    return core.FuseParams(
        readings=list(zip(plan.methods, plan.outsides, plan.tolerances_ns, strict=True)), sort=plan.sort
    )
