# SPDX-License-Identifier: Apache-2.0
"""The operations: raw sensor bytes and samples to tensors.

Every function checks what it is given, allocates what ``out`` does not bring, and calls the active backend
(``backend.py``). All backends give the same bits. A sample that cannot be used raises ``DataError``; a call that makes
no sense raises ``ValueError`` or ``TypeError``, which name the argument, its value and what is allowed. An empty input
gives an empty result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from robocache_core import backend
from robocache_core.plan import DROP_REASONS, MAX_VOXELS, Stream, VoxelPlan, image_plan, voxel_plan
from robocache_core.types import CloudLayout, DataError, DenseVoxels, SparseVoxels, VoxelGrid

__all__ = ['DenseVoxels', 'SparseVoxels', 'fuse', 'prepare_image', 'resample', 'voxelize_dense', 'voxelize_sparse']

_FLOATS = (torch.float32, torch.float16, torch.bfloat16)
_METHODS = ('linear', 'slerp', 'nearest', 'previous')
_IDENTITY = torch.eye(4)


def voxelize_dense(
    data: torch.Tensor,
    layout: CloudLayout,
    grid: VoxelGrid,
    channels: Sequence[str],
    *,
    transform: torch.Tensor | None = None,
    min_range: float = 0.0,
    max_range: float = math.inf,
    quantum: float = 1 / 256,
    out: torch.Tensor | None = None,
) -> DenseVoxels:
    """Voxelize a cloud to a dense tensor.

    A point's voxel is ``floor((p - lower) / size)`` in float32, with ``p`` the point in the target frame; voxels are
    half-open. The result does not depend on the order of the points. Fields of any PointCloud2 type are read (x, y, z
    must be float32 or float64), rounded to float32; of a field with a count, the first element.

    Channels: ``count``; ``occupancy`` (0 or 1); ``density`` (points per m³); ``mean:x|y|z`` (m, from the centre of the
    voxel, each point rounded to 2^-16 voxel); ``mean:<field>`` (each value rounded to ``quantum``); ``max:<field>`` and
    ``min:<field>`` (x, y, z in the target frame). At most 32.

    Args:
        data: ``[nbytes]`` uint8, the bytes of the cloud.
        layout: where in ``data`` the fields are.
        grid: the voxels, in the target frame.
        channels: what is computed of a voxel.
        transform: ``[4, 4]`` float32, pose of the sensor in the target frame; None: they are the same.
        min_range: nearer points are dropped, m from the sensor.
        max_range: points at it and beyond are dropped, m from the sensor.
        quantum: step to which values of ``mean:<field>`` are rounded before they are summed.
        out: ``[C, Z, Y, X]`` float32, contiguous, to be written instead of a new tensor.

    Returns:
        The tensor and the points dropped: ``non_finite`` (x, y, z or a field in use), ``range``, ``outside`` (of the
        grid), ``overflow`` (a value to be averaged of 2^31 quanta or more), ``table_full`` (0 here).

    Raises:
        DataError: ``bad_layout``, ``field_beyond_point_step``, ``row_step_too_small``, ``data_too_short``,
            ``missing_field``.
        ValueError, TypeError: an argument is not allowed.
    """
    plan, pose = _prepare_voxels(data, layout, grid, channels, transform, min_range, max_range, quantum)
    x, y, z = grid.shape
    shape = (len(plan.channels), z, y, x)
    tensor = torch.empty(shape) if out is None else _checked_out('out', out, shape, torch.float32)
    dropped = backend.active().module.voxelize_dense(plan, data, layout, pose, tensor)
    return DenseVoxels(tensor, dict(zip(DROP_REASONS, dropped, strict=True)))


def voxelize_sparse(
    data: torch.Tensor,
    layout: CloudLayout,
    grid: VoxelGrid,
    channels: Sequence[str],
    *,
    transform: torch.Tensor | None = None,
    min_range: float = 0.0,
    max_range: float = math.inf,
    quantum: float = 1 / 256,
    max_voxels: int | None = None,
    out: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None,
) -> SparseVoxels:
    """Voxelize a cloud to its occupied voxels; arguments, channels and errors are those of ``voxelize_dense``.

    Args:
        data: ``[nbytes]`` uint8, the bytes of the cloud.
        layout: where in ``data`` the fields are.
        grid: the voxels, in the target frame.
        channels: what is computed of a voxel.
        transform: ``[4, 4]`` float32, pose of the sensor in the target frame; None: they are the same.
        min_range: nearer points are dropped, m from the sensor.
        max_range: points at it and beyond are dropped, m from the sensor.
        quantum: step to which values of ``mean:<field>`` are rounded before they are summed.
        max_voxels: most voxels in the result; None: no limit, or the rows of ``out``. Voxels beyond it in index order
            are cut, their points counted ``table_full``.
        out: coords ``[R, 3]`` int32, features ``[R, C]`` float32 and counts ``[R]`` int32, contiguous, R at least
            ``max_voxels``, to be written instead of new tensors; the result views their first rows.

    Returns:
        Voxels in index order (z, then y, then x), and the points dropped.
    """
    plan, pose = _prepare_voxels(data, layout, grid, channels, transform, min_range, max_range, quantum)
    if max_voxels is not None and max_voxels < 1:
        raise ValueError(f'max_voxels = {max_voxels}: must be at least 1')
    if out is None:
        rows = min(layout.num_points, grid.num_voxels, MAX_VOXELS if max_voxels is None else max_voxels)
        coords = torch.empty(rows, 3, dtype=torch.int32)
        features = torch.empty(rows, len(plan.channels))
        counts = torch.empty(rows, dtype=torch.int32)
    else:
        if len(out) != 3:
            raise ValueError(f'out has {len(out)} tensors: must be coords, features, counts')
        rows = out[2].shape[0] if max_voxels is None and out[2].dim() == 1 else max_voxels or 0
        coords = _checked_rows('out[0] (coords)', out[0], rows, (3,), torch.int32)
        features = _checked_rows('out[1] (features)', out[1], rows, (len(plan.channels),), torch.float32)
        counts = _checked_rows('out[2] (counts)', out[2], rows, (), torch.int32)
    size, dropped = backend.active().module.voxelize_sparse(plan, data, layout, pose, coords, features, counts)
    return SparseVoxels(coords[:size], features[:size], counts[:size], dict(zip(DROP_REASONS, dropped, strict=True)))


def prepare_image(
    data: torch.Tensor,
    *,
    encoding: str,
    width: int,
    height: int,
    step: int,
    out_width: int,
    out_height: int,
    is_bigendian: bool = False,
    resize: str = 'bilinear',
    letterbox: bool = False,
    pad: float = 0.0,
    scale: float = 1.0,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
    dtype: torch.dtype = torch.float32,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Resize and normalise an image: ``(pixel * scale - mean) / std``, in one pass.

    Bilinear: between the four nearest pixels, their centres at half pixels, edges clamped (as OpenCV's INTER_LINEAR);
    nearest: pixel ``floor((x + 0.5) * width / out_width)``. Computed in float32, then rounded to nearest even. Values
    of 32FC1 that are not finite stay so where they are read; every NaN becomes the one quiet NaN.

    Args:
        data: ``[nbytes]`` uint8, the bytes of the image.
        encoding: rgb8, bgr8, rgba8, bgra8, 8UC3 (as bgr8), or one channel: mono8, mono16, 8UC1, 16UC1, 32FC1.
        width: of the image, px.
        height: of the image, px.
        step: bytes from a row to the next.
        out_width: of the result, px.
        out_height: of the result, px.
        is_bigendian: byte order of 16 and 32 bit values.
        resize: bilinear or nearest.
        letterbox: keep the aspect ratio, centre, and pad; else stretch.
        pad: pixel value of the padding, before normalisation.
        scale: applied to a pixel first.
        mean: of each channel, R G B; one channel takes the first.
        std: of each channel, R G B; one channel takes the first.
        dtype: float32, float16 or bfloat16.
        out: ``[C, out_height, out_width]`` of ``dtype``, contiguous, to be written instead of a new tensor.

    Returns:
        ``[C, out_height, out_width]``, C = 3 (R G B) or 1.

    Raises:
        DataError: ``unknown_encoding``, ``empty_image``, ``step_too_small``, ``data_too_short`` (step * height).
        ValueError, TypeError: an argument is not allowed.
    """
    _check_bytes(data)
    if dtype not in _FLOATS:
        raise TypeError(f'dtype is {dtype}: must be float32, float16 or bfloat16')
    plan = image_plan(
        encoding,
        width,
        height,
        bool(is_bigendian),
        out_width,
        out_height,
        resize,
        letterbox,
        float(pad),
        float(scale),
        tuple(map(float, mean)),
        tuple(map(float, std)),
    )
    if step < plan.row_bytes:
        raise DataError('step_too_small', f'step {step} < {plan.row_bytes} bytes of {width} pixels {encoding}')
    if data.numel() < step * height:
        raise DataError('data_too_short', f'{data.numel()} bytes < step {step} x height {height}')
    shape = (len(plan.multiply), out_height, out_width)
    result = torch.empty(shape, dtype=dtype) if out is None else _checked_out('out', out, shape, dtype)
    backend.active().module.prepare_image(plan, data, step, result)
    return result


