# SPDX-License-Identifier: Apache-2.0
"""What a benchmark ran on: without it a number says nothing."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from robocache_core import backends

_MIB = 1 << 20


def copy_bandwidth(threads: int, nbytes: int = 256 * _MIB) -> float:
    """Bytes a second, read and written ones together, of a copy that fits no cache.

    The best of several by one thread and by ``threads``: it is what the machine can do, not what it does beside others.
    """
    source, target = torch.ones(nbytes, dtype=torch.uint8), torch.empty(nbytes, dtype=torch.uint8)
    seconds = []
    for count in (1, threads):
        torch.set_num_threads(count)
        for _ in range(9):
            start = time.perf_counter()
            target.copy_(source)
            seconds.append(time.perf_counter() - start)
    return 2 * nbytes / min(seconds)


class Others:
    """What other processes take of the CPUs from now on: a benchmark beside them is not to be trusted.

    Args:
        own_s: returns the CPU time of our processes, s.
    """

    #: A share from which a run is called disturbed.
    DISTURBED = 0.1

    def __init__(self, own_s: Callable[[], float] = time.process_time) -> None:
        self._own_s = own_s
        self._start = self._seconds()

    def share(self) -> float:
        """Part of all CPU time since the start that was not idle and not ours, 0 to 1."""
        total, busy, own = (now - then for now, then in zip(self._seconds(), self._start, strict=True))
        return min(1.0, max(0.0, (busy - own) / total))

    def _seconds(self) -> tuple[float, float, float]:
        """All of the CPUs' time, what was not idle (time stolen from a virtual machine too), and ours."""
        fields = [int(field) for field in Path('/proc/stat').read_text().split('\n', 1)[0].split()[1:9]]
        tick = os.sysconf('SC_CLK_TCK')
        idle = fields[3] + fields[4]
        return sum(fields) / tick, (sum(fields) - idle) / tick, self._own_s()


def header(threads: int, bandwidth: float, versions: dict[str, str], quick: bool) -> dict[str, object]:
    """The facts that stand above the rows."""
    active = backends.active()
    return {
        'machine': f'{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs, {_memory_gib():.0f} GiB',
        'cpu': _cpu_model(),
        'commit': _commit(),
        'date': time.strftime('%Y-%m-%d', time.gmtime()),
        'backend': active.name,
        'compiler': active.compiler_flags,
        'threads': threads,
        'bandwidth_gb_s': round(bandwidth * 1e-9, 1),
        'versions': {
            'robocache': active.version,
            'python': platform.python_version(),
            'numpy': np.__version__,
            'torch': torch.__version__,
            **versions,
        },
        'quick': quick,
    }


def _cpu_model() -> str:
    cpuinfo = Path('/proc/cpuinfo')
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return models[0] if models else platform.processor() or 'unknown'


def _memory_gib() -> float:
    return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / (1 << 30)


def _commit() -> str:
    """The commit of the tree that runs, ``+`` where files differ from it; ``unknown`` outside a repository."""
    git = ['git', '-C', str(Path(__file__).parent)]
    try:
        commit = subprocess.run([*git, 'rev-parse', '--short=12', 'HEAD'], capture_output=True, text=True, check=True)
        status = subprocess.run([*git, 'status', '--porcelain'], capture_output=True, text=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return 'unknown'
    return commit.stdout.strip() + ('+' if status.stdout.strip() else '')
