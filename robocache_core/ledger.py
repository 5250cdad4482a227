# SPDX-License-Identifier: Apache-2.0
"""Counters that add up: whatever arrives is used, held, or dropped for a reason that has a name."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class Counts:
    """A consistent reading of an account: ``received == used + held + sum(dropped.values())``."""

    received: int
    used: int
    dropped: dict[str, int]

    @property
    def held(self) -> int:
        """Items that arrived and whose fate is open."""
        return self.received - self.used - sum(self.dropped.values())


class Account:
    """Counts of one stream. The lock is there because messages arrive on one thread and are used on another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._received = 0
        self._used = 0
        self._dropped: Counter[str] = Counter()

    def receive(self) -> None:
        """Count one arrival."""
        with self._lock:
            self._received += 1

    def use(self) -> None:
        """Count one item as used."""
        with self._lock:
            self._used += 1

    def drop(self, reason: str) -> None:
        """Count one item as dropped for ``reason``."""
        with self._lock:
            self._dropped[reason] += 1

    def counts(self) -> Counts:
        """Return all counters as of one instant."""
        with self._lock:
            return Counts(self._received, self._used, dict(sorted(self._dropped.items())))
