# SPDX-License-Identifier: Apache-2.0
"""What is found while a configuration is made from a bag: doubts, and the topics that are left out."""

from __future__ import annotations

from dataclasses import dataclass, field

from robocache_core.text import printable


@dataclass(frozen=True)
class LeftOut:
    """Why a topic is no stream; ``remedy`` is what would make it one, empty where none is needed or there is none."""

    why: str
    remedy: str = ''


@dataclass
class Remarks:
    """What is found while a configuration is made.

    Attributes:
        doubts: a line for each thing that could not be found or that looks wrong.
        left_out: by topic whose type could be a stream, why it is none.
    """

    doubts: list[str] = field(default_factory=list)
    left_out: dict[str, LeftOut] = field(default_factory=dict)

    @property
    def lines(self) -> tuple[str, ...]:
        """A line for each, without what would break it."""
        left_out = (f'left out: {topic}: {each.why}' for topic, each in self.left_out.items())
        return tuple(map(printable, (*self.doubts, *left_out)))
