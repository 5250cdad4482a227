# SPDX-License-Identifier: Apache-2.0
"""Times a workload: ours and its peers take turns in one process, so that what disturbs one disturbs all."""

from __future__ import annotations

import functools
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from benchmark.row import Goal, Row

#: Does the work once, on the input of that number, and returns its result. Inputs are few; numbers wrap around.
Call = Callable[[int], object]

#: Milliseconds that a call took on one input.
Timer = Callable[[Call, int], float]


def on_threads(name: str, threads: int, call: Callable[[int, int], object]) -> dict[str, Call]:
    """A peer that takes a number of threads, ``call(number, threads)``, with as many as we have and with one.

    Teams of threads that wait for each other by spinning take ten times as long where another process has one of the
    cores. That is not their work, so a goal is judged by the faster of the two.
    """
    ways = {name: threads, f'{name}, 1 thread': 1} if threads > 1 else {name: 1}
    return {way: functools.partial(_swapped, call, count) for way, count in ways.items()}


def torch_on_threads(threads: int, call: Call) -> dict[str, Call]:
    """The same for torch, whose threads are a setting of the process."""

    def run(number: int, count: int) -> object:
        torch.set_num_threads(count)
        return call(number)

    return on_threads('torch', threads, run)


def _swapped(call: Callable[[int, int], object], threads: int, number: int) -> object:
    return call(number, threads)


@dataclass(frozen=True)
class Workload:
    """The same work by us and by peers.

    Attributes:
        ours: our way, which returns the tensors it wrote.
        peers: by name, the ways of others that are installed.
        nbytes: least that must move: inputs read once, results written once.
        goal: what is to be reached.
        out: buffers that ``ours`` writes, poisoned before it is believed to work.
    """

    ours: Callable[[int], tuple[torch.Tensor, ...]]
    peers: Mapping[str, Call]
    nbytes: int
    goal: Goal = field(default_factory=Goal)
    out: tuple[torch.Tensor, ...] = ()


def wall_clock(call: Call, number: int) -> float:
    """Milliseconds by the clock on the wall: the timer of what runs on the CPU."""
    start = time.perf_counter_ns()
    call(number)
    return (time.perf_counter_ns() - start) * 1e-6


@dataclass(frozen=True)
class Effort:
    """How long is measured: at least ``rounds`` turns of everyone, then until ``seconds`` are spent on a workload.

    A turn is ``turn_ms`` long, or one call.
    """

    rounds: int = 9
    seconds: float = 3.0
    turn_ms: float = 3.0


QUICK = Effort(rounds=1, seconds=0.0, turn_ms=0.0)


def run(
    name: str, workload: Workload, bandwidth: float, effort: Effort, timer: Timer = wall_clock
) -> tuple[Row, dict[str, float]]:
    """Measure a workload.

    Returns:
        The row of medians, and the fastest call of everyone, ms.
    """
    _check_that_it_writes(name, workload)
    times = measure({'ours': workload.ours, **workload.peers}, effort, timer)
    median = {who: statistics.median(values) for who, values in times.items()}
    peers = {who: ms for who, ms in median.items() if who != 'ours'}
    row = Row.of(name, median['ours'], peers, workload.nbytes, bandwidth, workload.goal)
    return row, {who: min(values) for who, values in times.items()}


def measure(everyone: Mapping[str, Call], effort: Effort, timer: Timer) -> dict[str, list[float]]:
    """By name, the times of all calls, ms, of those who take turns."""
    calls = {who: _calls_in(effort.turn_ms, call, timer) for who, call in everyone.items()}
    times: dict[str, list[float]] = {who: [] for who in everyone}
    deadline = time.monotonic() + effort.seconds
    number = rounds = 0
    while rounds < effort.rounds or time.monotonic() < deadline:
        for who, call in everyone.items():
            time.sleep(0.001)  # threads of the one before stop spinning
            call(number)  # and this one's caches are its own again
            for _ in range(calls[who]):
                number += 1
                times[who].append(timer(call, number))
        rounds += 1
    return times


def _calls_in(turn_ms: float, call: Call, timer: Timer) -> int:
    """How many calls fit in a turn. The first builds what later ones find: by its time the turns would be too short."""
    call(0)
    return max(1, math.ceil(turn_ms / min(timer(call, number) for number in range(1, 4))))


def _check_that_it_writes(name: str, workload: Workload) -> None:
    """Call ours once on poisoned buffers: a benchmark of what writes nothing is worth nothing."""
    for buffer in workload.out:
        buffer.view(torch.uint8).fill_(0xFF)  # NaN in every float, -1 in every integer
    for result in workload.ours(0):
        poisoned = result.isnan() if result.is_floating_point() else result == -1
        if result.dtype != torch.bool and (result.numel() == 0 or bool(poisoned.any())):
            raise RuntimeError(f'{name}: of {result.numel()} results {int(poisoned.sum())} were not written')
