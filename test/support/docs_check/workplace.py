# SPDX-License-Identifier: Apache-2.0
"""A copy of the repository in which commands of the pages run."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from support.docs_check.pages import ROOT
from support.docs_check.table import Beside, Run

from robocache_ros.dds_environment import environment_here

#: Most that a command may take, s, and a process to say that it is ready, and to end.
LONGEST_S, READY_S, END_S = 300.0, 60.0, 30.0


class Failed(Exception):
    """A command did not do what it must."""


class Workplace:
    """The copy, its environment, and the output of what runs in it.

    ``bin`` in it has the tools under their paths: one is called as a word that the shell keeps for itself.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = subprocess.run(
            ['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        built = [path.name for path in ROOT.glob('_robocache_core*.so')]
        for name in [*filter(None, listed.split('\0')), *built]:
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        (folder / 'bin').mkdir()
        (folder / 'build' / 'docs').mkdir(parents=True)
        if (sphinx := ROOT / 'build' / 'docs' / 'site').is_dir():  # so that it is not fetched again
            shutil.copytree(sphinx, folder / 'build' / 'docs' / 'site')
        for tool, module in re.findall(r"'(\w+) = (robocache_ros\.[\w.]+):main'", (ROOT / 'setup.py').read_text()):
            script = folder / 'bin' / tool
            script.write_text(f'#!{sys.executable}\nimport sys\nfrom {module} import main\nsys.exit(main())\n')
            script.chmod(0o755)
        self._environment = {
            **os.environ,
            **environment_here(os.environ),
            'PATH': f'{folder / "bin"}:{Path(sys.executable).parent}:{os.environ["PATH"]}',
            'PYTHONPATH': f'{folder}:{folder / "test"}:{os.environ.get("PYTHONPATH", "")}',
            'PYTHONUNBUFFERED': '1',
            'ROS_LOG_DIR': str(folder / 'log'),
            'MAKEFLAGS': 'RUN=env',  # the environment is there already
        }

    def run(self, command: str, run: Run, log: Path) -> None:
        """Run a command as its row of the table says, with its output in ``log``.

        Raises:
            Failed: it did not end well.
        """
        # Which is what `ros2 run` would start.
        command = (run.instead or command).replace('ros2 run robocache_ros ', 'bin/')
        with contextlib.ExitStack() as beside:
            for number, other in enumerate(run.beside):
                beside.enter_context(self._beside(other, log.with_suffix(f'.beside_{number}')))
            with log.open('wb') as output, self._started(command, output) as process:
                if run.until:
                    _await(run.until, log, process, LONGEST_S)
                elif process.wait(LONGEST_S) != 0:
                    raise Failed(f'exit status {process.returncode}')

    @contextlib.contextmanager
    def _beside(self, beside: Beside, log: Path) -> Iterator[None]:
        with log.open('wb') as output, self._started(beside.command, output) as process:
            _await(beside.ready, log, process, READY_S)
            yield

    @contextlib.contextmanager
    def _started(self, command: str, output: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
        """Run a command line with its children; they are interrupted at the end, if they run still."""
        process = subprocess.Popen(
            ['bash', '-c', command],
            cwd=self.folder,
            env=self._environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        except subprocess.TimeoutExpired as error:
            raise Failed(f'still runs after {error.timeout:g} s') from error
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGINT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_S)


def _await(text: str, log: Path, process: subprocess.Popen[bytes], limit_s: float) -> None:
    end = time.monotonic() + limit_s
    while text.encode() not in log.read_bytes():
        if process.poll() is not None:
            raise Failed(f'ended with exit status {process.returncode} before its output had {text!r}')
        if time.monotonic() > end:
            raise Failed(f'its output had no {text!r} within {limit_s:g} s')
        time.sleep(0.05)
