# SPDX-License-Identifier: Apache-2.0
"""Resampling: streams read at given instants, one alone or several side by side."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from robocache_core import backends
from robocache_core.validation import FLOATS, check_dtype, check_kind, check_number_of, check_tensor, checked_out

METHODS = ('linear', 'slerp', 'nearest', 'previous')
OUTSIDES = ('hold', 'zero', 'extrapolate')
UNSORTED = ('refuse', 'sort', 'trust')

_STAMPS = (torch.int64,)


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
    taken as it is keeps its bits where the dtype stays. Values that are float64 are mixed in float64, on the CPU alone,
    and by NumPy whatever the backend: they are for a few, as a position on the globe.

    Args:
        values: ``[B, S, D]`` float32, float16, bfloat16 or float64, any strides; D = 4 (x y z w) for slerp.
        stamps_ns: ``[B, S]`` int64, ns, any strides.
        targets_ns: ``[B, T]`` int64, ns, in any order, any strides; fastest where they ascend.
        method: linear, slerp, nearest or previous.
        tolerance_ns: greatest distance of a sample that makes a result valid, ns.
        outside: hold, zero or extrapolate.
        unsorted: stamps that do not ascend along a row: ``refuse`` them (which waits for a GPU), ``sort`` them with
            their samples (stable, so that the last of equal ones is the last that was given), or ``trust`` that there
            are none (else the result is not defined; the CPU refuses them all the same).
        dtype: float32, float16 or bfloat16, of the result; None: that of the values, which float64 ones need.
        out: values ``[B, T, D]`` and validity ``[B, T]`` bool, contiguous, apart from the inputs, to be written instead
            of new tensors.

    Returns:
        Values ``[B, T, D]`` and validity ``[B, T]`` bool.

    Raises:
        ValueError, TypeError: an argument is not allowed.
    """
    tensors, settings = (values, stamps_ns, targets_ns, out), (method, tolerance_ns, outside, unsorted, dtype)
    plan = backends.checked_once(_checked_resampling, tensors, settings)
    return _fuse(plan, ((values, stamps_ns),), 'stamps_ns', targets_ns, out)


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
            dtypes too where ``dtype`` is given; float64 as ``resample`` takes it.
        targets_ns: ``[B, T]`` int64, ns, in any order, any strides; fastest where they ascend.
        method: of all streams, or one for each (list or tuple).
        tolerance_ns: of all streams, or one for each, ns.
        outside: of all streams, or one for each.
        unsorted: refuse, sort or trust.
        dtype: float32, float16 or bfloat16, of the result; None: that of the values, which float64 ones need.
        out: values ``[B, T, sum of D]`` and validity ``[B, T, N]`` bool, contiguous, apart from the inputs, to be
            written instead of new tensors.

    Returns:
        Values ``[B, T, sum of D]`` and validity ``[B, T, N]`` bool.

    Raises:
        ValueError, TypeError: an argument is not allowed.
    """
    tensors, settings = (streams, targets_ns, out), (method, tolerance_ns, outside, unsorted, dtype)
    plan = backends.checked_once(_checked_fusion, tensors, settings)
    return _fuse(plan, streams, 'streams[{}] stamps_ns', targets_ns, out)


def _fuse(
    plan: FusePlan,
    streams: Sequence[tuple[torch.Tensor, torch.Tensor]],
    stamps_name: str,
    targets_ns: torch.Tensor,
    out: tuple[torch.Tensor, torch.Tensor] | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    device = targets_ns.device
    if out is None:
        # By sizes: torch takes longer to read a tuple.
        result = torch.empty(*plan.shape, dtype=plan.dtype, device=device)
        valid = torch.empty(*plan.valid_shape, dtype=torch.bool, device=device)
    else:
        result, valid = out
    backend = backends.reference_module() if plan.dtype == torch.float64 else backends.for_device(device)
    descent = backend.fuse(plan, streams, targets_ns, result, valid)
    if descent is not None:
        stream, row, column = descent
        before, stamp = streams[stream][1][row, column - 1 : column + 1].tolist()
        raise ValueError(
            f'{stamps_name.format(stream)}[{row}, {column}] = {stamp} follows {before}: '
            "must be ascending along each row, or given with unsorted='sort'"
        )
    return result, valid


class StreamLayout(NamedTuple):
    """Of values ``[B, S, D]`` dtype, shape and strides, and of their stamps ``[B, S]`` the strides; in elements."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    stamp_strides: tuple[int, ...]

    @staticmethod
    def of(values: torch.Tensor, stamps_ns: torch.Tensor) -> StreamLayout:
        """Return that of a stream."""
        return StreamLayout(values.dtype, values.shape, values.stride(), stamps_ns.stride())


@dataclass(frozen=True, eq=False)  # compared by identity, which hashes fast: a small call takes microseconds
class FusePlan:
    """How N streams are read, and where in memory they are.

    Attributes:
        methods: linear, slerp, nearest or previous, one a stream.
        tolerances_ns: greatest distance of a sample that makes a result valid, ns, one a stream.
        outsides: hold, zero or extrapolate, one a stream.
        sort: stamps may be in any order; else those of each row ascend.
        check: whether they do has to be looked at.
        streams: their layouts.
        targets: shape and strides of the targets.
        dtype: of the result.
        shape: of the result.
        valid_shape: of its validity.
    """

    methods: tuple[str, ...]
    tolerances_ns: tuple[int, ...]
    outsides: tuple[str, ...]
    sort: bool
    check: bool
    streams: tuple[StreamLayout, ...]
    targets: tuple[tuple[int, ...], tuple[int, ...]]
    dtype: torch.dtype
    shape: tuple[int, ...]
    valid_shape: tuple[int, ...]


