# SPDX-License-Identifier: Apache-2.0
"""The CUDA backend: the functions of ``native.py`` for tensors on a GPU, on the current stream of their device.

What is passed in has been checked by ``ops.py``. What a voxelization tells beside its tensors comes as a tensor on the
GPU: rows written, then the points dropped, one number for each of ``DROP_REASONS``. Nothing here waits for the GPU, but
``fuse`` where it has to refuse stamps that do not ascend. Importing this raises ImportError where the compiled module
has no CUDA in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from robocache_core.backends.compiled import (
    FILE,
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

if not core.cuda_archs:
    raise ImportError(f'{FILE} was built without CUDA: no nvcc was found, or ROBOCACHE_CUDA=0')

#: GPUs that the module was compiled for, as CMake's CUDA_ARCHITECTURES.
ARCHS: str = core.cuda_archs

#: A launch, a copy or an allocation failed on a GPU.
GpuError: type[RuntimeError] = core.GpuError

#: ``Uploader(gpu).upload(from_ptr, nbytes, to_ptr, stream)`` copies to the GPU; what the stream does next sees it.
Uploader: Any = core.Uploader


def voxelize_dense(plan: VoxelPlan, cloud: Cloud, tensor: torch.Tensor) -> torch.Tensor:
    """See ``reference.voxelize_dense``."""
    numbers = _new_numbers(tensor)
    _launch(
        core.voxelize_dense_gpu,
        *_where(tensor),
        voxel_params(plan),
        cloud_arguments(cloud),
        tensor.data_ptr(),
        numbers.data_ptr(),
    )
    return numbers


def voxelize_sparse(
    plan: VoxelPlan, cloud: Cloud, coords: torch.Tensor, features: torch.Tensor, counts: torch.Tensor
) -> torch.Tensor:
    """See ``reference.voxelize_sparse``."""
    return _write_rows(core.voxelize_sparse_gpu, voxel_params(plan), cloud, coords, features, counts)


def voxelize_hard(
    plan: HardPlan, cloud: Cloud, voxels: torch.Tensor, coords: torch.Tensor, num_points: torch.Tensor
) -> torch.Tensor:
    """See ``reference.voxelize_hard``."""
    return _write_rows(core.voxelize_hard_gpu, hard_params(plan), cloud, voxels, coords, num_points)


def _write_rows(operation: Any, params: Any, cloud: Cloud, *tensors: torch.Tensor) -> torch.Tensor:
    """Run a voxelization that writes rows of ``tensors``, which all have as many."""
    last = tensors[-1]
    numbers = _new_numbers(last)
    _launch(
        operation,
        *_where(last),
        params,
        cloud_arguments(cloud),
        last.shape[0],
        *[tensor.data_ptr() for tensor in tensors],
        numbers.data_ptr(),
    )
    return numbers


def deskew_points(plan: PointPlan, cloud: Cloud, points: torch.Tensor, valid: torch.Tensor) -> None:
    """See ``reference.deskew_points``."""
    core.deskew_points_gpu(
        *_where(points), point_params(plan), cloud_arguments(cloud), points.data_ptr(), valid.data_ptr()
    )


def prepare_image(
    plan: ImagePlan, data: torch.Tensor, step: int, rectify: torch.Tensor | None, out: torch.Tensor
) -> None:
    """See ``reference.prepare_image``."""
    core.prepare_image_gpu(
        *_where(out),
        image_params(plan, out.dtype),
        data.data_ptr(),
        step,
        0 if rectify is None else rectify.data_ptr(),
        out.data_ptr(),
    )


def fuse(
    plan: FusePlan,
    streams: Sequence[tuple[torch.Tensor, torch.Tensor]],
    targets_ns: torch.Tensor,
    out: torch.Tensor,
    valid: torch.Tensor,
) -> tuple[int, int, int] | None:
    """See ``reference.fuse``."""
    where = _where(out)
    orders = [0] * len(streams)
    order_of: list[torch.Tensor] = []  # kept until the launch, which is in order with whoever gets their memory next
    if plan.sort:
        sorted_streams = []
        for i, (values, stamps_ns) in enumerate(streams):
            # An expanded batch has one row of stamps.
            rows = stamps_ns[:1] if stamps_ns.stride(0) == 0 else stamps_ns
            stamps, order = torch.sort(rows, dim=1, stable=True)
            stamps, order = stamps.expand_as(stamps_ns), order.expand_as(stamps_ns)
            sorted_streams.append((values, stamps))
            orders[i] = order.data_ptr()
            order_of.append(order)
        streams = sorted_streams
    arguments = [stream_arguments(values, stamps_ns) for values, stamps_ns in streams]
    if plan.check:
        descent: tuple[int, int, int] | None = core.find_descent_gpu(*where, arguments, targets_ns.shape[0])
        if descent is not None:
            return descent
    core.fuse_gpu(
        *where,
        fuse_params(plan),
        arguments,
        orders,
        target_arguments(targets_ns),
        out.data_ptr(),
        SCALAR_TYPES[out.dtype],
        valid.data_ptr(),
    )
    return None


def _launch(operation: Any, *arguments: Any) -> None:
    """Call an operation that keeps scratch memory, which torch may hold in its cache."""
    try:
        operation(*arguments)
    except GpuError as error:
        if 'cudaErrorMemoryAllocation' not in str(error) or torch.cuda.is_current_stream_capturing():
            raise
        torch.cuda.empty_cache()
        operation(*arguments)


def scratch_bytes() -> int:
    """Bytes of scratch memory that operations keep on all GPUs, one for every stream that they ran on."""
    size: int = core.gpu_memory_bytes()
    return size


def _where(out: torch.Tensor) -> tuple[int, int]:
    """Number of the GPU that ``out`` is on, and its current stream's handle."""
    device = out.get_device()
    # What torch.cuda.current_stream wraps in an object, which takes longer than a launch.
    return device, torch._C._cuda_getCurrentRawStream(device)


def _new_numbers(out: torch.Tensor) -> torch.Tensor:
    return out.new_empty(core.num_reported, dtype=torch.int64)
