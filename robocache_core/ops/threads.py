# SPDX-License-Identifier: Apache-2.0
"""How many CPU threads the operations use."""

from __future__ import annotations

from robocache_core import backends
from robocache_core.validation import as_int

_MAX_THREADS = 1024


def set_num_threads(num_threads: int) -> None:
    """Let every operation of this process use so many CPU threads, the calling one among them.

    Results do not depend on it. The reference backend always uses one.

    Args:
        num_threads: 0: as many as this process may run on.

    Raises:
        ValueError: not allowed.
    """
    num_threads = as_int('num_threads', num_threads)
    if not 0 <= num_threads <= _MAX_THREADS:
        raise ValueError(f'num_threads = {num_threads}: must be 0 to {_MAX_THREADS}')
    backends.active().module.set_num_threads(num_threads)


def num_threads() -> int:
    """Threads that an operation may use now."""
    threads: int = backends.active().module.num_threads()
    return threads