_Out = tuple[torch.Tensor, torch.Tensor] | None


def _checked_resampling(
    values: torch.Tensor,
    stamps_ns: torch.Tensor,
    targets_ns: torch.Tensor,
    out: _Out,
    method: str,
    tolerance_ns: int,
    outside: str,
    unsorted: str,
    dtype: torch.dtype | None,
) -> FusePlan:
    """Check a call of ``resample``."""
    readings = _checked_readings(1, method, tolerance_ns, outside, unsorted)
    check_tensor('targets_ns', targets_ns, 2, _STAMPS, None)
    rows, num_targets = targets_ns.shape
    width = _checked_width('', values, stamps_ns, readings[0][0], rows, targets_ns.device)
    shapes = (rows, num_targets, width), (rows, num_targets)
    return _fuse_plan(readings, ((values, stamps_ns),), targets_ns, out, dtype, *shapes)


def _checked_fusion(
    streams: Sequence[tuple[torch.Tensor, torch.Tensor]],
    targets_ns: torch.Tensor,
    out: _Out,
    method: str | Sequence[str],
    tolerance_ns: int | Sequence[int],
    outside: str | Sequence[str],
    unsorted: str,
    dtype: torch.dtype | None,
) -> FusePlan:
    """Check a call of ``fuse``."""
    check_kind('streams', streams, (list, tuple), 'a list or tuple of pairs of values and stamps')
    num = len(streams)
    if num == 0:
        raise ValueError('streams: needs at least one')
    readings = _checked_readings(num, method, tolerance_ns, outside, unsorted)
    check_tensor('targets_ns', targets_ns, 2, _STAMPS, None)
    rows, num_targets = targets_ns.shape
    width = 0
    for i, stream in enumerate(streams):
        if not isinstance(stream, (list, tuple)) or len(stream) != 2:
            raise TypeError(f'streams[{i}] is {type(stream).__name__}: must be a pair of values and stamps')
        values, stamps_ns = stream
        width += _checked_width(f'streams[{i}] ', values, stamps_ns, readings[0][i], rows, targets_ns.device)
        if dtype is None and values.dtype != streams[0][0].dtype:
            first = streams[0][0].dtype
            raise TypeError(f'streams[{i}] values are {values.dtype}: must be {first}, as of streams[0], without dtype')
    shapes = (rows, num_targets, width), (rows, num_targets, num)
    return _fuse_plan(readings, streams, targets_ns, out, dtype, *shapes)


_Readings = tuple[tuple[str, ...], tuple[int, ...], tuple[str, ...], bool, bool]


def _fuse_plan(
    readings: _Readings,
    streams: Sequence[tuple[torch.Tensor, torch.Tensor]],
    targets_ns: torch.Tensor,
    out: _Out,
    dtype: torch.dtype | None,
    shape: tuple[int, ...],
    valid_shape: tuple[int, ...],
) -> FusePlan:
    if dtype is None:
        dtype = streams[0][0].dtype
    else:
        check_dtype(dtype)
        _check_single(streams)
    if out is not None:
        check_number_of('out', out, ('values', 'valid'))
        checked_out('out[0] (values)', out[0], shape, dtype, targets_ns.device)
        checked_out('out[1] (valid)', out[1], valid_shape, torch.bool, targets_ns.device)
    layouts = tuple(StreamLayout.of(values, stamps_ns) for values, stamps_ns in streams)
    return FusePlan(*readings, layouts, (targets_ns.shape, targets_ns.stride()), dtype, shape, valid_shape)


def _check_single(streams: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Refuse float64 values where the result has a dtype of its own."""
    for i, (values, _) in enumerate(streams):
        if values.dtype == torch.float64:
            raise TypeError(f'streams[{i}] values are float64: must be given without dtype, as their result is float64')


@functools.lru_cache(maxsize=64)
def _readings_of(
    methods: tuple[str, ...], tolerances_ns: tuple[int, ...], outsides: tuple[str, ...], unsorted: str
) -> _Readings:
    """Check how streams are to be read, and return the first members of a plan.

    Raises:
        ValueError: a setting is not allowed.
    """
    for i, (method, tolerance_ns, outside) in enumerate(zip(methods, tolerances_ns, outsides, strict=True)):
        stream = f'streams[{i}] ' if len(methods) > 1 else ''
        if method not in METHODS:
            raise ValueError(f'{stream}method = {method!r}: must be one of {", ".join(METHODS)}')
        if not 0 <= tolerance_ns < 1 << 63:
            raise ValueError(f'{stream}tolerance_ns = {tolerance_ns}: must be 0 to 2^63 - 1')
        allowed = OUTSIDES if method == 'linear' else OUTSIDES[:2]
        if outside not in allowed:
            raise ValueError(f'{stream}outside = {outside!r}: must be one of {", ".join(allowed)} for {method}')
    if unsorted not in UNSORTED:
        raise ValueError(f'unsorted = {unsorted!r}: must be one of {", ".join(UNSORTED)}')
    return methods, tolerances_ns, outsides, unsorted == 'sort', unsorted == 'refuse'


def _checked_readings(
    num: int,
    method: str | Sequence[str],
    tolerance_ns: int | Sequence[int],
    outside: str | Sequence[str],
    unsorted: str,
) -> _Readings:
    return _readings_of(
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
    check_tensor(f'{prefix}values', values, 3, (*FLOATS, torch.float64), device)
    if values.dtype == torch.float64 and not values.is_cpu:
        raise TypeError(f'{prefix}values are float64 on {values.device}: must be on the CPU, or {FLOATS[0]}')
    check_tensor(f'{prefix}stamps_ns', stamps_ns, 2, _STAMPS, device)
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
