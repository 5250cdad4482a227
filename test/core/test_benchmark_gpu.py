# SPDX-License-Identifier: Apache-2.0
"""The benchmark of a GPU without one: its workloads on the CPU, its stopwatch with a clock that the tests turn."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from benchmark.gpu import __main__ as program
from benchmark.gpu import device, measure, table
from benchmark.gpu.workload import CALL, GRAPH, PAGEABLE, PINNED, Workload, differences, unpacked
from benchmark.row import Row
from robocache_core import backends
from robocache_core.encodings import in_planes
from robocache_core.ops import DenseVoxels

needs_module = pytest.mark.skipif(backends.active().name != 'cpu', reason='the compiled module is not loaded')

RATES = measure.Rates(copy=2e12, upload=50e9)


class Pretended:
    """What ``device.Cuda`` is, on the CPU: a call takes 0.02 ms, a launch 0.005 ms."""

    device = torch.device('cpu')
    cache_bytes = 1

    def __init__(self) -> None:
        self.sent: list[tuple[int, int]] = []
        self.pinned = 0

    def wait(self) -> None:
        pass

    def time_call(self, call: Any, number: int) -> float:
        call(number)
        return 0.02

    def time_replay(self, replay: Any, number: int) -> float:
        assert isinstance(replay, device.Replay)
        replay(number)
        return 0.005

    def capture(self, work: Any, launches: int) -> device.Replay:
        work()
        return device.Replay(work, launches)

    def pin(self, tensor: torch.Tensor) -> torch.Tensor:
        self.pinned += 1
        return tensor.clone()

    def upload(self, source: torch.Tensor, target: torch.Tensor) -> None:
        self.sent.append((source.data_ptr(), target.data_ptr()))
        target.copy_(source)

    def forget(self) -> None:
        pass

    def copy_bandwidth(self) -> float:
        return RATES.copy

    def upload_bandwidth(self) -> float:
        return RATES.upload

    def facts(self) -> dict[str, Any]:
        return {'gpu': 'none', 'gpu_state': 'none', 'cuda': None, 'nvcc': ' '.join(device.nvcc_flags())}


def doubling(**more: Any) -> Workload:
    inputs = [[torch.full((8,), number, dtype=torch.uint8)] for number in range(3)]

    def ours(inputs, out):
        return torch.mul(inputs[0], 2, out=torch.empty_like(inputs[0]) if out is None else out[0])

    settings: dict[str, Any] = {
        'inputs': inputs,
        'ours': ours,
        'out': lambda where: (torch.empty(8, dtype=torch.uint8, device=where),),
        'peers': {'torch': lambda inputs: inputs[0] + inputs[0]},
        'nbytes': 16,
        'goals': {CALL: 15.0, GRAPH: 6.0},
    }
    return Workload(**settings | more)


def test_a_workload_is_timed_in_all_of_its_ways():
    gpu = Pretended()
    found = measure.run('w', doubling(sent=1, about='of twos'), gpu, RATES, measure.QUICK)
    rows = {row.workload.removeprefix('w, '): row for row in found.rows}
    assert list(rows) == [CALL, GRAPH, PINNED, PAGEABLE]
    assert (rows[CALL].ours_ms, rows[GRAPH].ours_ms) == (0.02, 0.005)
    assert (rows[CALL].goal, rows[CALL].met) == ('≤ 0.015 ms, ahead of all', False)
    assert (rows[GRAPH].goal, rows[GRAPH].met) == ('≤ 0.006 ms, ahead of all', True)
    assert rows[GRAPH].bandwidth_share == pytest.approx(16 / 0.005e-3 / 2e12)
    assert rows[PINNED].bytes == 8
    assert found.p99_ms['w, graph'] == {'ours': 0.005, 'torch': 0.005}
    assert found.about == '3 sets of inputs of 8e-06 MB, of twos'
    assert gpu.pinned == 3
    assert all(row.as_json().keys() == Row.__annotations__.keys() for row in found.rows)


def test_inputs_are_rotated_until_twice_the_cache_has_passed():
    gpu = Pretended()
    gpu.cache_bytes = 40
    seen: set[int] = set()

    def peer(inputs):
        seen.add(inputs[0].data_ptr())

    found = measure.run('w', doubling(peers={'p': peer}), gpu, RATES, measure.QUICK)
    assert found.about == '10 sets of inputs of 8e-06 MB'
    assert len(seen) == 10


def test_a_peer_that_waits_is_in_no_graph_and_without_one_nothing_is_judged():
    found = measure.run('w', doubling(waiting=frozenset({'torch'})), Pretended(), RATES, measure.QUICK)
    call, graph = found.rows
    assert (list(call.peers), list(graph.peers)) == (['torch'], [])
    assert graph.met is None


def test_a_peer_that_fails_is_named_and_the_others_go_on():
    def broken(inputs):
        raise RuntimeError('out of memory\nfor good')

    peers = {'good': lambda inputs: None, 'bad': broken}
    found = measure.run('w', doubling(peers=peers), Pretended(), RATES, measure.QUICK)
    assert all(list(row.peers) == ['good'] for row in found.rows)
    assert found.failed == {'bad, call': 'RuntimeError: out of memory', 'bad, graph': 'RuntimeError: out of memory'}


@pytest.mark.parametrize('way', [CALL, GRAPH, PINNED])
def test_other_bits_than_the_cpus_are_an_error(way):
    """Of the call, of a replayed graph, of what was uploaded."""

    class Broken(Pretended):
        cheats = False

        def capture(self, work, launches):
            replay = super().capture(work, launches)
            return device.Replay(lambda: None, launches) if way == GRAPH else replay

        def upload(self, source, target):
            if way != PINNED:
                super().upload(source, target)

    workload = doubling(sent=1)
    if way == CALL:
        gpu_calls = iter([False] * 3 + [True] * 100)  # the CPU's three come first
        right = workload.ours
        workload = doubling(sent=1, ours=lambda inputs, out: out[0] if next(gpu_calls) else right(inputs, out))
    with pytest.raises(measure.CheckError, match=f'w, {way}: result 0: 8 of 8 elements differ'):
        measure.run('w', workload, Broken(), RATES, measure.QUICK)


def test_differences_are_of_bits():
    assert differences(torch.tensor([torch.nan]), torch.tensor([torch.nan])) == ''
    assert 'differ' in differences(torch.tensor([0.0]), torch.tensor([-0.0]))
    assert 'torch.float32' in differences(torch.tensor([0.0]), torch.tensor([0]))
    dense = [DenseVoxels(torch.zeros(1), numbers) for numbers in ([1] * 7, [1] * 6 + [2])]
    assert differences(*dense).startswith('dropped')


def test_percentile():
    assert measure.percentile([float(n) for n in range(1, 201)], 0.99) == 198
    assert measure.percentile([3.0], 0.99) == 3


def test_inputs_are_sent_when_they_are_asked_for_and_once():
    sent = []
    host, there = [torch.ones(1), torch.ones(2)], [torch.zeros(1), torch.zeros(2), torch.zeros(3)]
    inputs = measure.Arriving(host, there, lambda source, target: sent.append(len(target)))
    assert inputs[1] is there[1]
    assert sent == [2]
    assert [len(t) for t in inputs] == [1, 2, 3]
    assert sent == [2, 1]


def test_the_flags_of_nvcc_are_those_of_setup():
    assert device.nvcc_flags()[:4] == ['-std=c++17', '-O3', '-fmad=false', '-lineinfo']


@needs_module
@pytest.mark.parametrize('name', program.workloads(quick=True))
def test_peers_do_the_same_work(name):
    """A peer that does less would be no peer. Ours on the CPU has the bits of the GPU."""
    workload = program.workloads(quick=True)[name]()
    inputs = SMOOTH.get(name, lambda inputs: inputs)(workload.inputs[0])
    wanted = [part for part in unpacked(workload.ours(inputs, None)) if isinstance(part, torch.Tensor)]
    for peer in workload.peers.values():
        found = peer(inputs)
        check(name, wanted, list(unpacked(found)))


def _smooth_yuv(inputs: Any) -> Any:
    """A ramp of grey: without colour, how it is interpolated plays no part, and nothing is clamped."""
    data = torch.full_like(inputs[0], 128)
    if data.numel() == 320 * 180 * 2:
        data.view(180, 320, 2)[..., 0] = (torch.arange(320) // 4 + 40).to(torch.uint8)
    else:
        data[: 320 * 180].view(180, 320)[:] = (torch.arange(320) // 4 + 40).to(torch.uint8)
    return [data]


SMOOTH = {f'{encoding} 1080p to 640×384 fp16': _smooth_yuv for encoding in ('yuyv', 'nv12', in_planes('bgr8', '4:2:0'))}


def check(name: str, wanted: list[torch.Tensor], found: list[torch.Tensor]) -> None:
    if 'hard' in name:
        num = int(found[3])
        assert num == len(wanted[1]) or len(wanted[1]) == 60_000
        for k in range(3):
            torch.testing.assert_close(found[k][: len(wanted[k])], wanted[k])
        return
    if 'sparse' in name or 'to voxels' in name or 'whole' in name:
        check_sparse(wanted[:3], found[:3], relative='Ouster' in name or 'whole' in name)
        wanted, found = wanted[3:], found[len(found) - (2 if 'whole' in name else 0) :]
        if 'whole' not in name:
            return
    for k in range(min(len(wanted), len(found))):
        if wanted[k].dtype == torch.bool:
            assert torch.equal(wanted[k], found[k])
            continue
        left, right = wanted[k].float(), found[k].float()
        if 'rectified' in name or 'bayer' in name:  # at its edge torch blends with black, mirrors what ours repeats
            left, right = left[:, 40:-40, 40:-40], right[:, 40:-40, 40:-40]
        torch.testing.assert_close(left, right, atol=0.03, rtol=0.02, equal_nan=True)


def check_sparse(wanted: list[torch.Tensor], found: list[torch.Tensor], *, relative: bool) -> None:
    """Points on a voxel's face may fall to either side; so not every voxel has to be there."""
    ours = {
        tuple(c): (f, n) for c, f, n in zip(wanted[0].tolist(), wanted[1].tolist(), wanted[2].tolist(), strict=True)
    }
    rows = zip(found[0].tolist(), found[1].tolist(), found[2].tolist(), strict=True)
    theirs = {tuple(c): (f, n) for c, f, n in rows if n}
    same = [key for key in ours if key in theirs and ours[key][1] == theirs[key][1]]
    assert len(same) > 0.98 * len(ours)
    if not relative:
        left, right = (torch.tensor([those[key][0] for key in same]) for those in (ours, theirs))
        torch.testing.assert_close(left, right, atol=0.01, rtol=0)


