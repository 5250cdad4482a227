# SPDX-License-Identifier: Apache-2.0
"""Recorded sensor payloads, which do not come with the package: ``ROBOCACHE_DATA`` names the folder that holds them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def folder() -> Path:
    """The folder; the test is skipped where ``ROBOCACHE_DATA`` is not set, and fails where it names none."""
    named = os.environ.get('ROBOCACHE_DATA')
    if not named:
        pytest.skip('ROBOCACHE_DATA is not set: it names the folder of recorded sensor payloads')
    path = Path(named)
    assert path.is_dir(), f'ROBOCACHE_DATA={named} is no folder'
    return path


def payload(name: str) -> Path:
    """One of its files."""
    path = folder() / name
    assert path.is_file(), f'{path} is not there'
    return path


def bag(path: Path, *options: str) -> Path:
    """A bag of all payloads, written to ``path`` by the tool beside them."""
    tool = folder().parent / 'tools' / 'make_bag.py'
    subprocess.run([sys.executable, tool, path, *options], check=True)
    return path
