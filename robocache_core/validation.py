# SPDX-License-Identifier: Apache-2.0
"""Checks of arguments: each error names the argument, its value and what is allowed.

A value of the usual type passes at once: a small call takes microseconds.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

#: Dtypes of values that operations compute with and give.
FLOATS = (torch.float32, torch.float16, torch.bfloat16)

_TEXT = (str, bytes, bytearray)


def check_kind(name: str, value: Any, kind: type | tuple[type, ...], what: str = '') -> None:
    """Refuse what is not of a kind, which is called ``what``, else by its own name.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(value, kind):
        raise TypeError(f'{name} is {type(value).__name__}: must be {what or getattr(kind, "__name__", kind)}')


def check_number_of(name: str, values: Any, parts: Sequence[str]) -> None:
    """Refuse what is no list or tuple with one element for each of ``parts``.

    Raises:
        ValueError: there are more or fewer.
        TypeError: it is something else.
    """
    check_kind(name, values, (list, tuple), 'a list or tuple')
    if len(values) != len(parts):
        raise ValueError(f'{name} has {len(values)} tensors: must be {", ".join(parts)}')


def as_int(name: str, value: Any) -> int:
    """An integer, of NumPy or torch too.

    Raises:
        TypeError: it is none.
    """
    if type(value) is int:
        return value
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except (TypeError, RuntimeError):
        pass
    raise TypeError(f'{name} is {type(value).__name__}: must be an integer')


def as_float(name: str, value: Any) -> float:
    """A number, of NumPy or torch too; no text.

    Raises:
        TypeError: it is none.
    """
    if type(value) is float:
        return value
    try:
        if not isinstance(value, _TEXT):  # float('1') is 1
            return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        pass
    raise TypeError(f'{name} is {type(value).__name__}: must be a number')


def as_bool(name: str, value: Any) -> bool:
    """True or False, which ROS messages write as integers.

    Raises:
        TypeError: it is neither.
    """
    if type(value) is bool:
        return value
    check_kind(name, value, (bool, int, np.integer, np.bool_), 'bool')
    return bool(value)


def as_floats(name: str, values: Any) -> tuple[float, ...]:
    """Several numbers.

    Raises:
        TypeError: they are not.
    """
    numbers = _as_tuple(name, values, 'numbers')
    if all_are(numbers, float):
        return numbers
    return tuple(as_float(f'{name}[{i}]', number) for i, number in enumerate(numbers))


def as_ints(name: str, values: Any) -> tuple[int, ...]:
    """Several integers.

    Raises:
        TypeError: they are not.
    """
    return tuple(as_int(f'{name}[{i}]', number) for i, number in enumerate(_as_tuple(name, values, 'numbers')))


def as_names(name: str, values: Any) -> tuple[str, ...]:
    """Several strings.

    Raises:
        TypeError: they are not.
    """
    names = _as_tuple(name, values, 'names')
    if not all_are(names, str):
        for i, value in enumerate(names):
            check_kind(f'{name}[{i}]', value, str)
    return names


def all_are(values: Sequence[Any], kind: type) -> bool:
    """Whether all are of a kind, and of none that derives from it."""
    for value in values:  # noqa: SIM110, all() takes twice as long
        if type(value) is not kind:
            return False
    return True


def _as_tuple(name: str, values: Any, what: str) -> tuple[Any, ...]:
    if type(values) is tuple:
        return values
    try:
        if not isinstance(values, _TEXT):  # a sequence too, of letters
            return tuple(values)
    except TypeError:
        pass
    raise TypeError(f'{name} is {type(values).__name__}: must be a sequence of {what}')


def float32(value: float) -> float:
    """``value`` rounded to float32; infinite where it is too large."""
    with np.errstate(over='ignore'):
        return float(np.float32(value))


def check_dtype(dtype: torch.dtype, allowed: tuple[torch.dtype, ...] = FLOATS) -> None:
    """Refuse a dtype that a result cannot have.

    Raises:
        TypeError: it is none that is ``allowed``.
    """
    if not isinstance(dtype, torch.dtype) or dtype not in allowed:
        *most, last = (str(each).removeprefix('torch.') for each in allowed)
        raise TypeError(f'dtype is {dtype}: must be {", ".join(most)} or {last}')


def check_bytes(data: torch.Tensor) -> None:
    """Refuse data that is not ``[nbytes]`` uint8, contiguous.

    Raises:
        ValueError, TypeError: as ``check_tensor``.
    """
    check_tensor('data', data, 1, (torch.uint8,), None)
    if not data.is_contiguous():
        raise ValueError(f'data has stride {data.stride(0)}: must be contiguous')


def check_tensor(
    name: str, tensor: torch.Tensor, dims: int, dtypes: tuple[torch.dtype, ...], device: torch.device | None
) -> None:
    """Refuse a tensor of another dtype, number of dimensions or device, or one without plain memory.

    Args:
        name: of the argument.
        tensor: what was given.
        dims: dimensions that it must have.
        dtypes: of which it must have one.
        device: where it must be; None: on the CPU or on a GPU.

    Raises:
        TypeError: it is no tensor, or of another dtype.
        ValueError: something else is wrong.
    """
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f'{name} is {type(tensor).__name__}: must be a torch.Tensor')
    if tensor.dtype not in dtypes:
        raise TypeError(f'{name} is {tensor.dtype}: must be {" or ".join(str(dtype) for dtype in dtypes)}')
    if tensor.dim() != dims:
        raise ValueError(f'{name} has shape {tuple(tensor.shape)}: must have {dims} dimensions')
    check_memory(name, tensor, device)


def check_memory(name: str, tensor: torch.Tensor, device: torch.device | None) -> None:
    """Refuse a tensor without plain memory, or on another device, as ``check_tensor`` does.

    Raises:
        ValueError: it is one.
    """
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


def checked_out(
    name: str, out: torch.Tensor, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """Return ``out``, which must be contiguous and of this shape, dtype and device.

    Raises:
        ValueError, TypeError: it is not.
    """
    check_tensor(name, out, len(shape), (dtype,), device)
    if out.shape != shape:
        raise ValueError(f'{name} has shape {tuple(out.shape)}: must be {shape}')
    if not out.is_contiguous():
        raise ValueError(f'{name} has strides {out.stride()}: must be contiguous')
    return out


def check_rows(
    name: str,
    out: torch.Tensor,
    rows: int,
    row_shape: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device,
) -> None:
    """Check the first ``rows`` rows of ``out`` as ``checked_out`` does.

    Raises:
        ValueError, TypeError: it has fewer rows, or others.
    """
    check_kind(name, out, torch.Tensor)
    if out.dim() != 1 + len(row_shape):
        raise ValueError(f'{name} has shape {tuple(out.shape)}: must have {1 + len(row_shape)} dimensions')
    given = out.shape[0]
    if given < rows:
        raise ValueError(f'{name} has {given} rows: must have at least {rows}')
    if given > rows:
        out = out[:rows]
    checked_out(name, out, (rows, *row_shape), dtype, device)
