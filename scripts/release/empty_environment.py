# SPDX-License-Identifier: Apache-2.0
"""An environment with a wheel and what that needs to run, and nothing else: what a user has after ``pip install``."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from release.command import ROOT, run
from release.dist import WORK

REQUIREMENTS = [ROOT / 'requirements' / f'{name}.txt' for name in ('runtime', 'jazzy', 'torch')]

#: Frames of a bag offline, by the configuration that `replay` made for it.
OFFLINE = """
import sys
from pathlib import Path
import robocache_core
from robocache_core import backends
from robocache_ros import parameters
from robocache_ros.offline import fused_frames
assert Path(robocache_core.__file__).is_relative_to(sys.prefix), robocache_core.__file__
assert backends.active().name == 'cpu', backends.active().reason
config, _ = parameters.from_file(sys.argv[2])
frames = list(fused_frames(Path(sys.argv[1]), config))
assert frames and frames[0].tensors
print(f'{len(frames)} frames, each with {", ".join(sorted(frames[0].tensors))}')
"""


@dataclass(frozen=True)
class EmptyEnvironment:
    """A virtual environment of its own; ``run`` leaves out all that the caller's environment has set."""

    prefix: Path = WORK / 'venv'

    def make(self) -> None:
        """Set it up, where the one that is there was made for other requirements; that takes the network."""
        stamp, state = self.prefix / 'requirements.txt', ''.join(path.read_text() for path in REQUIREMENTS)
        if stamp.exists() and stamp.read_text() == state:
            return
        run(sys.executable, '-m', 'venv', '--clear', self.prefix)
        options = [option for path in REQUIREMENTS for option in ('-r', str(path))]
        self.run('python', '-m', 'pip', 'install', '-qq', *options)
        stamp.write_text(state)

    def install(self, wheel: Path) -> None:
        """Install ``wheel``, which has all that it needs there."""
        self.run('python', '-m', 'pip', 'install', '-qq', '--no-index', '--no-deps', '--force-reinstall', wheel)
        self.run('python', '-m', 'pip', 'check')

    def demo(self, folder: Path) -> str:
        """Do `make demo` with what is installed, and compute the bag's frames offline; return what that says."""
        bag, report = folder / 'bag', folder / 'report'
        self.run('simulate', bag, '--seconds', '4', '--depth', 'raw', cwd=folder)
        self.run('replay', bag, '--out', report, cwd=folder)
        if not (report / 'report.html').is_file():
            raise SystemExit(f'replay left no report.html in {report}')
        return self.run('python', '-c', OFFLINE, bag, report / 'preprocess.yaml', cwd=folder).strip()

    def run(self, program: str, *arguments: str | Path, cwd: Path = WORK) -> str:
        """Run a program of the environment; return what it prints."""
        passed = {name: value for name, value in os.environ.items() if name.startswith(('PIP_', 'HOME', 'TMPDIR'))}
        environ = {
            **passed,
            'PATH': f'{self.prefix}/bin:/usr/bin:/bin',
            'AMENT_PREFIX_PATH': str(self.prefix),
            'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
            'ROS_DOMAIN_ID': os.environ.get('ROS_DOMAIN_ID', '77'),
        }
        return run(self.prefix / 'bin' / program, *arguments, cwd=cwd, env=environ)
