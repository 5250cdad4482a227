# SPDX-License-Identifier: Apache-2.0
"""Times a workload in all of its ways, and checks each way's results against the CPU's, to the bit, before it does."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmark.gpu.device import Cuda
from benchmark.gpu.workload import CALL, GRAPH, PAGEABLE, PINNED, Inputs, Out, Workload, copied, differences, poison
from benchmark.row import Goal, Row
from benchmark.runner import Call, Effort, Timer, measure, wall_clock
from benchmark.streams import moved_bytes

#: Most sets of inputs: those of the smallest workloads would be thousands.
MAX_SETS = 128
#: Least launches of a graph, beside which its own launch does not count.
MIN_LAUNCHES = 24


@dataclass(frozen=True)
class Rates:
    """Bytes a second of this run: read and written on the GPU, and to it."""

    copy: float
    upload: float


@dataclass(frozen=True)
class Efforts:
    """Of calls, by events or on the wall, and of graphs, of which a turn is one replay."""

    calls: Effort = field(default_factory=lambda: Effort(rounds=9, seconds=0.5, turn_ms=3.0))
    graphs: Effort = field(default_factory=lambda: Effort(rounds=25, seconds=0.3, turn_ms=0.0))


QUICK = Efforts(Effort(rounds=1, seconds=0, turn_ms=0), Effort(rounds=1, seconds=0, turn_ms=0))


class CheckError(RuntimeError):
    """Ours has other bits than the CPU's."""


@dataclass(frozen=True)
class Way:
    """One way of timing: everyone's call, ours first, and what ours gives on an input over poisoned memory."""

    calls: dict[str, Call]
    results: Callable[[int], Iterator[Any]]
    timer: Timer
    effort: Effort
    nbytes: int
    bandwidth: float


@dataclass
class Measured:
    """What was found of a workload.

    Attributes:
        rows: one for each way, called ``<workload>, <way>``.
        p99_ms: by row, of everyone.
        about: of the inputs.
        failed: by peer, why it could not be measured.
    """

    rows: list[Row]
    p99_ms: dict[str, dict[str, float]]
    about: str
    failed: dict[str, str]


class Arriving(Sequence[torch.Tensor]):
    """Inputs that come from the host: each is sent when it is first asked for; work begins while others come."""

    def __init__(self, host: Inputs, there: Inputs, send: Callable[[torch.Tensor, torch.Tensor], object]) -> None:
        self._waiting = dict(enumerate(host))
        self._there, self._send = there, send

    def __len__(self) -> int:
        return len(self._there)

    def __getitem__(self, index: Any) -> Any:
        source = self._waiting.pop(index, None)
        if source is not None:
            self._send(source, self._there[index])
        return self._there[index]


def run(name: str, workload: Workload, device: Cuda, rates: Rates, efforts: Efforts) -> Measured:
    """Measure a workload.

    Raises:
        CheckError: ours has other bits than the CPU's in one of the ways.
    """
    expected = [workload.ours(inputs, None) for inputs in workload.inputs]
    set_bytes = moved_bytes(workload.inputs[0])
    num_sets = max(len(expected), min(MAX_SETS, math.ceil(2 * device.cache_bytes / set_bytes)))
    originals = [copied(inputs, device.device) for inputs in workload.inputs]
    # As much as twice the L2 cache passes before an input is read again. Copies do: a cache knows addresses.
    sets = [copied(originals[i % len(originals)], device.device) for i in range(num_sets)]
    del originals

    about = f'{num_sets} sets of inputs of {set_bytes * 1e-6:.3g} MB'
    found = Measured([], {}, f'{about}, {workload.about}' if workload.about else about, {})
    makers: dict[str, Callable[[], Way]] = {
        CALL: lambda: _called(workload, device, sets, rates, efforts),
        GRAPH: lambda: _replayed(workload, device, sets, rates, efforts, found.failed),
    }
    if workload.sent:
        makers[PINNED] = lambda: _sent(workload, device, sets, rates, efforts, pinned=True)
        makers[PAGEABLE] = lambda: _sent(workload, device, sets, rates, efforts, pinned=False)
    for label, make in makers.items():
        row_name = f'{name}, {label}'
        way = make()
        for number, wanted in enumerate(expected):
            for result in way.results(number):
                if wrong := differences(result, wanted):
                    raise CheckError(f'{row_name}: {wrong}')
            del result
        calls = _those_that_run(way.calls, device, label, found.failed)
        times = measure(calls, way.effort, way.timer)
        median = {who: statistics.median(values) for who, values in times.items()}
        peers = {who: ms for who, ms in median.items() if who != 'ours'}
        limit = workload.goals.get(label)
        goal = Goal(max_ms=None if limit is None else limit * 1e-3)
        found.rows.append(Row.of(row_name, median['ours'], peers, way.nbytes, way.bandwidth, goal))
        found.p99_ms[row_name] = {who: percentile(values, 0.99) for who, values in times.items()}
        del way, calls  # a graph holds memory of its own
        device.forget()
    return found


