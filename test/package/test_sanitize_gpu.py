# SPDX-License-Identifier: Apache-2.0
"""scripts/sanitize_gpu.sh with a stand-in for compute-sanitizer, that runs on any machine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Leaves out the options of the tool, and has pytest want no GPU.
STAND_IN = """#!/bin/sh
while [ "${1##*/}" != pytest ]; do shift; done
env -u ROBOCACHE_REQUIRE_GPU "$@" $EXTRA || exit 1
echo "========= ERROR SUMMARY: 0 errors"
"""


def sanitize(tmp_path: Path, tool: str, extra: str) -> subprocess.CompletedProcess[str]:
    stand_in = tmp_path / 'compute-sanitizer'
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)
    paths = {'ROBOCACHE_MODULE': str(tmp_path), 'ROBOCACHE_SANITIZER_LOGS': str(tmp_path)}
    env = {**os.environ, **paths, 'COMPUTE_SANITIZER': str(stand_in), 'EXTRA': extra}
    return subprocess.run(
        [ROOT / 'scripts/sanitize_gpu.sh', tool], env=env, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize('tool', ['memcheck', 'racecheck', 'initcheck', 'synccheck'])
def test_each_tool_starts_the_tests_of_the_kernels(tmp_path: Path, tool: str) -> None:
    """They are collected, and that none has run is what is wrong then."""
    done = sanitize(tmp_path, tool, '--collect-only')
    assert 'test_sanitized_gpu.py' in done.stdout
    assert done.returncode == 1
    assert f'{tool}: no test ran' in done.stderr


def test_a_pytest_that_fails_is_no_clean_run(tmp_path: Path) -> None:
    done = sanitize(tmp_path, 'memcheck', '--no-such-option')
    assert done.returncode == 1
    assert 'memcheck found something, or a test failed' in done.stderr
