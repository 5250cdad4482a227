# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of every operation compiles for a GPU, so that it can stay one arithmetic."""

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

CSRC = Path(__file__).resolve().parents[2] / 'robocache_core' / 'csrc'
KERNELS = Path(__file__).with_name('device_code.cu')
HEADERS = ('scalar.hpp', 'voxelize.hpp', 'image.hpp', 'resample.hpp')


def test_what_the_kernels_call_compiles_for_a_gpu(tmp_path):
    nvcc = shutil.which('nvcc')
    if nvcc is None:
        pytest.skip('nvcc is not installed')
    command = [nvcc, '-std=c++17', '-fmad=false', '-I', CSRC, '-c', KERNELS, '-o', tmp_path / 'kernels.o']
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    warned = [line for line in done.stderr.splitlines() if '__host__ function' in line]
    assert not warned, 'device code calls what only the host has'


def test_the_kernels_call_every_function_of_the_device():
    """Themselves, or by one that does: else a template is not compiled at all."""
    headers, kernels = (
        re.sub('//.*|#.*', '', ''.join(file.read_text() for file in files))
        for files in ([CSRC / name for name in HEADERS], [KERNELS])
    )
    defined = Counter(re.findall(r'RC_HD[^;{()]*?(\w+)(?:<\w+>)?\(', headers))
    assert defined.keys() > {'place_in', 'pose_at', 'sample', 'slerp', 'from_float', 'at', 'weight'}
    used = Counter(re.findall(r'\w+', headers))
    assert [name for name in defined if used[name] == defined[name] and not re.search(rf'\b{name}\b', kernels)] == []
