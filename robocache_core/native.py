# SPDX-License-Identifier: Apache-2.0
"""The compiled backend: the functions of ``reference.py`` by ``_robocache_core``, to which tensors are addresses.

What is passed in has been checked by ``ops.py``. Importing this raises ImportError where the compiled module is absent
or of another build.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

import torch

from robocache_core.plan import ImagePlan, Stream, VoxelPlan
from robocache_core.types import CloudLayout

_core: Any = importlib.import_module('_robocache_core')
FILE: str = _core.__file__
COMPILER_FLAGS: str = _core.compiler_flags

_INTERFACE = 1
if _core.interface != _INTERFACE:
    raise ImportError(f'{FILE} has interface {_core.interface}, not {_INTERFACE}: it is of another build')


def voxelize_dense(
    plan: VoxelPlan, data: torch.Tensor, layout: CloudLayout, pose: torch.Tensor, tensor: torch.Tensor
) -> list[int]:
    """See ``reference.voxelize_dense``."""
    dropped: list[int] = _core.voxelize_dense(
        _voxel_params(plan), **_cloud(data, layout, pose), tensor=tensor.data_ptr()
    )
    return dropped


def voxelize_sparse(
    plan: VoxelPlan,
    data: torch.Tensor,
    layout: CloudLayout,
    pose: torch.Tensor,
    coords: torch.Tensor,
    features: torch.Tensor,
    counts: torch.Tensor,
) -> tuple[int, list[int]]:
    """See ``reference.voxelize_sparse``."""
    result: tuple[int, list[int]] = _core.voxelize_sparse(
        _voxel_params(plan),
        **_cloud(data, layout, pose),
        capacity=counts.shape[0],
        coords=coords.data_ptr(),
        features=features.data_ptr(),
        counts=counts.data_ptr(),
    )
    return result


def prepare_image(plan: ImagePlan, data: torch.Tensor, step: int, out: torch.Tensor) -> None:
    """See ``reference.prepare_image``."""
    _core.prepare_image(_image_params(plan, _name(out.dtype)), data=data.data_ptr(), step=step, out=out.data_ptr())


def fuse(streams: list[Stream], targets_ns: torch.Tensor, out: torch.Tensor, valid: torch.Tensor) -> None:
    """See ``reference.fuse``."""
    _core.fuse(
        [
            _core.Stream(
                values=stream.values.data_ptr(),
                type=_name(stream.values.dtype),
                values_shape=stream.values.shape[1:],
                values_strides=stream.values.stride(),
                stamps=stream.stamps_ns.data_ptr(),
                stamps_strides=stream.stamps_ns.stride(),
                method=stream.method,
                tolerance_ns=stream.tolerance_ns,
            )
            for stream in streams
        ],
        targets=targets_ns.data_ptr(),
        shape=targets_ns.shape,
        strides=targets_ns.stride(),
        out=out.data_ptr(),
        valid=valid.data_ptr(),
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix('torch.')


def _cloud(data: torch.Tensor, layout: CloudLayout, pose: torch.Tensor) -> dict[str, Any]:
    return {
        'data': data.data_ptr(),
        'shape': (layout.height, layout.width),
        'strides': (layout.row_step, layout.point_step),
        'pose': pose.data_ptr(),
    }


@functools.lru_cache(maxsize=64)
def _voxel_params(plan: VoxelPlan) -> Any:
    return _core.VoxelParams(
        fields=[(field.offset, field.dtype) for field in plan.fields],
        swap=plan.swap,
        lower=plan.lower,
        inverse_size=plan.inverse_size,
        size=plan.size,
        shape=plan.shape,
        min_range2=plan.min_range2,
        max_range2=plan.max_range2,
        quantum=plan.quantum,
        inverse_quantum=plan.inverse_quantum,
        inverse_volume=plan.inverse_volume,
        channels=[(channel.kind, channel.source, channel.slot) for channel in plan.channels],
        num_sums=plan.num_sums,
        num_maxima=plan.num_maxima,
    )


@functools.lru_cache(maxsize=64)
def _image_params(plan: ImagePlan, out_type: str) -> Any:
    def three(values: tuple[float, ...]) -> tuple[float, ...]:
        return (*values, 0.0, 0.0)[:3]

    return _core.ImageParams(
        size=(plan.width, plan.height),
        pixel_type=plan.encoding.dtype,
        swap=plan.swap,
        source_channels=plan.encoding.channels,
        order=list(plan.encoding.order),
        out_size=(plan.out_width, plan.out_height),
        region=plan.region,
        nearest=plan.nearest,
        scale=plan.scale,
        multiply=three(plan.multiply),
        add=three(plan.add),
        pad=three(plan.pad),
        out_type=out_type,
    )