def percentile(values: Sequence[float], share: float) -> float:
    """The least value that ``share`` of them do not exceed, four digits of it."""
    return float(f'{sorted(values)[max(0, math.ceil(share * len(values)) - 1)]:.4g}')


def _called(workload: Workload, device: Cuda, sets: Sequence[Inputs], rates: Rates, efforts: Efforts) -> Way:
    def on_sets(work: Callable[[Inputs], object]) -> Call:
        return lambda number: work(sets[number % len(sets)])

    def results(number: int) -> Iterator[Any]:
        out = workload.out(device.device)
        poison(out)
        yield workload.ours(sets[number], out)
        poison(out)
        del out  # what is allocated next has this memory, as far as the allocator goes
        yield workload.ours(sets[number], None)

    calls = {'ours': on_sets(lambda inputs: workload.ours(inputs, None))}
    calls |= {who: on_sets(peer) for who, peer in workload.peers.items()}
    return Way(calls, results, device.time_call, efforts.calls, workload.nbytes, rates.copy)


def _replayed(
    workload: Workload,
    device: Cuda,
    sets: Sequence[Inputs],
    rates: Rates,
    efforts: Efforts,
    failed: dict[str, str],
) -> Way:
    launches = len(sets) * math.ceil(MIN_LAUNCHES / len(sets))
    outs = [workload.out(device.device) for _ in sets]
    kept: dict[int, Any] = {}

    def ours() -> None:
        for number in range(launches):
            number %= len(sets)
            kept[number] = workload.ours(sets[number], outs[number])

    def by(peer: Callable[[Inputs], object]) -> Callable[[], None]:
        def work() -> None:
            for number in range(launches):
                peer(sets[number % len(sets)])

        return work

    graph = device.capture(ours, launches)

    def results(number: int) -> Iterator[Any]:
        poison([buffer for out in outs for buffer in out])
        graph(number)
        yield kept[number]

    calls: dict[str, Call] = {'ours': graph}
    for who, peer in workload.peers.items():
        if who in workload.waiting:
            continue
        try:
            calls[who] = device.capture(by(peer), launches)
        except Exception as error:  # whatever it is, the others go on
            failed[f'{who}, {GRAPH}'] = _first_line(error)
    return Way(calls, results, device.time_replay, efforts.graphs, workload.nbytes, rates.copy)


def _sent(
    workload: Workload, device: Cuda, sets: Sequence[Inputs], rates: Rates, efforts: Efforts, *, pinned: bool
) -> Way:
    hosts: list[Inputs] = [
        [device.pin(tensor) if pinned else tensor for tensor in inputs[: workload.sent]] for inputs in workload.inputs
    ]
    # What does not come from the host is another set's, and has been there before.
    there = [copied(inputs, device.device) for inputs in sets[: len(hosts)]]
    out: Out = workload.out(device.device)

    def arriving(number: int, send: Callable[[torch.Tensor, torch.Tensor], object]) -> Arriving:
        number %= len(hosts)
        return Arriving(hosts[number], there[number], send)

    def ours(number: int) -> Any:
        result = workload.ours(arriving(number, device.upload), out)
        device.wait()
        return result

    def by(peer: Callable[[Inputs], object]) -> Call:
        def call(number: int) -> object:
            result = peer(arriving(number, lambda source, target: target.copy_(source, non_blocking=True)))
            device.wait()
            return result

        return call

    def results(number: int) -> Iterator[Any]:
        poison([*out, *there[number][: workload.sent]])
        device.wait()  # uploads are on a stream of their own
        yield ours(number)

    calls: dict[str, Call] = {'ours': ours, **{who: by(peer) for who, peer in workload.peers.items()}}
    return Way(calls, results, wall_clock, efforts.calls, moved_bytes(hosts[0]), rates.upload)


def _those_that_run(calls: dict[str, Call], device: Cuda, label: str, failed: dict[str, str]) -> dict[str, Call]:
    """Without the peers that fail; ours must not."""
    running = {}
    for who, call in calls.items():
        try:
            call(0)
            device.wait()
        except Exception as error:
            if who == 'ours':
                raise
            failed[f'{who}, {label}'] = _first_line(error)
        else:
            running[who] = call
    return running


def _first_line(error: Exception) -> str:
    return f'{type(error).__name__}: {error}'.partition('\n')[0]
