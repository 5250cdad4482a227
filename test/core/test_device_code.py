# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of every operation compiles for a GPU, so that it can stay one arithmetic."""

import shutil
import subprocess
from pathlib import Path

import pytest

CSRC = Path(__file__).resolve().parents[2] / 'robocache_core' / 'csrc'
OPERATIONS = ('voxelize.hpp', 'image.hpp', 'resample.hpp')


def test_the_headers_of_all_operations_are_device_code(tmp_path):
    nvcc = shutil.which('nvcc')
    if nvcc is None:
        pytest.skip('nvcc is not installed')
    source = tmp_path / 'all.cu'
    source.write_text(''.join(f'#include "{name}"\n' for name in OPERATIONS) + '__global__ void kernel() {}\n')
    command = [nvcc, '-std=c++17', '-fmad=false', '-I', CSRC, '-c', source, '-o', tmp_path / 'all.o']
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    warned = [line for line in done.stderr.splitlines() if '__host__ function' in line]
    assert not warned, 'device code calls what only the host has'
