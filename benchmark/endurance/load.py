# SPDX-License-Identifier: Apache-2.0
"""Overload, seen by a consumer in a process of its own: latency, depth and memory within bounds, and recovery.

Each case has ten seconds as usual, then its load, then seconds until all is as usual again.

python -m benchmark.endurance.load SECONDS
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.endurance.live import Stand
from benchmark.node.processes import ProcessError
from robocache_core.config import BackpressureConfig
from robocache_core.streams.base import QueueConfig

SLOW_COMPUTE_S = 0.3
_USUAL_S = 10
#: Targets that may wait: those that are ready, and the messages of the trigger.
MOST_DEPTH = BackpressureConfig().max_ready + QueueConfig().depth
#: Of a frame: what waits longer in an inbox is dropped, and each target that may be ready waits for those before it.
MOST_LATENCY_S = QueueConfig().max_age_ns * 1e-9 + (BackpressureConfig().max_ready + 1) * SLOW_COMPUTE_S
#: Of the node beyond what it held before: all inboxes full of these small messages are less than 2 MiB.
MOST_GROWTH_MIB = 16.0
#: From the end of the load until a second is as usual.
MOST_RECOVERY_S = 10


@contextmanager
def ten_times_the_rate(stand: Stand, slow: Path) -> Iterator[None]:
    """Every sensor."""
    stand.player.order(factor=10)
    yield
    stand.player.order(factor=1)


@contextmanager
def slow_consumer(stand: Stand, slow: Path) -> Iterator[None]:
    """A second consumer, which takes 0.5 s for each frame."""
    with _another(stand, 'slow_consumer', '0.5') as process:
        yield
        process.stdin.close()
        process.wait(30)


@contextmanager
def killed_consumer(stand: Stand, slow: Path) -> Iterator[None]:
    """A second consumer, which is killed after the load, with frames on their way to it."""
    with _another(stand, 'killed_consumer', '0.5') as process:
        yield
        process.send_signal(signal.SIGKILL)
        process.wait(30)


@contextmanager
def slow_compute(stand: Stand, slow: Path) -> Iterator[None]:
    """Each frame takes 0.3 s longer, at 10 Hz."""
    slow.touch()
    yield
    slow.unlink()


@contextmanager
def _another(stand: Stand, *arguments: str) -> Iterator[Any]:
    command = [sys.executable, '-m', 'benchmark.endurance.consumer', *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=stand.environment, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


Case = Callable[[Stand, Path], Any]
CASES: dict[str, Case] = {
    case.__name__: case for case in (ten_times_the_rate, slow_consumer, killed_consumer, slow_compute)
}


@dataclass(frozen=True)
class Usual:
    """What a second is without load."""

    frames: int
    worst_ms: float
    rss_mib: float

    @classmethod
    def of(cls, seconds: list[dict[str, Any]]) -> Usual:
        """As those were."""
        return cls(
            frames=sorted(second['frames'] for second in seconds)[len(seconds) // 2],
            worst_ms=max(second['worst_ms'] or 0.0 for second in seconds),
            rss_mib=max(second['node'].rss_mib for second in seconds),
        )

    def has(self, second: dict[str, Any]) -> bool:
        """Whether a second is as usual: its frames came, in twice the time at the most, and nothing is thinned."""
        return bool(
            second['frames'] >= self.frames - 1
            and second['worst_ms'] <= 2 * self.worst_ms
            and second['depth'] <= BackpressureConfig().low_watermark
            and second['keep_every'] == 1
        )


def observe(case: Case, load_s: int) -> dict[str, Any]:
    """Run one case; returns what was seen, and ``beyond``: the bounds that it passed, in words."""
    with tempfile.TemporaryDirectory() as folder:
        slow = Path(folder) / 'slow'
        environment = {'SLOW_COMPUTE': str(slow), 'SLOW_COMPUTE_S': str(SLOW_COMPUTE_S)}
        with Stand('benchmark.endurance.slow_node', environment) as stand:
            usual = Usual.of(list(stand.seconds(_USUAL_S)))
            with case(stand, slow):
                loaded = list(stand.seconds(load_s))
            after, recovered_s = [], None
            for number, second in enumerate(stand.seconds(3 * MOST_RECOVERY_S), 1):
                after.append(second)
                if usual.has(second):
                    recovered_s = number
                    break
            stand.end()
    return _result(usual, loaded, after, recovered_s)


def _result(
    usual: Usual, loaded: list[dict[str, Any]], after: list[dict[str, Any]], recovered_s: int | None
) -> dict[str, Any]:
    seen = loaded + after
    latency_s = max(second['worst_ms'] or 0.0 for second in seen) / 1000
    depth = max(second['depth'] for second in seen)
    growth_mib = max(second['node'].rss_mib for second in seen) - usual.rss_mib
    bounds = {
        'latency, s': (latency_s, MOST_LATENCY_S),
        'depth': (depth, MOST_DEPTH),
        'memory, MiB more': (growth_mib, MOST_GROWTH_MIB),
        'recovery, s': (recovered_s if recovered_s is not None else float('inf'), MOST_RECOVERY_S),
    }
    return {
        'load_s': len(loaded),
        'usual_worst_ms': usual.worst_ms,
        'frames_a_second': round(sum(second['frames'] for second in loaded) / len(loaded), 1),
        'worst_latency_s': round(latency_s, 3),
        'depth': depth,
        'keep_every': max(second['keep_every'] for second in seen),
        'memory_mib': round(growth_mib, 2),
        'recovered_s': recovered_s,
        'beyond': [f'{name}: {found:g}, more than {most:g}' for name, (found, most) in bounds.items() if found > most],
    }


def run(load_s: int) -> dict[str, Any]:
    """Run all cases; returns the result of each, and ``beyond`` of all.

    Raises:
        ProcessError: a process ended, or did not end well.
    """
    cases = {name: observe(case, load_s) for name, case in CASES.items()}
    beyond = [f'{name}: {line}' for name, case in cases.items() for line in case['beyond']]
    return {'cases': cases, 'beyond': beyond}


if __name__ == '__main__':
    try:
        print(json.dumps(run(int(sys.argv[1]))))
    except ProcessError as error:
        sys.exit(f'load: {error}')
