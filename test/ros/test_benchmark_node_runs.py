# SPDX-License-Identifier: Apache-2.0
"""The benchmark of a message's whole path: the usual way does the same work, and all of it runs."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmark.node import payloads, task, usual_work
from benchmark.node.approximate import ApproximateSets
from benchmark.node.processes import ProcessError, Processes
from benchmark.node.row import Row
from benchmark.node.run import SUBJECTS
from benchmark.node.topics import LIDAR_TOPIC
from robocache_core import ops
from robocache_core.ops import VoxelGrid
from robocache_ros.decode import decode_cloud
from robocache_ros.encode import to_stamp
from robocache_ros.parameters import from_file

ROOT = Path(__file__).parents[2]
MS = 1_000_000


# ---- the usual way ---------------------------------------------------------------------------------------------------


def message(stamp_ns: int) -> SimpleNamespace:
    return SimpleNamespace(header=SimpleNamespace(stamp=to_stamp(stamp_ns)))


@pytest.mark.parametrize(
    ('added', 'sets'),
    [
        ([('a', 100), ('b', 100)], [(100, 100)]),
        ([('a', 100), ('b', 104)], [(100, 104)]),
        ([('a', 100), ('b', 111)], []),
        ([('a', 97), ('a', 101), ('b', 100)], [(101, 100)]),  # the nearest
        ([('a', 100), ('b', 100), ('b', 101)], [(100, 100)]),  # each message once
        ([('a', 100), ('a', 200), ('a', 300), ('b', 100)], []),  # two are kept
    ],
)
def test_the_approximate_match_follows_the_rule_of_message_filters(added, sets):
    found = []
    matcher = ApproximateSets(
        ('a', 'b'), depth=2, slop_ns=10,
        on_set=lambda *messages: found.append(tuple(each.header.stamp.nanosec for each in messages)),
    )  # fmt: skip
    for topic, stamp_ns in added:
        matcher.add(topic, message(stamp_ns))
    assert found == sets


@pytest.fixture(scope='module')
def tiny() -> payloads.Messages:
    return payloads.make('tiny')


def test_the_usual_way_finds_the_voxels_of_the_node(tiny, tmp_path):
    cloud = tiny[LIDAR_TOPIC][0]
    cloud.header.stamp = to_stamp(MS)
    coords, features, counts = usual_work.voxels(cloud)
    task.write_params(tmp_path / 'params.yaml', 'cpu')
    config, _ = from_file(tmp_path / 'params.yaml')
    scan = decode_cloud(cloud, config.lidars[0])
    grid = VoxelGrid(task.LOWER, (task.SIZE,) * 3, usual_work.SHAPE)
    bounds = {'min_range': task.MIN_RANGE, 'max_range': task.MAX_RANGE}
    expected = ops.voxelize_sparse(scan.data, scan.layout, grid, task.CHANNELS, **bounds)
    assert torch.equal(coords, expected.coords)
    assert torch.equal(counts, expected.counts)
    torch.testing.assert_close(features, expected.features, atol=0.01, rtol=0)


def test_the_window_of_the_usual_way_is_interpolated():
    window = usual_work.ImuWindow()
    assert window.at(0) is None
    for k in range(40):
        vector = SimpleNamespace(x=float(k), y=0.0, z=0.0)
        window.add(k * 10 * MS, SimpleNamespace(angular_velocity=vector, linear_acceleration=vector))
    found = window.at(300 * MS)
    assert found.shape == (task.WINDOW_SIZE, 6)
    np.testing.assert_allclose(found[:, 0], np.linspace(20.5, 30, 20))


# ---- the processes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('module', 'timeout_s', 'named'),
    [('no_such_module', 30.0, 'child ended with exit code 1'), ('json.tool', 0.2, "child has not said 'ready'")],
)
def test_a_process_that_dies_or_says_nothing_is_named(tmp_path, module, timeout_s, named):
    with Processes(tmp_path, os.environ) as processes:
        child = processes.start('child', module)
        with pytest.raises(ProcessError, match=named):
            processes.wait(child, 'ready', timeout_s)


def test_a_process_that_dies_is_named_while_another_one_is_waited_for(tmp_path):
    with Processes(tmp_path, os.environ) as processes:
        mute = processes.start('mute', 'json.tool')
        processes.start('child', 'no_such_module')
        with pytest.raises(ProcessError, match=r'child ended with exit code 1.*\n.*no_such_module'):
            processes.wait(mute, 'ready', 30.0)


# ---- all of it -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def quick(tmp_path_factory) -> dict:
    """What short runs with tiny payloads leave, two at a time; how late and how busy it was does not matter."""
    folder = tmp_path_factory.mktemp('bench')
    options = ['--quick', '--seconds', '0.5', '--payloads', 'tiny', '--late', '1e6', '--busy', '1']
    halves = {folder / 'first.json': SUBJECTS[:2], folder / 'second.json': SUBJECTS[2:]}
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
    running = [
        subprocess.Popen(
            [sys.executable, '-m', 'benchmark.node', *options, '--subjects', ','.join(half), '--out', str(out)],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )
        for out, half in halves.items()
    ]  # fmt: skip
    printed, errors = zip(*[process.communicate() for process in running], strict=True)
    assert [process.returncode for process in running] == [0, 0], errors
    first, second = (json.loads(out.read_text()) for out in halves)
    return first | {'rows': first['rows'] + second['rows'], 'printed': ''.join(printed)}


def test_a_quick_run_completes_frames_of_every_subject(quick):
    assert [row['workload'] for row in quick['rows']] == [f'{subject} 10 Hz' for subject in SUBJECTS]
    for row in quick['rows']:
        assert row.keys() == {field.name for field in dataclasses.fields(Row)}
        assert 0 < row['complete'] <= row['sent']
        for quantity in ('p50_ms', 'p99_ms', 'p999_ms', 'cpu_ms', 'rss_mib', 'late_p99_ms', 'busy'):
            assert row[quantity].keys() == {'median', 'min', 'max'}, quantity
        assert row['runs'] == 1
        assert row['refused'] == []
        assert row['workload'] in quick['printed']


def test_a_quick_run_says_how_where_and_against_what(quick):
    of = {row['subject']: row for row in quick['rows']}
    for subject in ('bare', 'usual', 'relay'):
        assert {'publisher', 'dds', 'executor', 'work'} <= of[subject]['parts_ms'].keys()
        assert (of[subject]['goal'], of[subject]['met']) == ('', None)
    assert {'out dds', 'out executor'} <= of['relay']['parts_ms'].keys()
    for subject in ('node', 'in_process'):
        assert {'decode', 'align', 'compute', 'publish'} <= of[subject]['stages_ms'].keys()
    assert 'match' in of['usual']['how'] or 'message_filters' in of['usual']['how']
    assert {'goal', 'value', 'met'} == of['node']['verdicts'][0].keys()
    header = quick['header']
    assert {'machine', 'cpu', 'commit', 'input_sha256', 'payloads', 'limits', 'fused_bytes'} <= header.keys()
    assert len(header['input_sha256']) == 64
