# SPDX-License-Identifier: Apache-2.0
"""The operations: raw sensor bytes and samples to tensors.

Every function checks what it is given, allocates what ``out`` does not bring, and calls a backend (``backend.py``): the
one for where its tensors are, all on the CPU or all on one GPU. All backends give the same bits. A sample that cannot
be used raises ``DataError``; a call that makes no sense raises ``ValueError`` or ``TypeError``, which name the
argument, its value and what is allowed. An empty input gives an empty result.

On a GPU everything is done on the device's current stream, and nothing waits but where it is said: what does not can be
captured in a CUDA graph, all operations of a frame as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from robocache_core import backend
from robocache_core.plan import (
    AXES,
    MAX_CHANNELS,
    MAX_VOXELS,
    Cloud,
    FusePlan,
    encoding_of,
    fuse_plan,
    hard_plan,
    image_plan,
    point_plan,
    voxel_plan,
)
from robocache_core.samples import CloudLayout, PointField
from robocache_core.types import DenseVoxels, HardVoxels, PoseTable, SparseVoxels, VoxelGrid
from robocache_core.validation import as_bool, as_float, as_floats, as_int, as_names, check_kind, check_number_of

__all__ = [
    'DenseVoxels',
    'HardVoxels',
    'PoseTable',
    'SparseVoxels',
    'deskew_points',
    'fuse',
    'num_threads',
    'prepare_image',
    'resample',
    'set_num_threads',
    'voxelize_dense',
    'voxelize_hard',
    'voxelize_sparse',
]

#: Most CPU threads of an operation.
MAX_THREADS = 1024

_CPU = torch.device('cpu')
_FLOATS = (torch.float32, torch.float16, torch.bfloat16)
_STAMPS = (torch.int64,)
_IDENTITY = torch.eye(4, dtype=torch.float32)[None, :3].contiguous()


def set_num_threads(num_threads: int) -> None:
    """Let every operation of this process use so many CPU threads, the calling one among them.

    Results do not depend on it. The reference backend always uses one.

    Args:
        num_threads: 0: as many as this process may run on.

    Raises:
        ValueError: not allowed.
    """
    num_threads = as_int('num_threads', num_threads)
    if not 0 <= num_threads <= MAX_THREADS:
        raise ValueError(f'num_threads = {num_threads}: must be 0 to {MAX_THREADS}')
    backend.active().module.set_num_threads(num_threads)


def num_threads() -> int:
    """Threads that an operation may use now."""
    threads: int = backend.active().module.num_threads()
    return threads


def voxelize_dense(
    data: torch.Tensor,
    layout: CloudLayout,
    grid: VoxelGrid,
    channels: Sequence[str],
    *,
    transform: torch.Tensor | None = None,
    deskew: PoseTable | None = None,
    min_range: float = 0.0,
    max_range: float = math.inf,
    quantum: float = 1 / 256,
    out: torch.Tensor | None = None,
) -> DenseVoxels:
    """Voxelize a cloud to a dense tensor.

    A point's voxel is ``floor((p - lower) * inverse_size)`` in float32, with ``p`` the point in the target frame and
    ``inverse_size`` 1 / size rounded to float32; voxels are half-open. The result does not depend on the order of
    the points. Fields of any PointCloud2 type are read (x, y, z
    must be float32 or float64), rounded to float32; of a field with a count, the first element.

    Channels: ``count``; ``occupancy`` (0 or 1); ``density`` (points per m³); ``mean:x|y|z`` (m, from the centre of the
    voxel, each point rounded to 2^-16 voxel); ``mean:<field>`` (each value rounded to ``quantum``); ``max:<field>`` and
    ``min:<field>`` (x, y, z in the target frame). At most 32.

    Args:
        data: ``[nbytes]`` uint8, the bytes of the cloud.
        layout: where in ``data`` the fields are.
        grid: the voxels, in the target frame.
        channels: what is computed of a voxel.
        transform: ``[4, 4]`` float32, on the CPU, pose of the sensor in the target frame; None: they are the same.
        deskew: instead of ``transform``, a pose for each point, by its time.
        min_range: nearer points are dropped, m from the sensor.
        max_range: points at it and beyond are dropped, m from the sensor.
        quantum: step to which values of ``mean:<field>`` are rounded before they are summed.
        out: ``[C, Z, Y, X]`` float32, contiguous, to be written instead of a new tensor.

    Returns:
        The tensor and the points dropped: ``non_finite`` (x, y, z or a field in use), ``range``, ``outside`` (of the
        grid), ``overflow`` (a value to be averaged of 2^31 quanta or more), ``table_full`` and ``voxel_full`` (0 here).

    Raises:
        DataError: ``bad_layout``, ``field_beyond_point_step``, ``row_step_too_small``, ``data_too_short``,
            ``missing_field``.
        ValueError, TypeError: an argument is not allowed.
    """
    cloud = _checked_cloud(data, layout, transform, deskew)
    names, numbers = as_names('channels', channels), _as_range(min_range, max_range)
    plan = voxel_plan(*_fields(layout, deskew), _checked_grid(grid), names, *numbers, as_float('quantum', quantum))
    x, y, z = grid.shape
    shape = (len(plan.channels), z, y, x)
    device = data.device
    if out is None:
        # Here and below by sizes: torch takes longer to read a tuple.
        tensor = torch.empty(*shape, dtype=torch.float32, device=device)
    else:
        tensor = _checked_out('out', out, shape, torch.float32, device)
    return DenseVoxels(tensor, backend.of(device).voxelize_dense(plan, cloud, tensor))


def voxelize_sparse(
    data: torch.Tensor,
    layout: CloudLayout,
    grid: VoxelGrid,
    channels: Sequence[str],
    *,
    transform: torch.Tensor | None = None,
    deskew: PoseTable | None = None,
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
        transform: ``[4, 4]`` float32, on the CPU, pose of the sensor in the target frame; None: they are the same.
        deskew: instead of ``transform``, a pose for each point, by its time.
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
    cloud = _checked_cloud(data, layout, transform, deskew)
    names, numbers = as_names('channels', channels), _as_range(min_range, max_range)
    plan = voxel_plan(*_fields(layout, deskew), _checked_grid(grid), names, *numbers, as_float('quantum', quantum))
    max_voxels = _checked_max_voxels(max_voxels)
    parts = (
        ('coords', (3,), torch.int32),
        ('features', (len(plan.channels),), torch.float32),
        ('counts', (), torch.int32),
    )
    device = data.device
    coords, features, counts = _rows_of_voxels(parts, out, layout, grid, max_voxels, device)
    told = backend.of(device).voxelize_sparse(plan, cloud, coords, features, counts)
    return SparseVoxels(coords, features, counts, told)


def voxelize_hard(
    data: torch.Tensor,
    layout: CloudLayout,
    grid: VoxelGrid,
    fields: Sequence[str],
    *,
    max_points: int,
    max_voxels: int | None = None,
    transform: torch.Tensor | None = None,
    deskew: PoseTable | None = None,
    min_range: float = 0.0,
    max_range: float = math.inf,
    out: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None,
) -> HardVoxels:
    """Sort a cloud's points into their occupied voxels; a point's voxel is that of ``voxelize_dense``.

    A voxel holds the ``max_points`` points nearest to its centre, nearest first; of points as near (in float32) those
    with the lesser values, field by field. So the result does not depend on the order of the points.

    Args:
        data: ``[nbytes]`` uint8, the bytes of the cloud.
        layout: where in ``data`` the fields are.
        grid: the voxels, in the target frame.
        fields: what is kept of a point, such as x, y, z, intensity; x, y, z in the target frame. At most 32.
        max_points: K, most points of a voxel; others are dropped ``voxel_full``.
        max_voxels: most voxels in the result; None: no limit, or the rows of ``out``. Voxels beyond it in index order
            are cut, their points counted ``table_full``.
        transform: ``[4, 4]`` float32, on the CPU, pose of the sensor in the target frame; None: they are the same.
        deskew: instead of ``transform``, a pose for each point, by its time.
        min_range: nearer points are dropped, m from the sensor.
        max_range: points at it and beyond are dropped, m from the sensor.
        out: voxels ``[R, K, F]`` float32, coords ``[R, 3]`` int32 and num_points ``[R]`` int32, contiguous, R at least
            ``max_voxels``, to be written instead of new tensors; the result views their first rows.

    Returns:
        Voxels in index order (z, then y, then x), and the points dropped.

    Raises:
        DataError: as ``voxelize_dense``.
        ValueError, TypeError: an argument is not allowed.
    """
    cloud = _checked_cloud(data, layout, transform, deskew)
    names, max_points = as_names('fields', fields), as_int('max_points', max_points)
    numbers = _as_range(min_range, max_range)
    plan = hard_plan(*_fields(layout, deskew), _checked_grid(grid), names, max_points, *numbers)
    max_voxels = _checked_max_voxels(max_voxels)
    parts = (
        ('voxels', (max_points, len(names)), torch.float32),
        ('coords', (3,), torch.int32),
        ('num_points', (), torch.int32),
    )
    device = data.device
    voxels, coords, num_points = _rows_of_voxels(parts, out, layout, grid, max_voxels, device)
    told = backend.of(device).voxelize_hard(plan, cloud, voxels, coords, num_points)
    return HardVoxels(voxels, coords, num_points, told)


def deskew_points(
    data: torch.Tensor,
    layout: CloudLayout,
    fields: Sequence[str] = (),
    *,
    transform: torch.Tensor | None = None,
    deskew: PoseTable | None = None,
    min_range: float = 0.0,
    max_range: float = math.inf,
    out: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Bring the points of a cloud to the target frame, in their order.

    Args:
        data: ``[nbytes]`` uint8, the bytes of the cloud.
        layout: where in ``data`` the fields are.
        fields: what a row holds after x, y, z, each rounded to float32. At most 32.
        transform: ``[4, 4]`` float32, on the CPU, pose of the sensor in the target frame; None: they are the same.
        deskew: instead of ``transform``, a pose for each point, by its time.
        min_range: nearer points are not valid, m from the sensor.
        max_range: points at it and beyond are not valid, m from the sensor.
        out: points ``[N, 3 + len(fields)]`` float32 and validity ``[N]`` bool, contiguous, to be written instead of new
            tensors.

    Returns:
        Points ``[N, 3 + len(fields)]`` float32, m, and validity ``[N]`` bool. A point is not valid where x, y, z, its
        time or one of ``fields`` is not finite or its range is not allowed; its x, y, z are then NaN.

    Raises:
        DataError: as ``voxelize_dense``.
        ValueError, TypeError: an argument is not allowed.
    """
    cloud = _checked_cloud(data, layout, transform, deskew)
    names = as_names('fields', fields)
    if len(names) > MAX_CHANNELS or len({*names, *AXES}) < len(names) + len(AXES):
        raise ValueError(f'fields = {names}: needs at most {MAX_CHANNELS} names, none twice, without x, y, z')
    columns, is_bigendian, time = _fields(layout, deskew)
    plan = point_plan(columns, is_bigendian, names, time, *_as_range(min_range, max_range))
    shape = (layout.num_points, 3 + len(names))
    device = data.device
    if out is None:
        points = torch.empty(*shape, dtype=torch.float32, device=device)
        valid = torch.empty(shape[0], dtype=torch.bool, device=device)
    else:
        check_number_of('out', out, ('points', 'valid'))
        points = _checked_out('out[0] (points)', out[0], shape, torch.float32, device)
        valid = _checked_out('out[1] (valid)', out[1], shape[:1], torch.bool, device)
    backend.of(device).deskew_points(plan, cloud, points, valid)
    return points, valid


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
    rectify: torch.Tensor | None = None,
    dtype: torch.dtype = torch.float32,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Rectify, resize and normalise an image: ``(pixel * scale - mean) / std``, in one pass.

    Bilinear: between the four nearest pixels, their centres at half pixels, edges clamped (as OpenCV's INTER_LINEAR);
    nearest: pixel ``floor((x + 0.5) * width / out_width)``; area: mean over what the output pixel covers, a pixel that
    is partly covered counting by its part. Computed in float32, then rounded to nearest even. Between 8-bit pixels
    fractions are rounded to 2^-14, which moves a result by 1/64 of a step at the most. Values of 32FC1 that are not
    finite stay so where they are read; every NaN becomes the one quiet NaN.

    Bayer images are demosaiced bilinearly, and YUV is taken as BT.601 of limited range, each rounded to whole values
    before it is resized, as OpenCV's default conversions do it, to the bit.

    Args:
        data: ``[nbytes]`` uint8, the bytes of the image.
        encoding: rgb8, bgr8, rgba8, bgra8, 8UC3 (as bgr8), bayer_{rggb,bggr,gbrg,grbg}{8,16}, yuv422 or uyvy,
            yuv422_yuy2 or yuyv, nv12, nv21, or one channel: mono8, mono16, 8UC1, 16UC1, 32FC1.
        width: of the image, px.
        height: of the image, px.
        step: bytes from a row to the next.
        out_width: of the result, px.
        out_height: of the result, px.
        is_bigendian: byte order of 16 and 32 bit values.
        resize: bilinear, nearest or area.
        letterbox: keep the aspect ratio, centre, and pad; else stretch. With ``rectify`` the map says that.
        pad: pixel value of the padding, before normalisation.
        scale: applied to a pixel first.
        mean: of each channel, R G B; one channel takes the first.
        std: of each channel, R G B; one channel takes the first.
        rectify: ``[out_height, out_width, 2]`` float32, contiguous: the point x y of the image, px, its first pixel's
            centre at (0, 0), that each pixel of the result shows; NaN, or what lies off the image: padding
            (``robocache_core.rectify`` makes it). Not with area.
        dtype: float32, float16 or bfloat16.
        out: ``[C, out_height, out_width]`` of ``dtype``, contiguous, to be written instead of a new tensor.

    Returns:
        ``[C, out_height, out_width]``, C = 3 (R G B) or 1.

    Raises:
        DataError: ``unknown_encoding``, ``empty_image``, ``bad_image_size`` (Bayer needs 3 x 3 pixels, YUV even sizes),
            ``step_too_small``, ``data_too_short`` (step * height, and half as much again for nv12).
        ValueError, TypeError: an argument is not allowed.
    """
    _check_bytes(data)
    device = data.device
    _check_dtype(dtype)
    width, height, step = as_int('width', width), as_int('height', height), as_int('step', step)
    out_width, out_height = as_int('out_width', out_width), as_int('out_height', out_height)
    check_kind('resize', resize, str)
    encoding_of(encoding).check(encoding, width, height, step, data.numel())
    plan = image_plan(
        encoding,
        width,
        height,
        as_bool('is_bigendian', is_bigendian),
        out_width,
        out_height,
        resize,
        as_bool('letterbox', letterbox) and rectify is None,
        as_float('pad', pad),
        as_float('scale', scale),
        as_floats('mean', mean),
        as_floats('std', std),
    )
    if rectify is not None:
        if resize == 'area':
            raise ValueError("resize = 'area': must be bilinear or nearest with rectify")
        _checked_out('rectify', rectify, (out_height, out_width, 2), torch.float32, device)
    shape = (len(plan.multiply), out_height, out_width)
    if out is None:
        result = torch.empty(*shape, dtype=dtype, device=device)
    else:
        result = _checked_out('out', out, shape, dtype, device)
    backend.of(device).prepare_image(plan, data, step, rectify, result)
    return result


def resample(
    values: torch.Tensor,
    stamps_ns: torch.Tensor,
    targets_ns: torch.Tensor,
    *,
    method: str,
    tolerance_ns: int,
    outside: str = 'hold',
    unsorted: str = 'refuse',
    dtype: torch.dtype | None = None,
    out: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Read a stream at given instants.

    Of equal stamps the last counts, the others are not read. A target that meets a stamp gives that sample, valid.
    Else ``linear`` and ``slerp`` go between the samples on either side, valid if each is within the tolerance;
    ``nearest`` takes the nearest (of two equally near the earlier), valid if it is within; ``previous`` the newest
    before, valid if it is within. ``slerp`` goes the shortest way, gives unit quaternions, and is not valid where a
    quaternion has length zero or is not finite.

    What is not valid goes by ``outside``: ``hold`` gives the nearest sample in time, ``zero`` gives zeros.
    ``extrapolate`` (linear alone) gives a target before the first or after the last stamp its place on the line through
    the two samples at that end, valid if both are within the tolerance; else it is as ``hold``. Where there is no
    sample there are zeros.

    Values are mixed in float32 (``slerp``: float64) and rounded once to the nearest, ties to even; a sample that is
    taken as it is keeps its bits where the dtype stays.

    Args:
        values: ``[B, S, D]`` float32, float16 or bfloat16, any strides; D = 4 (x y z w) for slerp.
        stamps_ns: ``[B, S]`` int64, ns, any strides.
        targets_ns: ``[B, T]`` int64, ns, in any order, any strides; fastest where they ascend.
        method: linear, slerp, nearest or previous.
        tolerance_ns: greatest distance of a sample that makes a result valid, ns.
        outside: hold, zero or extrapolate.
        unsorted: stamps that do not ascend along a row: ``refuse`` them (which waits for a GPU), ``sort`` them with
            their samples (stable, so that the last of equal ones is the last that was given), or ``trust`` that there
            are none (else the result is not defined; the CPU refuses them all the same).
        dtype: float32, float16 or bfloat16, of the result; None: that of the values.
        out: values ``[B, T, D]`` and validity ``[B, T]`` bool, contiguous, apart from the inputs, to be written instead
            of new tensors.

    Returns:
        Values ``[B, T, D]`` and validity ``[B, T]`` bool.

    Raises:
        ValueError, TypeError: an argument is not allowed.
    """
    plan = _checked_plan(1, method, tolerance_ns, outside, unsorted)
    _check_tensor('targets_ns', targets_ns, 2, _STAMPS, None)
    rows, num_targets = targets_ns.shape
    width = _checked_width('', values, stamps_ns, plan.methods[0], rows, targets_ns.device)
    shapes = (rows, num_targets, width), (rows, num_targets)
    return _fuse(plan, ((values, stamps_ns),), 'stamps_ns', targets_ns, dtype, out, *shapes)


def fuse(
    streams: Sequence[tuple[torch.Tensor, torch.Tensor]],
    targets_ns: torch.Tensor,
    *,
    method: str | Sequence[str],
    tolerance_ns: int | Sequence[int],
    outside: str | Sequence[str] = 'hold',
    unsorted: str = 'refuse',
    dtype: torch.dtype | None = None,
    out: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Read several streams at the same instants, side by side; each is read as ``resample`` reads it.

    Args:
        streams: N pairs of values ``[B, S, D]`` and stamps ``[B, S]`` int64, ns; S and D may differ, and the values'
            dtypes too where ``dtype`` is given.
        targets_ns: ``[B, T]`` int64, ns, in any order, any strides; fastest where they ascend.
        method: of all streams, or one for each (list or tuple).
        tolerance_ns: of all streams, or one for each, ns.
        outside: of all streams, or one for each.
        unsorted: refuse, sort or trust.
        dtype: float32, float16 or bfloat16, of the result; None: that of the values.
        out: values ``[B, T, sum of D]`` and validity ``[B, T, N]`` bool, contiguous, apart from the inputs, to be
            written instead of new tensors.

    Returns:
        Values ``[B, T, sum of D]`` and validity ``[B, T, N]`` bool.

    Raises:
        ValueError, TypeError: an argument is not allowed.
    """
    check_kind('streams', streams, (list, tuple), 'a list or tuple of pairs of values and stamps')
    num = len(streams)
    if num == 0:
        raise ValueError('streams: needs at least one')
    plan = _checked_plan(num, method, tolerance_ns, outside, unsorted)
    _check_tensor('targets_ns', targets_ns, 2, _STAMPS, None)
    rows, num_targets = targets_ns.shape
    device = targets_ns.device
    width = 0
    for i, stream in enumerate(streams):
        if not isinstance(stream, (list, tuple)) or len(stream) != 2:
            raise TypeError(f'streams[{i}] is {type(stream).__name__}: must be a pair of values and stamps')
        values, stamps_ns = stream
        width += _checked_width(f'streams[{i}] ', values, stamps_ns, plan.methods[i], rows, device)
        if dtype is None and values.dtype != streams[0][0].dtype:
            first = streams[0][0].dtype
            raise TypeError(f'streams[{i}] values are {values.dtype}: must be {first}, as of streams[0], without dtype')
    shapes = (rows, num_targets, width), (rows, num_targets, num)
    return _fuse(plan, streams, 'streams[{}] stamps_ns', targets_ns, dtype, out, *shapes)


def _fuse(
    plan: FusePlan,
    streams: Sequence[tuple[torch.Tensor, torch.Tensor]],
    stamps_name: str,
    targets_ns: torch.Tensor,
    dtype: torch.dtype | None,
    out: tuple[torch.Tensor, torch.Tensor] | None,
    shape: tuple[int, ...],
    valid_shape: tuple[int, ...],
) -> tuple[torch.Tensor, torch.Tensor]:
    if dtype is None:
        dtype = streams[0][0].dtype
    else:
        _check_dtype(dtype)
    device = targets_ns.device
    if out is None:
        result = torch.empty(*shape, dtype=dtype, device=device)
        valid = torch.empty(*valid_shape, dtype=torch.bool, device=device)
    else:
        check_number_of('out', out, ('values', 'valid'))
        result = _checked_out('out[0] (values)', out[0], shape, dtype, device)
        valid = _checked_out('out[1] (valid)', out[1], valid_shape, torch.bool, device)
    descent = backend.of(device).fuse(plan, streams, targets_ns, result, valid)
    if descent is not None:
        stream, row, column = descent
        before, stamp = streams[stream][1][row, column - 1 : column + 1].tolist()
        raise ValueError(
            f'{stamps_name.format(stream)}[{row}, {column}] = {stamp} follows {before}: '
            "must be ascending along each row, or given with unsorted='sort'"
        )
    return result, valid


# --- checks


def _checked_cloud(
    data: torch.Tensor, layout: CloudLayout, transform: torch.Tensor | None, deskew: PoseTable | None
) -> Cloud:
    _check_bytes(data)
    check_kind('layout', layout, CloudLayout)
    layout.validate(data.numel())
    if layout.num_points > MAX_VOXELS:
        raise ValueError(f'layout has {layout.num_points} points: must be at most {MAX_VOXELS}')
    if deskew is not None:
        if transform is not None:
            raise ValueError('transform and deskew: only one can be given, the poses of deskew hold the transform')
        clock = _checked_clock(deskew)
        return Cloud(data, layout, _checked_poses(deskew.poses, data.device), clock)
    if transform is None:
        return Cloud(data, layout, _IDENTITY, None)
    _check_tensor('transform', transform, 2, (torch.float32,), _CPU)
    if transform.shape != (4, 4) or not transform.isfinite().all() or transform[3].tolist() != [0, 0, 0, 1]:
        raise ValueError(f'transform = {transform.tolist()}: must be [4, 4], finite, its last row 0 0 0 1')
    return Cloud(data, layout, transform[None, :3].contiguous(), None)


def _checked_clock(table: PoseTable) -> tuple[float, float]:
    """First and inverse step of a table in which they are allowed."""
    check_kind('deskew', table, PoseTable)
    check_kind('deskew.field', table.field, str)
    first, inverse_step = as_float('deskew.first', table.first), as_float('deskew.inverse_step', table.inverse_step)
    if not math.isfinite(first) or not math.isfinite(inverse_step):
        raise ValueError(f'deskew.first = {first}, deskew.inverse_step = {inverse_step}: must be finite')
    return first, inverse_step


def _checked_poses(poses: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The poses, on ``device``; the contents of those that already are on a GPU cannot be checked without a wait."""
    is_here = isinstance(poses, torch.Tensor) and poses.is_cpu
    _check_tensor('deskew.poses', poses, 3, (torch.float32,), _CPU if is_here else device)
    if not len(poses) or poses.shape[1:] != (3, 4) or not poses.is_contiguous():
        raise ValueError(f'deskew.poses has shape {tuple(poses.shape)}: must be [P, 3, 4], contiguous, P > 0')
    if is_here:
        least, most = torch.aminmax(poses)  # NaN where one is; needs no memory of the table's size
        if not (math.isfinite(least) and math.isfinite(most)):
            raise ValueError('deskew.poses: must be finite')
    return poses.to(device)


def _fields(layout: CloudLayout, deskew: PoseTable | None) -> tuple[tuple[PointField, ...], bool, str | None]:
    """What a plan asks of a cloud: its fields, whether it is big-endian, the name of the time field in use."""
    return layout.fields, layout.is_bigendian, None if deskew is None else deskew.field


def _checked_grid(grid: VoxelGrid) -> VoxelGrid:
    check_kind('grid', grid, VoxelGrid)
    try:
        hash(grid)  # plans are kept by it
    except TypeError:
        raise TypeError(f'grid = {grid}: must hold tuples of numbers') from None
    return grid


def _as_range(min_range: float, max_range: float) -> tuple[float, float]:
    return as_float('min_range', min_range), as_float('max_range', max_range)


def _checked_max_voxels(max_voxels: int | None) -> int | None:
    if max_voxels is None:
        return None
    max_voxels = as_int('max_voxels', max_voxels)
    if max_voxels < 1:
        raise ValueError(f'max_voxels = {max_voxels}: must be at least 1')
    return max_voxels


def _check_dtype(dtype: torch.dtype) -> None:
    if not isinstance(dtype, torch.dtype) or dtype not in _FLOATS:
        raise TypeError(f'dtype is {dtype}: must be float32, float16 or bfloat16')


def _rows_of_voxels(
    parts: tuple[tuple[str, tuple[int, ...], torch.dtype], ...],
    out: Sequence[torch.Tensor] | None,
    layout: CloudLayout,
    grid: VoxelGrid,
    max_voxels: int | None,
    device: torch.device,
) -> list[torch.Tensor]:
    """The tensors that a voxelization writes by rows: new ones, or the first rows of those in ``out``.

    Args:
        parts: name, shape of a row and dtype of each; the last has one number a row.
        out: as the caller gave it.
        layout: of the cloud, whose points no result exceeds.
        grid: its voxels, which no result exceeds.
        max_voxels: as the caller gave it; None: the rows of the last tensor in ``out``.
        device: where they must be.
    """
    if out is None:
        rows = min(layout.num_points, grid.num_voxels, MAX_VOXELS if max_voxels is None else max_voxels)
        return [torch.empty(rows, *row, dtype=dtype, device=device) for _, row, dtype in parts]
    check_number_of('out', out, [name for name, _, _ in parts])
    names = [f'out[{i}] ({name})' for i, (name, _, _) in enumerate(parts)]
    _check_tensor(names[-1], out[-1], 1, (torch.int32,), device)
    rows = out[-1].shape[0] if max_voxels is None else max_voxels
    return [
        _checked_rows(name, given, rows, row, dtype, device)
        for name, given, (_, row, dtype) in zip(names, out, parts, strict=True)
    ]


def _checked_plan(
    num: int,
    method: str | Sequence[str],
    tolerance_ns: int | Sequence[int],
    outside: str | Sequence[str],
    unsorted: str,
) -> FusePlan:
    return fuse_plan(
        _for_each('method', method, num, str),
        _for_each('tolerance_ns', tolerance_ns, num, int),
        _for_each('outside', outside, num, str),
        *_for_each('unsorted', unsorted, 1, str),
    )


def _for_each(name: str, given: Any, num: int, kind: type) -> tuple[Any, ...]:
    """A setting of each of ``num`` streams; ``given`` is that of all, or a list or tuple of theirs."""
    if isinstance(given, kind):
        return (given,) * num
    if not isinstance(given, (list, tuple)):
        raise TypeError(f'{name} = {given!r}: must be {kind.__name__}, or a list or tuple of them')
    if len(given) != num:
        raise ValueError(f'{name} has {len(given)} elements: must be one, or one for each of {num} streams')
    for setting in given:
        if not isinstance(setting, kind):
            raise TypeError(f'{name} has {setting!r}: must be {kind.__name__}')
    return tuple(given)


def _checked_width(
    prefix: str, values: torch.Tensor, stamps_ns: torch.Tensor, method: str, rows: int, device: torch.device
) -> int:
    """Width of a stream that can be read at ``rows`` rows of targets on ``device``."""
    _check_tensor(f'{prefix}values', values, 3, _FLOATS, device)
    _check_tensor(f'{prefix}stamps_ns', stamps_ns, 2, _STAMPS, device)
    batch, samples, width = values.shape
    if stamps_ns.shape != (batch, samples):
        raise ValueError(
            f'{prefix}stamps_ns has shape {tuple(stamps_ns.shape)}: must be {(batch, samples)}, as of values'
        )
    if rows != batch:
        raise ValueError(f'targets_ns has batch size {rows}: must be {batch}, as of values')
    if method == 'slerp' and width != 4:
        raise ValueError(f'{prefix}values has width {width}: must be 4 (x y z w) for slerp')
    return width


def _check_bytes(data: torch.Tensor) -> None:
    _check_tensor('data', data, 1, (torch.uint8,), None)
    if not data.is_contiguous():
        raise ValueError(f'data has stride {data.stride(0)}: must be contiguous')


def _check_tensor(
    name: str, tensor: torch.Tensor, dims: int, dtypes: tuple[torch.dtype, ...], device: torch.device | None
) -> None:
    """``device``: where it must be; None: on the CPU or on a GPU."""
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f'{name} is {type(tensor).__name__}: must be a torch.Tensor')
    if tensor.dtype not in dtypes:
        raise TypeError(f'{name} is {tensor.dtype}: must be {" or ".join(str(dtype) for dtype in dtypes)}')
    if tensor.dim() != dims:
        raise ValueError(f'{name} has shape {tuple(tensor.shape)}: must have {dims} dimensions')
    if device is None:
        if not (tensor.is_cpu or tensor.is_cuda):
            raise ValueError(f'{name} is on {tensor.device}: must be on the CPU or on a CUDA device')
    elif tensor.device != device:
        raise ValueError(f'{name} is on {tensor.device}: must be on {device}')
    if tensor.layout is not torch.strided or tensor.is_neg():  # no memory, or memory of the opposite sign
        raise ValueError(
            f'{name} has layout {tensor.layout}, is_neg() {tensor.is_neg()}: must be strided and not negated'
        )
    if tensor.requires_grad:
        raise ValueError(f'{name} requires a gradient, which no operation passes on: must be detached')


def _checked_out(
    name: str, out: torch.Tensor, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    _check_tensor(name, out, len(shape), (dtype,), device)
    if out.shape != shape:
        raise ValueError(f'{name} has shape {tuple(out.shape)}: must be {shape}')
    if not out.is_contiguous():
        raise ValueError(f'{name} has strides {out.stride()}: must be contiguous')
    return out


def _checked_rows(
    name: str,
    out: torch.Tensor,
    rows: int,
    row_shape: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device,
) -> torch.Tensor:
    """The first ``rows`` rows of ``out``."""
    check_kind(name, out, torch.Tensor)
    if out.dim() != 1 + len(row_shape):
        raise ValueError(f'{name} has shape {tuple(out.shape)}: must have {1 + len(row_shape)} dimensions')
    given = out.shape[0]
    if given < rows:
        raise ValueError(f'{name} has {given} rows: must have at least {rows}')
    if given > rows:
        out = out[:rows]
    return _checked_out(name, out, (rows, *row_shape), dtype, device)
