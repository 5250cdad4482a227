# SPDX-License-Identifier: Apache-2.0
"""Serialized messages (CDR), as DDS delivers and bags hold them. They are read in place: no cloud is copied."""

from __future__ import annotations

import functools
import re
import struct
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np

from robocache_core.tunable import ConfigError
from robocache_core.units import SECOND
from robocache_ros.message_types import array_of, nested_type

#: Bytes ahead of a message that say how it is serialized; from their end on, members are aligned.
_ENCAPSULATION = 4
_BYTE_ORDERS: dict[bytes, Literal['>', '<']] = {b'\x00\x00': '>', b'\x00\x01': '<'}
_HEADER = 16  # bytes of a serialized message up to the characters of its header's frame_id
_MAX_FRAME = 256  # bytes by which names of frames are compared

#: By the name that message classes have for a type of numbers, its code in ``struct``; NumPy has the same ones.
NUMBERS = {
    'boolean': '?', 'octet': 'B', 'uint8': 'B', 'int8': 'b', 'uint16': 'H', 'int16': 'h', 'uint32': 'I', 'int32': 'i',
    'uint64': 'Q', 'int64': 'q', 'float': 'f', 'double': 'd',
}  # fmt: skip

#: A serialized message.
Raw = bytes | memoryview


class _Cursor:
    """Where in a message the next member is read."""

    def __init__(self, raw: Raw) -> None:
        begin = bytes(raw[:_ENCAPSULATION])
        order = _BYTE_ORDERS.get(begin[:2]) if len(begin) == _ENCAPSULATION else None
        if order is None:
            raise ValueError(f'they do not begin as CDR does: {begin.hex(" ") or "there are none"}')
        self._raw = raw
        self._order = order
        self._at = _ENCAPSULATION

    def numbers(self, code: str, count: int) -> tuple[Any, ...]:
        """Read some numbers of one type."""
        return _struct(f'{self._order}{count}{code}').unpack_from(self._raw, self._pass(count, struct.calcsize(code)))

    def array(self, code: str, count: int) -> np.ndarray:
        """Read numbers of one type as a view of the message."""
        at = self._pass(count, struct.calcsize(code)) if count else 0
        return np.frombuffer(self._raw, f'{self._order}{code}', count, at)

    def records(self, dtype: np.dtype, step: int, count: int) -> np.recarray:
        """Read structures of numbers as a view of the message; they begin ``step`` bytes apart."""
        if not count:
            return np.recarray(0, dtype.newbyteorder(self._order))
        begin = self._pass(0, dtype[0].itemsize)
        self._at = begin + (count - 1) * step + dtype.itemsize
        self._check_end()
        return np.recarray(count, dtype.newbyteorder(self._order), self._raw, begin, (step,))

    def text(self) -> str:
        """Read a string; as rclpy does, up to its first NUL, with � for what is no UTF-8."""
        (length,) = self.numbers('I', 1)
        at = self._pass(length, 1)
        return bytes(self._raw[at : at + length]).partition(b'\0')[0].decode(errors='replace')

    def _pass(self, count: int, size: int) -> int:
        """Return where numbers begin, and go on behind them."""
        begin = self._at + (_ENCAPSULATION - self._at) % size
        self._at = begin + count * size
        self._check_end()
        return begin

    def _check_end(self) -> None:
        if self._at > len(self._raw):
            raise ValueError(f'they end where {self._at} or more are needed')


_Read = Callable[[_Cursor], Any]
_struct = functools.cache(struct.Struct)


def deserialize(raw: Raw, message: type) -> Any:
    """Return what ``raw`` holds, with the attributes of the class ``message``; arrays are views of ``raw``.

    A ``Definition`` is taken for a class.

    Raises:
        ValueError: ``raw`` is no message of this class; the text begins with "they".
    """
    return reader(message)(_Cursor(raw))


