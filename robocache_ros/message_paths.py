# SPDX-License-Identifier: Apache-2.0
"""Whether the fields that a vector stream reads are in its message type: checked before a message comes."""

from __future__ import annotations

from typing import Any

from robocache_core.config import MessageVectorConfig
from robocache_core.field_paths import FieldPath
from robocache_core.streams.message_vector import JOINT_STATE
from robocache_core.text import shown
from robocache_core.tunable import ConfigError
from robocache_ros.cdr import NUMBERS, reader
from robocache_ros.message_types import array_of, nested_type

_HEADER = ('header', 'std_msgs/Header')


def check_message_type(config: MessageVectorConfig, message: Any) -> None:
    """Check that ``message``, the class or ``Definition`` of ``config.message``, has what the stream reads.

    Raises:
        ConfigError: it cannot be read; it has no header, and the stamp is to be a header's; a field is not there, or is
            no number.
    """
    reader(message)
    first = next(iter(message.get_fields_and_field_types().items()), None)
    if not config.stamped_by_arrival and first != _HEADER:
        raise ConfigError(
            f'{config.name}.stamp = {config.stamp!r}: {config.message} does not begin with a header: set it to arrival'
        )
    for path in config.paths if config.message != JOINT_STATE else ():
        try:
            owner = _owner(path, message)
        except ValueError as error:
            raise ConfigError(f'{config.name}.fields has {path.text!r}: {error}') from error
        columns = set(path.columns).difference(*(config.columns[part] for part in config.quaternions))
        if config.interpolation == 'linear' and owner.__name__ == 'Quaternion' and columns:
            raise ConfigError(
                f'{config.name}.fields has {path.text!r}: is a part of a quaternion, which goes by slerp as a whole: '
                f'name its x, y, z and w one after the other, or set {config.name}.interpolation to nearest or previous'
            )


def _owner(path: FieldPath, message: Any) -> Any:
    """Return the type whose member the number of a path is, or the array of it.

    Raises:
        ValueError: there is no such number; the text says what there is.
    """
    owner, kind, reached = message, '', ''
    inner: Any = message
    for step in path.steps:
        if isinstance(step, int):
            kind = _element(kind, step, reached)
            reached += f'[{step}]'
        else:
            owner, kind = inner, _member(inner, step, reached or message.__name__, kind)
            reached += f'.{step}' if reached else step
        inner = nested_type(owner, kind) if '/' in kind and array_of(kind) is None else None
    _check_end(path, kind, inner)
    return owner


def _member(inner: Any, step: str, reached: str, kind: str) -> str:
    if inner is None:
        raise ValueError(f'{reached} is {kind}, which has no member {step}')
    members: dict[str, str] = inner.get_fields_and_field_types()
    if step not in members:
        raise ValueError(f'{reached} has no member {step}; it has {", ".join(members)}')
    return members[step]


def _element(kind: str, at: int, reached: str) -> str:
    array = array_of(kind)
    if array is None:
        raise ValueError(f'{reached} is {kind}, no array')
    element, size = array
    if size is not None and at >= size:
        raise ValueError(f'{reached} has {size} elements')
    return element


def _check_end(path: FieldPath, kind: str, inner: Any) -> None:
    array = array_of(kind)
    if path.size is not None:
        if array is None or array[0] not in NUMBERS:
            raise ValueError(f'is {kind}, no array of numbers')
        if array[1] not in (None, path.size):
            raise ValueError(f'has {array[1]} elements')
    elif array is not None:
        raise ValueError(
            f'is {kind}: name an element, {path.text}[0], or all of them, {path.text}[:n] of an array of n'
        )
    elif inner is not None:
        raise ValueError(f'is {kind}: name one of its members {", ".join(inner.get_fields_and_field_types())}')
    elif kind not in NUMBERS:
        raise ValueError(f'is {shown(kind)}, no number')
