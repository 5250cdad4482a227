# SPDX-License-Identifier: Apache-2.0
"""The compiled operations, for tensors on the CPU and on a GPU: each is one call of the module ``_robocache_core``.

Arguments have been checked by ``ops``; results are written to the tensors passed last, and what is returned is as of
``reference``. On a GPU everything is done on the current stream of the tensors' device, the numbers of a voxelization
are a tensor there, and nothing waits but ``fuse`` where it has to check stamps.

Importing this raises ImportError where the module is absent or of another build.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from robocache_core.channels import MAX_CHANNELS
from robocache_core.jpeg import ScanPlan
from robocache_core.jpeg_planes import PlanesPlan
from robocache_core.ops.depth import DepthPlan
from robocache_core.ops.grid import BoxPlan
from robocache_core.ops.hard_voxels import HardPlan
from robocache_core.ops.image import ImagePlan
from robocache_core.ops.points import POINT_DROP_REASONS, Cloud, PointPlan
from robocache_core.ops.registration import RegistrationPlan
from robocache_core.ops.resampling import FusePlan, StreamLayout
from robocache_core.ops.voxels import VoxelPlan

core: Any = importlib.import_module('_robocache_core')
FILE: str = core.__file__
COMPILER_FLAGS: str = core.compiler_flags

_INTERFACE = 14
if core.interface != _INTERFACE:
    raise ImportError(f'{FILE} has interface {core.interface}, not {_INTERFACE}: it is of another build')
assert (core.max_channels, core.num_numbers) == (MAX_CHANNELS, 1 + len(POINT_DROP_REASONS))

#: GPUs that the module was compiled for, as CMake's CUDA_ARCHITECTURES; empty: it was built without CUDA.
ARCHS: str = core.cuda_archs

#: A launch, a copy or an allocation failed on a GPU.
GpuError: type[RuntimeError] = core.GpuError

#: ``Uploader(gpu).upload(from_ptr, nbytes, to_ptr, stream)`` copies to the GPU; what the stream does next sees it.
Uploader: Any = getattr(core, 'Uploader', None)

#: Pinned memory of the host: see ``robocache_core.host_memory``.
pin_blocks, pinned_bytes, Block, block_functions = (
    getattr(core, name, None) for name in ('pin_blocks', 'pinned_bytes', 'Block', 'block_functions')
)

_SCALAR_TYPES = {getattr(torch, name): number for name, number in core.scalar_types.items()}


def set_num_threads(num_threads: int) -> None:
    """Let an operation use so many CPU threads; 0: as many as this process may run on."""
    core.set_num_threads(num_threads)


def num_threads() -> int:
    """CPU threads that an operation may use now."""
    threads: int = core.num_threads()
    return threads


def scratch_bytes() -> int:
    """Bytes of scratch memory that operations keep on all GPUs, one for every stream that they ran on."""
    size: int = core.gpu_memory_bytes()
    return size


# --- operations


def deskew_points(plan: PointPlan, cloud: Cloud, points: torch.Tensor, valid: torch.Tensor) -> None:
    """See ``reference.deskew_points``."""
    core.deskew_points(
        _where(points), _point_params(plan), _cloud_arguments(cloud), points.data_ptr(), valid.data_ptr()
    )


def voxelize_dense(plan: VoxelPlan, cloud: Cloud, tensor: torch.Tensor) -> Sequence[int] | torch.Tensor:
    """See ``reference.voxelize_dense``."""
    return _voxelize(core.voxelize_dense, tensor, _voxel_params(plan), _cloud_arguments(cloud), tensor.data_ptr())


def voxelize_sparse(
    plan: VoxelPlan, cloud: Cloud, coords: torch.Tensor, features: torch.Tensor, counts: torch.Tensor
) -> Sequence[int] | torch.Tensor:
    """See ``reference.voxelize_sparse``."""
    return _voxelize(
        core.voxelize_sparse,
        counts,
        _voxel_params(plan),
        _cloud_arguments(cloud),
        counts.shape[0],
        coords.data_ptr(),
        features.data_ptr(),
        counts.data_ptr(),
    )


def voxelize_hard(
    plan: HardPlan, cloud: Cloud, voxels: torch.Tensor, coords: torch.Tensor, num_points: torch.Tensor
) -> Sequence[int] | torch.Tensor:
    """See ``reference.voxelize_hard``."""
    return _voxelize(
        core.voxelize_hard,
        num_points,
        _hard_params(plan),
        _cloud_arguments(cloud),
        num_points.shape[0],
        voxels.data_ptr(),
        coords.data_ptr(),
        num_points.data_ptr(),
    )


def prepare_image(
    plan: ImagePlan, data: torch.Tensor, step: int, rectify: torch.Tensor | None, out: torch.Tensor
) -> None:
    """See ``reference.prepare_image``."""
    core.prepare_image(
        _where(out),
        _image_params(plan, out.dtype),
        data.data_ptr(),
        step,
        0 if rectify is None else rectify.data_ptr(),
        out.data_ptr(),
    )


def prepare_depth(
    plan: DepthPlan,
    data: torch.Tensor,
    step: int,
    rectify: torch.Tensor | None,
    depth: torch.Tensor,
    valid: torch.Tensor,
) -> None:
    """See ``reference.prepare_depth``."""
    core.prepare_depth(
        _where(depth),
        _depth_params(plan),
        data.data_ptr(),
        step,
        0 if rectify is None else rectify.data_ptr(),
        depth.data_ptr(),
        valid.data_ptr(),
    )


def register_depth(
    plan: RegistrationPlan,
    data: torch.Tensor,
    step: int,
    corners: torch.Tensor,
    transform: torch.Tensor,
    depth: torch.Tensor,
    valid: torch.Tensor,
) -> None:
    """See ``reference.register_depth``."""
    core.register_depth(
        _where(depth),
        _registration_params(plan),
        transform.data_ptr(),
        data.data_ptr(),
        step,
        corners.data_ptr(),
        depth.data_ptr(),
        valid.data_ptr(),
    )


def jpeg_damage(plan: ScanPlan, data: npt.NDArray[np.uint8]) -> int:
    """See ``reference.jpeg_damage``."""
    damage: int = core.jpeg_damage(_scan_arguments(plan, data))
    return damage


def jpeg_planes(plan: PlanesPlan, data: npt.NDArray[np.uint8], out: npt.NDArray[np.uint8]) -> bool:
    """See ``reference.jpeg_planes``."""
    layout = (*plan.mcus, *plan.blocks, plan.num_planes, *plan.sizes)
    is_whole: bool = core.jpeg_planes(_scan_arguments(plan.scan, data), layout, out.ctypes.data)
    return is_whole


def decode_rvl(data: npt.NDArray[np.uint8], pixels: npt.NDArray[np.uint16]) -> bool:
    """See ``reference.decode_rvl``."""
    whole: bool = core.decode_rvl(data.ctypes.data, data.size, pixels.size, pixels.ctypes.data)
    return whole


def fuse(
    plan: FusePlan,
    streams: Sequence[tuple[torch.Tensor, torch.Tensor]],
    targets_ns: torch.Tensor,
    out: torch.Tensor,
    valid: torch.Tensor,
) -> tuple[int, int, int] | None:
    """See ``reference.fuse``."""
    where = _where(out)
    if where is None or not plan.sort:
        descent: tuple[int, int, int] | None = core.fuse(where, _fuse_params(plan), streams, (), targets_ns, out, valid)
        return descent
    # The orders are kept until the launch, which is in order with what next gets their memory.
    ascending, orders = _sorted_streams(streams)
    layouts = tuple(StreamLayout.of(*stream) for stream in ascending)
    core.fuse(where, _made_fuse_params(replace(plan, streams=layouts)), ascending, orders, targets_ns, out, valid)
    return None


def _where(out: torch.Tensor) -> tuple[int, int] | None:
    """None where ``out`` is on the CPU; else the number of its GPU, and the handle of the GPU's current stream."""
    if out.is_cpu:
        return None
    device = out.get_device()
    # Private, tried with torch 2.11 and 2.13: torch.cuda.current_stream makes an object, which takes longer than a
    # launch.
    return device, torch._C._cuda_getCurrentRawStream(device)


