# SPDX-License-Identifier: Apache-2.0
"""The clock by which the node measures itself: arrivals, durations, silences. A test sets one of its own."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A clock that never goes back."""

    def steady_ns(self) -> int:
        """Time since an arbitrary instant, ns."""
        ...


class SteadyClock:
    """The machine's steady clock."""

    def steady_ns(self) -> int:
        """Time since an arbitrary instant, ns."""
        return time.monotonic_ns()
