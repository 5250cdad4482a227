# SPDX-License-Identifier: Apache-2.0
"""Arguments of the wrong kind, refused by name before something deeper stumbles over them.

What is of the usual kind passes at once: a small call takes microseconds.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

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