def _voxelize(operation: Any, out: torch.Tensor, *arguments: Any) -> Sequence[int] | torch.Tensor:
    """Call a voxelization that writes ``out``, and return its numbers: a list, or of a GPU a tensor there."""
    where = _where(out)
    if where is None:
        on_cpu: list[int] = operation(None, *arguments, 0)
        return on_cpu
    numbers = out.new_empty(core.num_numbers, dtype=torch.int64)
    try:
        operation(where, *arguments, numbers.data_ptr())
    except GpuError as error:  # its scratch memory may be what torch holds in its cache
        if 'cudaErrorMemoryAllocation' not in str(error) or torch.cuda.is_current_stream_capturing():
            raise
        torch.cuda.empty_cache()
        operation(where, *arguments, numbers.data_ptr())
    return numbers


def _sorted_streams(
    streams: Sequence[tuple[torch.Tensor, torch.Tensor]],
) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], tuple[torch.Tensor, ...]]:
    """Sort the stamps of each stream, and return in which order its samples are."""
    found = []
    for values, stamps_ns in streams:
        rows = stamps_ns[:1] if stamps_ns.stride(0) == 0 else stamps_ns  # an expanded batch has one row of stamps
        stamps, order = torch.sort(rows, dim=1, stable=True)
        found.append(((values, stamps.expand_as(stamps_ns)), order.expand_as(stamps_ns)))
    return [stream for stream, _ in found], tuple(order for _, order in found)


