# SPDX-License-Identifier: Apache-2.0
"""How many integers are spread, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

#: Bins in a factor e: a bin is 1 % wide.
_FINENESS = 100


@dataclass
class _Bin:
    count: int = 0
    total: int = 0
    squares: int = 0

    @property
    def mean(self) -> float:
        return self.total / self.count


class Spread:
    """Counts integers by size: percentiles are right to 1 %, and exact where the values near them are all the same.

    Attributes:
        count: how many there are.
        least, greatest: exact; 0 where there are none.
    """

    def __init__(self) -> None:
        self.count = self.least = self.greatest = 0
        self._bins: dict[int, _Bin] = {}

    def take(self, value: int) -> None:
        """Count a value."""
        self.least = min(self.least, value) if self.count else value
        self.greatest = max(self.greatest, value) if self.count else value
        self.count += 1
        size = 1 + int(math.log(abs(value)) * _FINENESS) if value else 0
        held = self._bins.setdefault(size if value > 0 else -size, _Bin())
        held.count += 1
        held.total += value
        held.squares += value * value

    def percentile(self, share: float, below: float = math.inf) -> float | None:
        """The value below which ``share``, 0 to 1, of all that are below a limit are; None where there are none."""
        seen, count = 0, self.count_within(-math.inf, below)
        for _, held in sorted(self._bins.items()):
            seen += held.count
            if seen >= share * count:
                return held.mean if count else None
        return None

    def deviation(self, below: float) -> float:
        """Standard deviation of the values below a limit; 0 where there are fewer than two."""
        count = total = squares = 0  # of integers: their difference is exact
        for held in self._within(-math.inf, below):
            count, total, squares = count + held.count, total + held.total, squares + held.squares
        return math.sqrt(count * squares - total * total) / count if count else 0.0

    def count_within(self, low: float, high: float) -> int:
        """How many values are from ``low`` to ``high``, to 1 % of these."""
        return sum(held.count for held in self._within(low, high))

    def groups(self) -> Iterator[tuple[float, int]]:
        """Yield groups of values that are the same to 1 %: their mean, and how many they are."""
        return ((held.mean, held.count) for held in self._bins.values())

    def _within(self, low: float, high: float) -> Iterator[_Bin]:
        return (held for held in self._bins.values() if low <= held.mean <= high)
