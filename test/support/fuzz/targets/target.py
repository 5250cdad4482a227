# SPDX-License-Identifier: Apache-2.0
"""What a target of coverage-guided fuzzing is, and what its checks have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from support.fuzz import fuzzed, on_the_wire
from support.fuzz.driven import is_line

from robocache_core import backends
from robocache_core.samples import DataError
from robocache_ros.cdr import deserialize


@dataclass(frozen=True)
class Target:
    """Something that bytes from outside reach.

    Attributes:
        check: takes any bytes; raises where the code under test does what its docstring does not say.
        seeds: bytes to begin with, the same on every machine.
        max_len: bytes of an input at most.
    """

    check: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    max_len: int = 4096


class Unlike(Exception):
    """Bytes that are no input of the target: a message that is none of its type."""


@contextmanager
def refusals(*reasons: str) -> Iterator[None]:
    """Let the code refuse its input, for one of ``reasons`` and in one line that can be shown."""
    try:
        yield
    except Unlike:
        pass
    except DataError as error:
        if error.reason not in reasons:
            raise AssertionError(f'{error.reason} is not documented') from error
        check_line(error)


def received(raw: bytes, message: type) -> Any:
    """The message of a class in ``raw``, as it comes from DDS."""
    try:
        return deserialize(raw, message)
    except ValueError as error:
        if not str(error).startswith('they '):  # as its docstring has it
            raise
        raise Unlike from error


def check_line(text: object) -> None:
    """What is said of an input can be shown as it is, in one line."""
    assert is_line(str(text)), ascii(str(text))


def exact(data: torch.Tensor) -> torch.Tensor:
    """A copy that is an allocation of just its size, so that a sanitizer sees what is read behind it."""
    return torch.from_numpy(data.numpy().copy())


def same_bits(operation: Callable[[], Any], bits: Callable[[Any], list[torch.Tensor]]) -> Any:
    """The result of an operation, which must have the same bits on both backends of the CPU."""
    with backends.use('cpu'):
        result = operation()
    with backends.use('reference'):
        expected = operation()
    for found, wanted in zip(bits(result), bits(expected), strict=True):
        assert found.shape == wanted.shape, (found.shape, wanted.shape)
        assert np.array_equal(_raw(found), _raw(wanted)), 'the backends differ'
    return result


def _raw(tensor: torch.Tensor) -> np.ndarray:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy()


def messages(*kinds: str, settings: Iterable[int] = (0,), count: int = 12) -> Iterator[bytes]:
    """Seeds of a target whose input is a byte of settings and a message."""
    for setting in settings:
        for kind in kinds:
            for serial in range(count):
                raw = on_the_wire(fuzzed(kind, serial).message)
                if raw is not None and len(raw) < 4096:
                    yield bytes([setting]) + raw
