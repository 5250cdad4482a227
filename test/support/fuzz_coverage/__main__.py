# SPDX-License-Identifier: Apache-2.0
"""Fuzzes every target for a share of the time; ``scripts/fuzz_coverage.sh`` builds what it needs and starts it.

Inputs are gathered in ``build/fuzz/corpus``, from where the next run goes on. One that fails, takes more than 30 s or 3
GiB, or is reported by a sanitizer ends its target, and is kept in ``build/fuzz/findings`` with what was said of it.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from support.fuzz_coverage import corpus

BUILD = Path('build/fuzz')
#: Of libFuzzer, for each input: seconds, and MiB of the whole process with the sanitizer's own.
LIMITS = ('-timeout=30', '-rss_limit_mb=3072', '-malloc_limit_mb=512')
_ONE = (sys.executable, '-m', 'support.fuzz_coverage.one')


class Outcome(NamedTuple):
    """What a run of a target came to."""

    executions: int
    edges: int
    inputs: int
    finding: str = ''


def main() -> int:
    arguments = _parsed()
    outcomes = {}
    for name in arguments.targets:
        outcome = outcomes[name] = fuzz(name, arguments.seconds / len(arguments.targets))
        said = f'{outcome.executions:9,d} executions, {outcome.edges:6,d} edges, {outcome.inputs:5,d} inputs'
        print(f'{name:12} {said}  {outcome.finding or "nothing found"}', flush=True)
        if arguments.keep and not outcome.finding:
            print(f'{"":12} {corpus.keep(name, merged(name))} inputs kept')
    (BUILD / 'coverage.json').write_text(
        json.dumps({name: each._asdict() for name, each in outcomes.items()}, indent=1)
    )
    return int(any(each.finding for each in outcomes.values()))


def fuzz(name: str, seconds: float) -> Outcome:
    """Fuzz a target, from its seeds, what is kept, and what earlier runs gathered."""
    folder, findings, log = _gathered(name), BUILD / 'findings', BUILD / f'{name}.log'
    findings.mkdir(exist_ok=True)
    prefix = f'-artifact_prefix={findings}/{name}-'
    with log.open('wb') as file:
        command = (*_ONE, name, folder, f'-max_total_time={max(1, round(seconds))}', prefix, *LIMITS)
        status = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT).returncode
    text = log.read_text(errors='replace')
    executions = [int(count) for count in re.findall(r'^(?:#|Done )(\d+)', text, re.MULTILINE)]
    edges = [int(count) for count in re.findall(r'cov: (\d+)', text)]
    finding = f'exit status {status}: {log}, {findings}/{name}-*' if status else ''
    return Outcome(max(executions, default=0), max(edges, default=0), len(list(folder.iterdir())), finding)


def merged(name: str) -> list[bytes]:
    """As few of the inputs that were gathered as reach what all of them reach."""
    with tempfile.TemporaryDirectory() as folder:
        command = (*_ONE, name, folder, _gathered(name), '-merge=1', *LIMITS)
        subprocess.run(command, check=True, capture_output=True)
        return [path.read_bytes() for path in Path(folder).iterdir()]


def _gathered(name: str) -> Path:
    return BUILD / 'corpus' / name


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='make fuzz-coverage', description='Coverage-guided fuzzing of all targets.')
    parser.add_argument('--seconds', type=float, default=600.0, help='of all targets together (600)')
    parser.add_argument('--targets', nargs='+', default=corpus.names(), metavar='TARGET', help='all by default')
    parser.add_argument('--keep', action='store_true', help='write the corpus in test/corpus from what was gathered')
    return parser.parse_args()


if __name__ == '__main__':
    sys.exit(main())