# --- tensors and plans as the module takes them


def _scan_arguments(plan: ScanPlan, data: npt.NDArray[np.uint8]) -> tuple[int, ...]:
    """Addresses of the codes' data and of their end; MCUs, restart; address and number of blocks, codes, quanta."""
    begin = data.ctypes.data
    return (
        begin + plan.begin,
        begin + plan.end,
        plan.num_mcus,
        plan.restart,
        plan.blocks.ctypes.data,
        len(plan.blocks),
        plan.codes.ctypes.data,
        plan.quanta.ctypes.data,
    )


def _cloud_arguments(cloud: Cloud) -> tuple[Any, ...]:
    """Address of the points, height, width, row and point step; of the poses, their number and clock; of the rays."""
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
        0 if cloud.rays is None else cloud.rays.data_ptr(),
    )


@functools.lru_cache(maxsize=64)
def _point_params(plan: PointPlan) -> Any:
    """The plan as the module takes it; made once."""
    return core.PointParams(
        fields=[(field.offset, field.dtype) for field in plan.fields],
        time=[] if plan.time is None else [(plan.time.offset, plan.time.dtype)],
        swap=plan.swap,
        min_range2=plan.min_range2,
        max_range2=plan.max_range2,
        depth=(1.0, 0.0, 0.0) if plan.depth is None else (plan.depth.unit, plan.depth.least, plan.depth.most),
    )


def _box(plan: BoxPlan) -> dict[str, Any]:
    return {'lower': plan.lower, 'inverse_size': plan.inverse_size, 'size': plan.size, 'shape': plan.shape}


@functools.lru_cache(maxsize=64)
def _voxel_params(plan: VoxelPlan) -> Any:
    """The plan as the module takes it; made once."""
    return core.VoxelParams(
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
    """The plan as the module takes it; made once."""
    return core.HardParams(
        points=_point_params(plan.points), **_box(plan.box), columns=plan.columns, max_points=plan.max_points
    )


@functools.lru_cache(maxsize=64)
def _image_params(plan: ImagePlan, out_type: torch.dtype) -> Any:
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
        sampling=plan.encoding.sampling,
        out_size=(plan.out_width, plan.out_height),
        region=plan.region,
        resize=plan.resize,
        scale=plan.scale,
        inverse=(1 / plan.width, 1 / plan.height),
        multiply=three(plan.multiply),
        add=three(plan.add),
        pad=three(plan.pad),
        out_type=str(out_type).removeprefix('torch.'),
    )


@functools.lru_cache(maxsize=64)
def _depth_params(plan: DepthPlan) -> Any:
    """The plan as the module takes it; made once."""
    return core.DepthParams(
        size=(plan.width, plan.height),
        pixel_type=plan.values.dtype,
        swap=plan.values.swap,
        out_size=(plan.out_width, plan.out_height),
        region=plan.region,
        minimum=plan.resize == 'min',
        scale=plan.scale,
        unit=plan.values.unit,
        range=(plan.values.least, plan.values.most),
    )


@functools.lru_cache(maxsize=64)
def _registration_params(plan: RegistrationPlan) -> Any:
    """The plan as the module takes it; made once."""
    camera_model = plan.camera_model
    return core.RegistrationParams(
        image=_depth_params(plan.image),
        lens=camera_model.info.distortion_model if any(camera_model.info.d) else '',
        k=camera_model.info.k,
        coefficients=camera_model.info.d,
        most_r2=camera_model.most_r2,
        most_half=plan.most_half,
    )


def _made_fuse_params(plan: FusePlan) -> Any:
    """The plan as the module takes it."""
    return core.FuseParams(
        readings=list(zip(plan.methods, plan.outsides, plan.tolerances_ns, strict=True)),
        sort=plan.sort,
        check=plan.check,
        streams=[(_SCALAR_TYPES[dtype], *layout) for dtype, *layout in plan.streams],
        targets=plan.targets,
        out_type=_SCALAR_TYPES[plan.dtype],
    )


_fuse_params = functools.lru_cache(maxsize=64)(_made_fuse_params)
