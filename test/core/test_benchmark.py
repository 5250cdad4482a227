# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark import clouds, images, inputs, peers, runner, table
from benchmark.row import Goal, Row
from robocache_core import backends, ops
from robocache_core.channels import MAX_VOXELS

ROOT = Path(__file__).parents[2]
ROW = {'workload', 'ours_ms', 'peers', 'ratio', 'bytes', 'bandwidth_share', 'goal', 'met'}
HEADER = {
    'machine', 'cpu', 'commit', 'date', 'backend', 'compiler', 'threads', 'bandwidth_gb_s', 'versions', 'quick',
    'others_cpu',
}  # fmt: skip

needs_module = pytest.mark.skipif(backends.active().name != 'cpu', reason='the compiled module is not loaded')


@pytest.fixture(scope='module')
def quick(tmp_path_factory) -> dict:
    """What a quick run of the whole benchmark leaves."""
    out = tmp_path_factory.mktemp('bench') / 'cpu.json'
    run = subprocess.run(
        [sys.executable, '-m', 'benchmark.cpu', '--quick', '--out', str(out)],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    results = json.loads(out.read_text())
    results['printed'] = run.stdout
    return results


@needs_module
def test_a_quick_run_has_every_workload_in_the_format_of_all_benchmarks(quick):
    assert quick['header'].keys() == HEADER
    assert quick['header']['quick'] is True
    names = [row['workload'] for row in quick['rows']]
    for wanted in ('simulated 1M, 0.1 m', 'simulated 1M, 0.5 m', 'Ouster 48 B', 'bgr8', 'yuyv', 'bayer', '6 cameras',
                   'slerp', 'IMU window 400 Hz', 'W1', 'W2', 'W4', 'W5', 'W6'):  # fmt: skip
        assert any(wanted in name for name in names), wanted
    assert len(names) == len(set(names))
    for row in quick['rows']:
        assert row.keys() == ROW
        assert row['ours_ms'] > 0
        assert row['bytes'] > 0
        assert row['bandwidth_share'] > 0
        assert row['ratio'].keys() == row['peers'].keys()
        assert row['met'] in (True, False, None)
        for name, ms in row['peers'].items():
            assert row['ratio'][name] == pytest.approx(ms / row['ours_ms'], rel=2e-3)
        assert quick['fastest_ms'][row['workload']].keys() == {'ours', *row['peers']}


@needs_module
def test_what_is_missing_and_what_missed_is_named(quick):
    installed = quick['header']['versions'].keys()
    for name in ('small_gicp', 'kiss-icp', 'open3d-cpu', 'opencv-python-headless', 'scipy'):
        assert (name in installed) != (name in quick['missing'])
    for name, how in quick['missing'].items():
        assert 'pip install' in how
        assert f'{name}: {how}' in quick['printed']
    assert quick['missed'] == [row['workload'] for row in quick['rows'] if row['met'] is False]


@needs_module
def test_the_table_of_a_quick_run_is_refused(quick, tmp_path):
    file = tmp_path / 'cpu.json'
    file.write_text(json.dumps({key: value for key, value in quick.items() if key != 'printed'}))
    with pytest.raises(SystemExit, match='quick run'):
        table.main([str(file)])
    assert quick['rows'][0]['workload'] in table.table(quick)


@pytest.mark.parametrize(
    ('goal', 'ours_ms', 'ratio', 'met'),
    [
        (Goal(), 1.0, {'a': 1.0, 'b': 2.0}, True),
        (Goal(), 1.0, {'a': 0.99, 'b': 2.0}, False),
        (Goal(), 1.0, {}, None),
        (Goal(max_ms=0.5), 0.6, {'a': 9.0}, False),
        (Goal(max_ms=0.5), 0.5, {'a': 9.0}, True),
        (Goal(at_least={'a': 4}), 1.0, {'a': 4.0}, True),
        (Goal(at_least={'a': 4}), 1.0, {'a': 3.9}, False),
        (Goal(at_least={'a': 4}), 1.0, {'b': 9.0}, None),
        (Goal(at_least={'a': 4, 'b': 2}), 1.0, {'a': 9.0}, None),
        (Goal(at_least={'a': 4}, max_ms=2), 1.0, {'b + a': 9.0, 'b, 1 thread': 9.0}, None),
        # The faster way counts: a team of threads that stalls must not make us look good.
        (Goal(at_least={'a': 4}), 1.0, {'a': 200.0, 'a, 1 thread': 3.9}, False),
        (Goal(at_least={'a': 4}), 1.0, {'a': 3.9, 'a, 1 thread': 200.0}, False),
        (Goal(at_least={'a': 4}, max_ms=1), 2.0, {}, False),
    ],
)
def test_goal(goal, ours_ms, ratio, met):
    assert goal.met(ours_ms, ratio) is met


def test_row():
    row = Row.of('w', 0.5, {'a': 2.0}, 10_000_000, 40e9, Goal(max_ms=1, at_least={'a': 4}))
    assert row.as_json() == {
        'workload': 'w', 'ours_ms': 0.5, 'peers': {'a': 2.0}, 'ratio': {'a': 4.0}, 'bytes': 10_000_000,
        'bandwidth_share': 0.5, 'goal': '≤ 1 ms, ≥ 4× a, ahead of all', 'met': True,
    }  # fmt: skip


def test_everyone_gets_every_round_and_medians_are_taken():
    calls: dict[str, list[int]] = {'ours': [], 'peer': []}
    out = torch.zeros(2)

    def ours(number: int) -> tuple[torch.Tensor, ...]:
        calls['ours'].append(number)
        return (out.zero_(),)

    workload = runner.Workload(ours, {'peer': calls['peer'].append}, nbytes=100, out=(out,))
    times = {ours: 0.002, workload.peers['peer']: 0.004}

    def timer(call: runner.Call, number: int) -> float:
        call(number)
        return times[call]

    row, fastest = runner.run('w', workload, 1e9, runner.Effort(rounds=3, seconds=0, turn_ms=0.008), timer)
    assert (row.ours_ms, row.peers, row.ratio) == (0.002, {'peer': 0.004}, {'peer': 2.0})
    assert fastest == {'ours': 0.002, 'peer': 0.004}
    # Beside the timed calls: one that is checked (ours), four to find how many fit in a turn, one a turn to warm up.
    assert len(calls['ours']) == 1 + 4 + 3 * (1 + 4)
    assert len(calls['peer']) == 4 + 3 * (1 + 2)
    assert len(set(calls['peer'])) > 3


def test_a_slow_first_call_or_a_disturbed_one_does_not_shorten_the_turns():
    out = torch.zeros(2)
    calls: list[int] = []
    workload = runner.Workload(lambda number: (out.zero_(),), {'peer': calls.append}, nbytes=100, out=(out,))

    def timer(call: runner.Call, number: int) -> float:
        call(number)
        return {1: 100.0, 2: 50.0}.get(len(calls), 0.001)

    runner.run('w', workload, 1e9, runner.Effort(rounds=1, seconds=0, turn_ms=0.008), timer)
    assert len(calls) == 4 + (1 + 8)


def test_a_workload_that_writes_nothing_is_refused():
    out = torch.zeros(4)
    with pytest.raises(RuntimeError, match='of 4 results 4 were not written'):
        runner.run('w', runner.Workload(lambda number: (out,), {}, 1, out=(out,)), 1e9, runner.QUICK)


def test_the_table_replaces_its_own_block_alone():
    page = 'a\n<!-- cpu.json -->\nold\n<!-- end of cpu.json -->\nb <!-- gpu.json -->\n'
    new = table.replaced(page, 'cpu.json', 'new')
    assert new == 'a\n<!-- cpu.json -->\nnew\n<!-- end of cpu.json -->\nb <!-- gpu.json -->\n'
    assert table.replaced(new, 'cpu.json', 'new') == new
    with pytest.raises(ValueError, match='once each'):
        table.replaced(page, 'gpu.json', 'new')


@pytest.mark.parametrize('name', ['cpu.json', 'h200.json'])
def test_the_page_has_the_markers(name):
    table.replaced((ROOT / 'docs/performance.md').read_text(), name, '')


def test_the_boxes_of_the_clouds_in_full_are_allowed():
    """A quick run takes only the head of each cloud, whose box is smaller."""
    for cloud in [*inputs.recorded().values(), inputs.simulated(1_000_000)]:
        views = [inputs.turned(cloud, number) for number in range(4)]
        assert clouds.box_around(views, min(clouds.SIZES)).num_voxels <= MAX_VOXELS


def test_peers_of_images_run_on_our_threads_and_on_one():
    cv2 = pytest.importorskip('cv2')
    threads = {}
    for name, call in images.workloads(peers.Peers(), 2, quick=True)['bgr8 1080p to 640×384 fp16']().peers.items():
        call(0)
        threads[name] = torch.get_num_threads() if name.startswith('torch') else cv2.getNumThreads()
    names = 'torch', 'cv2 blobFromImage', 'cv2 resize'
    assert threads == {**dict.fromkeys(names, 2), **{f'{name}, 1 thread': 1 for name in names}}


def test_torch_resizes_bytes_to_what_ours_makes_of_them():
    pixels = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), np.uint8)
    data = torch.from_numpy(pixels.reshape(-1))
    ours = ops.prepare_image(
        data, encoding='bgr8', width=1920, height=1080, step=5760, out_width=images.WIDTH, out_height=images.HEIGHT,
        scale=1 / 255, mean=images.MEAN, std=images.STD, dtype=torch.float16,
    )  # fmt: skip
    steps = [
        (result.float() * torch.tensor(images.STD)[:, None, None] + torch.tensor(images.MEAN)[:, None, None]) * 255
        for result in (images._torch(pixels)[0], ours)
    ]
    # fp16 loses 2^-11 of a result of up to 2.7, which is 0.07 steps of a byte; our fractions lose 1/64.
    assert (steps[0] - steps[0].round()).abs().max() < 0.1
    assert (steps[0] - steps[1]).abs().max() < 0.5 + 0.1 + 0.1 + 1 / 64


def test_every_peer_is_pinned():
    for name in ('small_gicp', 'kiss-icp', 'scipy', 'open3d-cpu'):
        assert peers.pinned(name).startswith(f'{name}==')
