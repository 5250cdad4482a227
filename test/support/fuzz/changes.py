# SPDX-License-Identifier: Apache-2.0
"""What is done to a whole message, and for which reasons it may then be dropped: what every message has in common."""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from std_msgs.msg import Header

SECOND = 10**9
START_NS = 1_700_000_000 * SECOND

#: What the stamps of others can do to any message: one that goes back ends what is held, one far ahead hides others.
TIME = frozenset({'late', 'duplicate', 'time_jump', 'unselected', 'buffer_age', 'missing'})

NUMBERS = (0.0, -0.0, 1.0, -1.0, 1e-300, 1e-45, 1e9, -1e30, 3e38, -3e38, 1e308, -1e308, 1.7976931348623157e308)
NOT_FINITE = (float('nan'), float('inf'), float('-inf'))
COUNTS = (0, 1, 2, 3, 7, 63, 64, 65, 255, 256, 65535, 1 << 16, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)


@dataclass(frozen=True)
class Change:
    """Something that is done to a message, and the reasons for which it may be dropped then; it need not be."""

    apply: Callable[[Random, Any], None]
    reasons: frozenset[str]

    @property
    def name(self) -> str:
        return self.apply.__name__


class Changes(list[Change]):
    """The changes of one kind of message; a function joins them by ``@changes('reason', …)``."""

    def __call__(self, *reasons: str) -> Callable[[Callable[[Random, Any], None]], Callable[[Random, Any], None]]:
        def register(apply: Callable[[Random, Any], None]) -> Callable[[Random, Any], None]:
            self.append(Change(apply, frozenset(reasons)))
            return apply

        return register


def header(number: int, frame_id: str, period_ns: int) -> Header:
    message = Header(frame_id=frame_id)
    message.stamp.sec, message.stamp.nanosec = divmod(START_NS + number * period_ns, SECOND)
    return message


def text(rng: Random) -> str:
    """A malformed or extreme name."""
    kind = rng.randrange(8)
    if kind == 0:
        return ''
    if kind == 1:
        return rng.choice(string.printable) * rng.choice((255, 256, 257, 5000))
    if kind == 2:
        return ''.join(chr(rng.randrange(0x20)) for _ in range(rng.randrange(1, 9)))
    if kind == 3:
        return 'a' + ''.join(chr(rng.randrange(0xD800, 0xE000)) for _ in range(rng.randrange(1, 9)))  # lone surrogates
    if kind == 4:
        return rng.choice(
            ('\x1b[2J', '%s%n', '{0}', '\u202e', '\u2028', '\r\nERROR', '/', '//', 'a\0b', '__metadata__')
        )
    if kind == 5:
        return ''.join(rng.choice(string.printable) for _ in range(rng.randrange(1, 40)))
    return ''.join(chr(rng.choice((rng.randrange(0x20, 0xD800), rng.randrange(0xE000, 0x110000)))) for _ in range(9))


def number(rng: Random) -> float:
    """A number that a float64 can hold."""
    return rng.choice((rng.choice(NUMBERS), rng.choice(NOT_FINITE), rng.uniform(-1e3, 1e3)))


def single(rng: Random) -> float:
    """A number that a float32 can hold."""
    value = number(rng)
    return value if value != value or abs(value) < 3.5e38 or value in NOT_FINITE else 3e38


def count(rng: Random) -> int:
    """A number that a uint32 can hold."""
    return rng.choice(COUNTS) if rng.random() < 0.7 else rng.randrange(80)


def bytes_changed(rng: Random, data: bytes) -> bytes:
    """``data`` cut, lengthened, with bytes flipped, repeated, put in or taken out."""
    kind, at = rng.randrange(8), rng.randrange(len(data) + 1)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data + rng.randbytes(rng.randrange(1, 40))
    if kind == 2:
        return data[:at] + rng.randbytes(rng.randrange(1, 9)) + data[at:]
    if kind == 3:
        return data[:at] + data[at + rng.randrange(1, 9) :]
    if kind == 4:
        return data[:at] + data[max(0, at - rng.randrange(1, 40)) :]
    if kind == 5:
        return rng.choice((b'', bytes(len(data)), b'\xff' * len(data), rng.randbytes(len(data))))
    flipped = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        if flipped:
            flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
    return bytes(flipped)


#: Of every message with a header.
HEADER = Changes()


@HEADER('zero_stamp')
def never_stamped(rng: Random, message: Any) -> None:
    message.header.stamp.sec = message.header.stamp.nanosec = 0


@HEADER('zero_stamp', 'bad_stamp')
def stamp_before_1970(rng: Random, message: Any) -> None:
    message.header.stamp.sec = rng.choice((-1, -(2**31), -rng.randrange(1, 2**31)))


@HEADER('bad_stamp')
def no_part_of_a_second(rng: Random, message: Any) -> None:
    message.header.stamp.nanosec = rng.choice((SECOND, SECOND + 1, 2**31, 2**32 - 1))


@HEADER(*TIME)
def stamp_elsewhere(rng: Random, message: Any) -> None:
    sec = message.header.stamp.sec
    message.header.stamp.sec = rng.choice((1, 2**31 - 1, sec - 1, sec + 1, sec - 3600, rng.randrange(1, 2**31)))


@HEADER(*TIME)
def stamp_nearby(rng: Random, message: Any) -> None:
    message.header.stamp.nanosec = rng.choice((0, 1, 999_999_999, rng.randrange(SECOND)))


@HEADER('bad_frame_id', 'no_transform')
def another_frame(rng: Random, message: Any) -> None:
    message.header.frame_id = text(rng)