@needs_module
def test_a_whole_run_leaves_a_file_in_the_format_of_all_benchmarks(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(backends, 'cuda', lambda: None)
    monkeypatch.setattr(measure, 'MIN_LAUNCHES', 1)
    out = tmp_path / 'gpu.json'
    program.main(['--quick', '--commit', 'abc', '--out', str(out)], Pretended)
    results = json.loads(out.read_text())
    header = results['header']
    assert header['commit'] == 'abc'
    assert header['quick'] is True
    assert header['command'].startswith('python -m benchmark.gpu --quick')
    assert header.keys() >= {'gpu', 'gpu_state', 'cuda', 'nvcc', 'bandwidth_gb_s', 'upload_gb_s', 'versions', 'machine'}
    assert results['errors'] == results['missing'] == {}
    names = [row['workload'] for row in results['rows']]
    assert len(names) == len(set(names))
    wanted = 'W1', 'W4', 'W5', 'W6', 'W2 count', 'W2 occupancy', 'W2 mean', 'W2 max', 'lidar', 'hard', 'whole', 'Ouster'
    for name in (*wanted, 'bgr8', 'yuyv', 'bayer', 'nv12', 'rectified', 'clustered', 'uniform'):
        assert any(name in found and found.endswith(', graph') for found in names), name
    for row in results['rows']:
        assert row.keys() == Row.__annotations__.keys()
        assert row['peers']
        assert results['p99_ms'][row['workload']].keys() == {'ours', *row['peers']}
    assert 'whole frame: 131k × 48 B cloud, 1080p bgr8, IMU window, from pinned bytes' in names
    assert all('sets of inputs of' in about for about in results['about'].values())
    assert 'missed their goal' in capsys.readouterr().out
    check_table(results)


def check_table(results: dict[str, Any]) -> None:
    lines = table.table(results).splitlines()
    head = next(n for n, line in enumerate(lines) if line.startswith('| workload | call, µs | graph, µs |'))
    body = [line for line in lines[head + 2 :] if line.startswith('|')]
    assert len(body) == len({row['workload'].rpartition(', ')[0] for row in results['rows']}) == len(results['about'])
    assert all(line.count('|') == lines[head].count('|') for line in body)
    whole = next(line for line in body if 'whole frame' in line)
    assert 'graph: met (≤ 80 µs, ahead of all)' in whole or 'graph: **missed** (≤ 80 µs, ahead of all)' in whole


@needs_module
def test_a_workload_that_fails_costs_no_other_and_the_run_ends_with_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(backends, 'cuda', lambda: None)
    broken = doubling(ours=lambda inputs, out: 1 / 0)
    monkeypatch.setattr(program, 'workloads', lambda quick: {'bad': lambda: broken, 'good': doubling})
    out = tmp_path / 'gpu.json'
    with pytest.raises(SystemExit, match='bad: ZeroDivisionError'):
        program.main(['--quick', '--out', str(out)], Pretended)
    results = json.loads(out.read_text())
    assert [row['workload'] for row in results['rows']] == ['good, call', 'good, graph']
    assert results['errors'].keys() == {'bad'}


def test_without_a_gpu_it_says_so(monkeypatch):
    def none() -> Pretended:
        raise RuntimeError('no GPU is here')

    monkeypatch.setattr(backends, 'cuda', lambda: None)
    if backends.active().name == 'cpu':
        with pytest.raises(SystemExit, match='no GPU is here'):
            program.main([], none)
