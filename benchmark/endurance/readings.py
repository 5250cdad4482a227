# SPDX-License-Identifier: Apache-2.0
"""What a process holds, read again and again, and whether that grows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

_MIB = 1 << 20
_PAGE = os.sysconf('SC_PAGE_SIZE')
#: Growth after warm-up from which memory counts as leaked.
MOST_GROWTH_MIB = 2.0
#: Part of the readings that is warm-up.
WARM_UP = 0.25


@dataclass(frozen=True)
class Reading:
    """What a process holds: resident memory, and on its GPU (None: it has none), MiB; descriptors; threads."""

    rss_mib: float
    descriptors: int
    threads: int
    device_mib: float | None = None


def read(pid: int | str = 'self', device_bytes: int | None = None) -> Reading:
    """Read process ``pid``; ``device_bytes``: what its GPU holds for it."""
    folder = Path(f'/proc/{pid}')
    return Reading(
        rss_mib=int((folder / 'statm').read_text().split()[1]) * _PAGE / _MIB,
        descriptors=len(list((folder / 'fd').iterdir())),
        threads=len(list((folder / 'task').iterdir())),
        device_mib=None if device_bytes is None else device_bytes / _MIB,
    )


def device_bytes(pipeline: Any) -> int | None:
    """Bytes that a pipeline holds on its GPU; None without one."""
    memory = pipeline.device_memory()
    return memory['allocated'] + memory['scratch'] if memory else None


def summary(readings: Sequence[Reading]) -> dict[str, Any]:
    """First and last reading after warm-up, growth, and ``leaks``: what grew that must not, in words."""
    warm = readings[int(len(readings) * WARM_UP) :]
    third = max(1, len(warm) // 3)
    begin, end = warm[:third], warm[-third:]
    leaks, growth = [], {}
    for name, title in (('rss_mib', 'resident memory'), ('device_mib', 'device memory')):
        if warm[0].device_mib is None and name == 'device_mib':
            growth[name] = 'skipped: no GPU'
            continue
        growth[name] = round(median(getattr(r, name) for r in end) - median(getattr(r, name) for r in begin), 2)
        if growth[name] > MOST_GROWTH_MIB:
            leaks.append(f'{title} grew by {growth[name]} MiB, more than {MOST_GROWTH_MIB} MiB')
    for name in ('descriptors', 'threads'):
        # Some come and go; what is leaked is there at every later reading.
        growth[name] = min(getattr(r, name) for r in end) - max(getattr(r, name) for r in begin)
        if growth[name] > 0:
            leaks.append(f'{name} grew by {growth[name]}')
    return {
        'readings': len(readings),
        'after_warm_up': asdict(warm[0]),
        'at_the_end': asdict(warm[-1]),
        'growth': growth,
        'leaks': leaks,
    }
