# SPDX-License-Identifier: Apache-2.0
"""Paths to the numbers of a message, such as ``pose.pose.position.x``, ``axes[0]`` and ``data[:7]``."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

_STEP = r'[A-Za-z]\w*(?:\[\d{1,6}\])*'
_PATH = re.compile(rf'(?P<steps>{_STEP}(?:\.{_STEP})*)(?:\[:(?P<size>[1-9]\d{{0,5}})\])?', re.ASCII)

#: What a path may be, in words.
GRAMMAR = 'must be a path of members such as pose.pose.position.x, axes[0], or data[:7] for a whole array of 7'


@dataclass(frozen=True)
class FieldPath:
    """A path that was parsed.

    Attributes:
        text: as it was given.
        steps: names of members, and places in arrays, from the message on.
        size: elements that the array at its end has, each of which is taken; None where it is no whole array.
    """

    text: str
    steps: tuple[str | int, ...]
    size: int | None

    @property
    def columns(self) -> tuple[str, ...]:
        """A name for each number."""
        if self.size is None:
            return (self.text,)
        array = self.text.removesuffix(f'[:{self.size}]')
        return tuple(f'{array}[{i}]' for i in range(self.size))


@functools.lru_cache(maxsize=1024)
def parse_path(text: str) -> FieldPath | None:
    """Return the path that ``text`` is; None where it is none (see ``GRAMMAR``)."""
    match = _PATH.fullmatch(text)
    if match is None:
        return None
    parts = re.findall(r'[A-Za-z]\w*|\d+', match['steps'])
    steps = tuple(int(part) if part.isdigit() else part for part in parts)
    return FieldPath(text, steps, int(match['size']) if match['size'] else None)


def quaternions(columns: tuple[str, ...]) -> tuple[int, ...]:
    """Return where in a row quaternions begin: four columns ``<path>.x``, ``.y``, ``.z`` and ``.w`` in this order."""
    begins = []
    for i, column in enumerate(columns):
        path = column.removesuffix('.x')
        if path != column and columns[i : i + 4] == tuple(f'{path}.{axis}' for axis in 'xyzw'):
            begins.append(i)
    return tuple(begins)
