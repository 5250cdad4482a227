# SPDX-License-Identifier: Apache-2.0
"""Threads: results do not depend on how many there are, who calls, or whether the process has forked."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.clouds import packed

from robocache_core import backends, ops
from robocache_core.ops import PoseTable, VoxelGrid

GRID = VoxelGrid((-10.0, -10.0, -10.0), (0.2,) * 3, (100,) * 3)
CHANNELS = ('count', 'density', 'mean:x', 'mean:y', 'mean:z', 'mean:i', 'max:i', 'min:z')


@pytest.fixture(autouse=True)
def threads():
    """The compiled backend, with its number of threads put back after the test."""
    try:
        chosen = backends.use('cpu')
        with chosen:
            before = ops.num_threads()
            yield
            ops.set_num_threads(before)
    except RuntimeError as error:
        pytest.skip(str(error))


def cloud(num: int = 50_000) -> tuple[torch.Tensor, Any]:
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.normal(0, 5, (num, 3)), rng.uniform(-99, 99, num), rng.uniform(0, 100, num)])
    points[rng.random(num) < 0.01] = math.nan
    return packed(points, ('x', 'y', 'z', 'i', 't'))


def poses() -> PoseTable:
    table = torch.eye(4)[:3].repeat(64, 1, 1)
    table[:, 0, 3] = torch.linspace(-1, 1, 64)
    return PoseTable('t', table, 0.0, 0.63)


DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def every_other(tensor: torch.Tensor) -> torch.Tensor:
    """``tensor`` with a gap after each of its elements."""
    return tensor.repeat_interleave(2, -1)[..., ::2]


def resampled(method: str, width: int, strided: bool = False) -> tuple[torch.Tensor, ...]:
    """A stream of each type as each type; more targets than one thread takes, some of them without a sample."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(3, 400, width, generator=generator) * torch.logspace(-6, 5, width)
    values[0, 7] = math.inf
    stamps = torch.randint(0, 50_000, (3, 400), generator=generator).sort().values
    targets = torch.randint(-100, 50_100, (3, 2500), generator=generator)
    results: list[torch.Tensor] = []
    for source in DTYPES:
        stream = [values.to(source), stamps]
        if strided:
            stream = [every_other(tensor) for tensor in stream]
        for dtype in DTYPES:
            results += ops.resample(*stream, targets, method=method, tolerance_ns=300, dtype=dtype)
    return tuple(results)


def tensors(result: Any) -> list[torch.Tensor]:
    values = result if isinstance(result, tuple) else vars(result).values()
    return [value.clone() for value in values if isinstance(value, torch.Tensor)]


OPERATIONS: dict[str, Callable[[], Any]] = {
    'sparse': lambda: ops.voxelize_sparse(*cloud(), GRID, CHANNELS),
    'sparse, means of x y z': lambda: ops.voxelize_sparse(*cloud(), GRID, CHANNELS[2:5]),
    'sparse, deskewed': lambda: ops.voxelize_sparse(*cloud(), GRID, CHANNELS, deskew=poses()),
    'sparse, full': lambda: ops.voxelize_sparse(*cloud(), GRID, CHANNELS, max_voxels=777),
    'dense': lambda: ops.voxelize_dense(*cloud(), GRID, CHANNELS),
    'hard': lambda: ops.voxelize_hard(*cloud(), GRID, ['x', 'y', 'z', 'i'], max_points=3),
    'points': lambda: ops.deskew_points(*cloud(), ['i'], deskew=poses()),
    'linear': lambda: resampled('linear', 33),
    'linear, strided': lambda: resampled('linear', 33, strided=True),
    'nearest': lambda: resampled('nearest', 33),
    'slerp': lambda: resampled('slerp', 4),
    'slerp, strided': lambda: resampled('slerp', 4, strided=True),
}


@pytest.mark.parametrize('name', OPERATIONS)
def test_results_do_not_depend_on_the_number_of_threads(name):
    results, drops = [], []
    for num_threads in (1, 2, 3, 8):
        ops.set_num_threads(num_threads)
        for _ in range(3):  # chunks go to other threads each time
            result = OPERATIONS[name]()
            results.append([t.view(torch.uint8) for t in tensors(result)])
            drops.append(getattr(result, 'dropped', {}))
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))
    assert all(drop == drops[0] for drop in drops)


def digest() -> str:
    """Of the bits of what every operation gives."""
    total = hashlib.sha256()
    for call in OPERATIONS.values():
        for tensor in tensors(call()):
            total.update(tensor.view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def test_results_do_not_depend_on_the_vector_instructions():
    """On a CPU that has fewer than there is code for, those are left out."""
    here = Path(__file__).parent
    folders = os.pathsep.join((str(here), str(here.parent), os.environ.get('PYTHONPATH', '')))
    running = {}
    for level in ('default', 'avx2'):
        environment = {**os.environ, 'PYTHONPATH': folders, 'ROBOCACHE_BACKEND': 'cpu', 'ROBOCACHE_SIMD': level}
        command = [sys.executable, '-c', 'from test_pool import digest; print(digest())']
        running[level] = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    expected = digest()
    for level, process in running.items():
        output, errors = process.communicate(timeout=120)
        if 'this CPU has' in errors and level != 'default':
            continue
        assert process.returncode == 0, errors
        assert output.strip() == expected, level


def test_callers_at_the_same_time_get_their_own_results():
    ops.set_num_threads(3)
    expected = {name: tensors(call()) for name, call in OPERATIONS.items()}
    failures: list[str] = []

    def call_all(shift: int) -> None:
        names = list(OPERATIONS)
        for name in names[shift:] + names[:shift]:
            with backends.use('cpu'):
                got = tensors(OPERATIONS[name]())
            same = (torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(got, expected[name], strict=True))
            if not all(same):
                failures.append(name)

    callers = [threading.Thread(target=call_all, args=(i,)) for i in range(4)]
    for caller in callers:
        caller.start()
    ops.set_num_threads(8)
    for caller in callers:
        caller.join()
    assert failures == []


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
@pytest.mark.filterwarnings('ignore:.*multi-threaded:DeprecationWarning')
def test_a_forked_child_has_its_own_pool():
    ops.set_num_threads(3)
    data, layout = cloud()
    expected = ops.voxelize_sparse(data, layout, GRID, CHANNELS)
    child = os.fork()
    if child == 0:  # no assertion in here, pytest is the parent's; and nothing that would use torch's own threads
        features = ops.voxelize_sparse(data, layout, GRID, CHANNELS).features
        same = features.numpy().tobytes() == expected.features.numpy().tobytes()
        os._exit(0 if same and ops.num_threads() == 3 else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert torch.equal(ops.voxelize_sparse(data, layout, GRID, CHANNELS).features, expected.features)


def test_the_number_of_threads():
    ops.set_num_threads(5)
    assert ops.num_threads() == 5
    ops.set_num_threads(0)
    assert 1 <= ops.num_threads() <= (os.cpu_count() or 1)
    for wrong in (-1, 1025):
        with pytest.raises(ValueError, match='num_threads'):
            ops.set_num_threads(wrong)
    with backends.use('reference'):
        ops.set_num_threads(4)
        assert ops.num_threads() == 1
