# SPDX-License-Identifier: Apache-2.0
"""Run a program, or end with what it said."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str | Path, cwd: Path = ROOT, env: Mapping[str, str] = os.environ, **added: str) -> str:
    """Run ``command`` in ``env`` with what is ``added`` to it, and return what it prints.

    Raises:
        SystemExit: it fails, with what it printed.
    """
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**env, **added},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f'{" ".join(map(str, command))} ended with {done.returncode}:\n{done.stdout[-6000:]}')
    return done.stdout