def resample(
    values: torch.Tensor,
    stamps_ns: torch.Tensor,
    targets_ns: torch.Tensor,
    *,
    method: str,
    tolerance_ns: int,
    out: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Read a stream at given instants.

    A target that meets a stamp gives that sample (of equal stamps the last), valid. Else ``linear`` and ``slerp`` go
    between the samples on either side, valid if each is within the tolerance; ``nearest`` takes the nearest (of two
    equally near the earlier), valid if it is within; ``previous`` the newest before, valid if it is within. What is not
    valid holds the nearest sample in time; zeros where there is none. ``slerp`` goes the shortest way, gives unit
    quaternions, and is not valid where a quaternion has length zero or is not finite.

    Args:
        values: ``[B, S, D]`` float32, float16 or bfloat16, any strides; D = 4 (x y z w) for slerp.
        stamps_ns: ``[B, S]`` int64, ns, ascending, any strides.
        targets_ns: ``[B, T]`` int64, ns, in any order, any strides.
        method: linear, slerp, nearest or previous.
        tolerance_ns: greatest distance of a valid sample, ns.
        out: values ``[B, T, D]`` of the same dtype and validity ``[B, T]`` bool, contiguous, to be written instead of
            new tensors.

    Returns:
        Values ``[B, T, D]`` and validity ``[B, T]`` bool.

    Raises:
        ValueError, TypeError: an argument is not allowed.
    """
    _check_tensor('targets_ns', targets_ns, 2, (torch.int64,))
    stream = _checked_stream('', values, stamps_ns, targets_ns, method, tolerance_ns)
    shape = (*targets_ns.shape, values.shape[2])
    result, valid = _fused_out(out, shape, values.dtype, tuple(targets_ns.shape))
    if targets_ns.numel():
        backend.active().module.fuse([stream], targets_ns, result, valid.unsqueeze(2))
    return result, valid


def fuse(
    streams: Sequence[tuple[torch.Tensor, torch.Tensor]],
    targets_ns: torch.Tensor,
    *,
    method: str | Sequence[str],
    tolerance_ns: int | Sequence[int],
    out: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Read several streams at the same instants, side by side; each is read as ``resample`` reads it.

    Args:
        streams: N pairs of values ``[B, S, D]`` (all of one dtype) and stamps ``[B, S]`` int64, ns; S and D may differ.
        targets_ns: ``[B, T]`` int64, ns, in any order, any strides.
        method: of all streams, or one for each.
        tolerance_ns: of all streams, or one for each, ns.
        out: values ``[B, T, sum of D]`` and validity ``[B, T, N]`` bool, contiguous, to be written instead of new
            tensors.

    Returns:
        Values ``[B, T, sum of D]`` and validity ``[B, T, N]`` bool.

    Raises:
        ValueError, TypeError: an argument is not allowed.
    """
    if not streams:
        raise ValueError('streams: needs at least one')
    num = len(streams)
    methods = [method] * num if isinstance(method, str) else list(method)
    tolerances = [tolerance_ns] * num if isinstance(tolerance_ns, int) else list(tolerance_ns)
    for name, given in (('method', methods), ('tolerance_ns', tolerances)):
        if len(given) != num:
            raise ValueError(f'{name} has {len(given)} elements: must be one, or one for each of {num} streams')
    _check_tensor('targets_ns', targets_ns, 2, (torch.int64,))
    checked = []
    for i, (values, stamps) in enumerate(streams):
        checked.append(_checked_stream(f'streams[{i}] ', values, stamps, targets_ns, methods[i], tolerances[i]))
        if values.dtype != streams[0][0].dtype:
            raise TypeError(f'streams[{i}] values are {values.dtype}: must be {streams[0][0].dtype}, as of streams[0]')
    width = sum(stream.values.shape[2] for stream in checked)
    shape = (*targets_ns.shape, width)
    result, valid = _fused_out(out, shape, checked[0].values.dtype, (*targets_ns.shape, num))
    if targets_ns.numel():
        backend.active().module.fuse(checked, targets_ns, result, valid)
    return result, valid


# --- checks


def _prepare_voxels(
    data: torch.Tensor,
    layout: CloudLayout,
    grid: VoxelGrid,
    channels: Sequence[str],
    transform: torch.Tensor | None,
    min_range: float,
    max_range: float,
    quantum: float,
) -> tuple[VoxelPlan, torch.Tensor]:
    _check_bytes(data)
    layout.validate(data.numel())
    if layout.num_points > MAX_VOXELS:
        raise ValueError(f'layout has {layout.num_points} points: must be at most {MAX_VOXELS}')
    pose = _IDENTITY if transform is None else transform
    if transform is not None:
        _check_tensor('transform', transform, 2, (torch.float32,))
        if transform.shape != (4, 4) or not transform.isfinite().all() or transform[3].tolist() != [0, 0, 0, 1]:
            raise ValueError(f'transform = {transform.tolist()}: must be [4, 4], finite, its last row 0 0 0 1')
        pose = transform.contiguous()
    if isinstance(channels, str):
        raise TypeError(f'channels = {channels!r}: must be a sequence of names')
    plan = voxel_plan(
        layout.fields, layout.is_bigendian, grid, tuple(channels), float(min_range), float(max_range), float(quantum)
    )
    return plan, pose


def _checked_stream(
    prefix: str,
    values: torch.Tensor,
    stamps_ns: torch.Tensor,
    targets_ns: torch.Tensor,
    method: str,
    tolerance_ns: int,
) -> Stream:
    _check_tensor(f'{prefix}values', values, 3, _FLOATS)
    _check_tensor(f'{prefix}stamps_ns', stamps_ns, 2, (torch.int64,))
    if values.shape[:2] != stamps_ns.shape:
        raise ValueError(
            f'{prefix}stamps_ns has shape {tuple(stamps_ns.shape)}: must be {tuple(values.shape[:2])}, as of values'
        )
    if targets_ns.shape[0] != values.shape[0]:
        raise ValueError(f'targets_ns has batch size {targets_ns.shape[0]}: must be {values.shape[0]}, as of values')
    if method not in _METHODS:
        raise ValueError(f'{prefix}method = {method!r}: must be one of {", ".join(_METHODS)}')
    if method == 'slerp' and values.shape[2] != 4:
        raise ValueError(f'{prefix}values has width {values.shape[2]}: must be 4 (x y z w) for slerp')
    if not 0 <= tolerance_ns < 1 << 63:
        raise ValueError(f'{prefix}tolerance_ns = {tolerance_ns}: must be 0 to 2^63 - 1')
    if bool((stamps_ns[:, 1:] < stamps_ns[:, :-1]).any()):
        raise ValueError(f'{prefix}stamps_ns: must be ascending along each row')
    return Stream(values, stamps_ns, method, tolerance_ns)


def _fused_out(
    out: tuple[torch.Tensor, torch.Tensor] | None,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    valid_shape: tuple[int, ...],
) -> tuple[torch.Tensor, torch.Tensor]:
    if out is None:
        return torch.empty(shape, dtype=dtype), torch.empty(valid_shape, dtype=torch.bool)
    if len(out) != 2:
        raise ValueError(f'out has {len(out)} tensors: must be values, valid')
    return (
        _checked_out('out[0] (values)', out[0], shape, dtype),
        _checked_out('out[1] (valid)', out[1], valid_shape, torch.bool),
    )


def _check_bytes(data: torch.Tensor) -> None:
    _check_tensor('data', data, 1, (torch.uint8,))
    if not data.is_contiguous():
        raise ValueError(f'data has stride {data.stride(0)}: must be contiguous')


def _check_tensor(name: str, tensor: torch.Tensor, dims: int, dtypes: tuple[torch.dtype, ...]) -> None:
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f'{name} is {type(tensor).__name__}: must be a torch.Tensor')
    if tensor.dtype not in dtypes:
        raise TypeError(f'{name} is {tensor.dtype}: must be {" or ".join(str(dtype) for dtype in dtypes)}')
    if tensor.dim() != dims:
        raise ValueError(f'{name} has shape {tuple(tensor.shape)}: must have {dims} dimensions')
    if tensor.device.type != 'cpu':
        raise ValueError(f'{name} is on {tensor.device}: must be on the CPU')


def _checked_out(name: str, out: torch.Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    _check_tensor(name, out, len(shape), (dtype,))
    if out.shape != shape:
        raise ValueError(f'{name} has shape {tuple(out.shape)}: must be {shape}')
    if not out.is_contiguous():
        raise ValueError(f'{name} has strides {out.stride()}: must be contiguous')
    return out


def _checked_rows(
    name: str, out: torch.Tensor, rows: int, row_shape: tuple[int, ...], dtype: torch.dtype
) -> torch.Tensor:
    """The first ``rows`` rows of ``out``."""
    _check_tensor(name, out, 1 + len(row_shape), (dtype,))
    if out.shape[0] < rows:
        raise ValueError(f'{name} has {out.shape[0]} rows: must have at least {rows}')
    return _checked_out(name, out[:rows], (rows, *row_shape), dtype)
