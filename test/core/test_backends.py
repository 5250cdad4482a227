# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from robocache_core import backends, ops
from robocache_core.ops import VoxelGrid
from robocache_core.samples import CloudLayout

REPO = Path(__file__).parents[2]
SHOW = 'from robocache_core import backends; b = backends.active(); print(b.name); print(b.reason)'
HAS_COMPILED = importlib.util.find_spec('_robocache_core') is not None


def compiled_core():
    return importlib.import_module('_robocache_core')


def show(code: str = SHOW, prelude: str = '', **environment: str) -> subprocess.CompletedProcess[str]:
    # The fresh process finds exactly what this one finds.
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join(p for p in sys.path if p)}
    env.pop('ROBOCACHE_BACKEND', None)
    return subprocess.run(
        [sys.executable, '-c', prelude + code], env={**env, **environment}, text=True, capture_output=True, cwd=REPO
    )


def test_the_backend_asked_for_runs():
    """The compiled module where it is built or demanded; where neither is, the reference and why."""
    demanded = os.environ.get('ROBOCACHE_BACKEND', '')
    active = backends.active()
    assert active.name == (demanded or ('cpu' if HAS_COMPILED else 'reference'))
    assert active.reason
    assert active.version
    assert active.compiler_flags
    names = {'cpu': 'robocache_core.backends.compiled', 'reference': 'robocache_core.backends.reference'}
    assert active.module.__name__ == names[active.name]


def test_the_compiled_module_lets_loops_become_vectors():
    """Python's own flags have -fwrapv, which leaves every loop scalar whose index might wrap; the last flag counts."""
    if HAS_COMPILED:
        assert '-fno-wrapv' in compiled_core().compiler_flags.split()


def test_operations_run_on_the_active_backend(each_backend, monkeypatch):
    called = []
    original = each_backend.module.fuse
    monkeypatch.setattr(each_backend.module, 'fuse', lambda *args: called.append(each_backend.name) or original(*args))
    stamps = torch.tensor([[0, 1]])
    ops.resample(torch.zeros(1, 2, 1), stamps, stamps, method='linear', tolerance_ns=0)
    assert called == [each_backend.name]


def test_use_is_undone_and_stays_in_its_thread():
    default = backends.active()
    seen = []
    with backends.use('reference') as chosen:
        assert backends.active() is chosen
        thread = threading.Thread(target=lambda: seen.append(backends.active().name))
        thread.start()
        thread.join()
    assert seen == [default.name]
    assert backends.active() is default


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match='cpu, reference'), backends.use('tpu'):
        pass
    result = show(ROBOCACHE_BACKEND='tpu')
    assert result.returncode != 0
    assert 'ROBOCACHE_BACKEND=tpu: must be one of cpu, reference' in result.stderr


def test_the_environment_can_demand_the_reference():
    result = show(ROBOCACHE_BACKEND='reference')
    assert result.stdout.splitlines() == ['reference', 'ROBOCACHE_BACKEND=reference'], result.stderr


ABSENT = "import sys; sys.modules['_robocache_core'] = None\n"
OTHER_BUILD = """
import sys, types
sys.modules['_robocache_core'] = module = types.ModuleType('_robocache_core')
module.__file__, module.interface, module.compiler_flags = 'old.so', 0, ''
"""


@pytest.mark.parametrize(('prelude', 'why'), [(ABSENT, '_robocache_core'), (OTHER_BUILD, 'old.so has interface 0')])
def test_without_the_compiled_module_the_reference_runs_and_says_why(prelude, why):
    result = show(prelude=prelude)
    name, reason = result.stdout.splitlines()
    assert name == 'reference'
    assert reason.startswith('the compiled module cannot be loaded: ')
    assert why in reason


def test_demanding_the_absent_compiled_module_raises():
    result = show(prelude=ABSENT, ROBOCACHE_BACKEND='cpu')
    assert result.returncode != 0
    assert 'RuntimeError: ROBOCACHE_BACKEND=cpu, but the compiled module cannot be loaded' in result.stderr


IMAGE = torch.zeros(1000 * 1000 * 3, dtype=torch.uint8)
CLOUD, LAYOUT = torch.zeros(100_000 * 12, dtype=torch.uint8), CloudLayout.packed(('x', 'y', 'z'), 100_000)
GRID = VoxelGrid((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0), (2, 2, 2))
STAMPS = torch.arange(100_000).unsqueeze(0)


@pytest.mark.parametrize(
    'operation',
    [
        lambda: ops.voxelize_dense(CLOUD, LAYOUT, GRID, ['mean:x']),
        lambda: ops.voxelize_sparse(CLOUD, LAYOUT, GRID, ['mean:x']),
        lambda: ops.prepare_image(
            IMAGE, encoding='bgr8', width=1000, height=1000, step=3000, out_width=999, out_height=999
        ),
        lambda: ops.resample(STAMPS.unsqueeze(2).float(), STAMPS, STAMPS, method='linear', tolerance_ns=1),
    ],
    ids=['voxelize_dense', 'voxelize_sparse', 'prepare_image', 'fuse'],
)
def test_the_compiled_module_releases_the_interpreter(assert_parity, operation, monkeypatch):
    """Another thread that waits for the interpreter gets it while the compiled function runs."""
    began, seen, saw = threading.Event(), threading.Event(), []

    def recording(function):
        def call(*args, **kwargs):
            began.set()
            before = seen.is_set()
            result = function(*args, **kwargs)
            saw.append(not before and seen.is_set())
            return result

        return call

    core = compiled_core()
    for name in ('voxelize_dense', 'voxelize_sparse', 'prepare_image', 'fuse'):
        monkeypatch.setattr(core, name, recording(getattr(core, name)))
    interval = sys.getswitchinterval()
    sys.setswitchinterval(60)  # without release the other thread would wait this long
    try:
        with backends.use('cpu'):
            for _ in range(3000):  # on a busy machine the other thread may not get a core while one runs
                thread = threading.Thread(target=lambda: (began.wait(), seen.set()))
                thread.start()
                operation()
                thread.join()
                if saw[-1]:
                    break
                began.clear()
                seen.clear()
    finally:
        sys.setswitchinterval(interval)
    assert saw[-1]