def header_stamp_ns(raw: Raw) -> int | None:
    """Return the stamp, ns, of a serialized message that begins with a std_msgs/Header; None where it is too short."""
    if len(raw) < _HEADER:
        return None
    order = '<' if raw[1] & 1 else '>'
    seconds, nanoseconds = struct.unpack_from(f'{order}iI', raw, _ENCAPSULATION)
    return int(seconds) * SECOND + int(nanoseconds)


def header_frames(raw: Raw, count: int) -> tuple[bytes, ...]:
    """Return the begins of the first ``count`` strings of a serialized message: those of its std_msgs/Header and on.

    None of a message that is too short for them.
    """
    frames: list[bytes] = []
    order, at = '<' if len(raw) > 1 and raw[1] & 1 else '>', _HEADER - 4
    while len(frames) < count and at + 4 <= len(raw):
        (length,) = struct.unpack_from(f'{order}I', raw, at)
        frames.append(header_frame(raw[at + 4 : at + 4 + length]))
        at += 4 + length
        at += (_ENCAPSULATION - at) % 4
    return tuple(frames) if len(frames) == count else ()


def header_frame(name: Raw) -> bytes:
    """Return what of a frame's name is compared: its begin."""
    return bytes(name[:_MAX_FRAME]).rstrip(b'\0')


@functools.cache
def reader(message: Any) -> _Read:
    """Return what reads a message of a class.

    Raises:
        ConfigError: a member has a type that cannot be read, or that is not installed.
    """
    # One without members has this one in what is sent.
    members = message.get_fields_and_field_types() or {'structure_needs_at_least_one_member': 'uint8'}
    names, kinds = tuple(members), set(members.values())
    if len(kinds) == 1 and kinds <= NUMBERS.keys():  # as of a vector
        code, count = NUMBERS[kinds.pop()], len(names)
        return lambda cursor: SimpleNamespace(**dict(zip(names, cursor.numbers(code, count), strict=True)))
    reads = [(name, _member(kind, message)) for name, kind in members.items()]
    return lambda cursor: SimpleNamespace(**{name: read(cursor) for name, read in reads})


def _member(kind: str, message: Any) -> _Read:
    """Return what reads a member of ``message``, by the name of its type."""
    if kind in NUMBERS:
        code = NUMBERS[kind]
        return lambda cursor: cursor.numbers(code, 1)[0]
    if re.fullmatch(r'string(<\d+>)?', kind):
        return _Cursor.text
    if array := array_of(kind):
        element, size = array
        return _many(element, message, lambda cursor: int(cursor.numbers('I', 1)[0]) if size is None else size)
    if '/' not in kind:
        raise ConfigError(f'{message.__name__} has a member of type {kind}, which cannot be read')
    return reader(nested_type(message, kind))


def _many(kind: str, message: Any, count: Callable[[_Cursor], int]) -> _Read:
    """Return what reads a number of members of one type."""
    if kind in NUMBERS:
        code = NUMBERS[kind]
        return lambda cursor: cursor.array(code, count(cursor))
    dtype = _structure(nested_type(message, kind)) if '/' in kind else None
    if dtype is not None:
        step = -(-dtype.itemsize // dtype[0].itemsize) * dtype[0].itemsize
        return lambda cursor: cursor.records(dtype, step, count(cursor))
    read = _member(kind, message)
    return lambda cursor: [read(cursor) for _ in range(count(cursor))]


def _structure(message: Any) -> np.dtype | None:
    """Return the type of a structure of numbers as it is in every message; None where that is not fixed.

    It is where no member needs more alignment than the first: each structure then begins as the one before.
    """
    members = message.get_fields_and_field_types()
    if not members or not {*members.values()} <= NUMBERS.keys():
        return None
    formats = [np.dtype(NUMBERS[kind]) for kind in members.values()]
    if any(each.itemsize > formats[0].itemsize for each in formats):
        return None
    offsets, end = [], 0
    for each in formats:
        offsets.append(end + -end % each.itemsize)
        end = offsets[-1] + each.itemsize
    return np.dtype({'names': list(members), 'formats': formats, 'offsets': offsets, 'itemsize': end})
