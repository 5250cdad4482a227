# SPDX-License-Identifier: Apache-2.0
"""Long runs and overload, each in a process of its own; fails where something was left over or out of bounds.

python -m benchmark.endurance [--hours 24] [--cycles 1000] [--minutes 15] [--load 60] [--only NAME,…] [--out FILE]

    sensor_time  hours of sensor time through the pipeline, as fast as they go
    cycles       configure, activate, frames, deactivate, clean up
    live         minutes over DDS, in real time
    load         ten times the rate, slow consumer, killed consumer, slow compute; seconds of each
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmark import machine
from robocache_core import ops

RUNS = ('sensor_time', 'cycles', 'live', 'load')
#: By run, what is added to its environment. Each activation has threads of its own, and malloc keeps what threads have
#: freed in as many arenas as there may be at once: with one arena what grows is what is held.
_ENVIRONMENT = {'cycles': {'MALLOC_ARENA_MAX': '1'}}


def main(args: list[str] | None = None) -> int:
    """Run; returns 1 where a run found something, or failed."""
    options = _parser().parse_args(args)
    amounts = dict(zip(RUNS, (options.hours, options.cycles, options.minutes, options.load), strict=True))
    results: dict[str, Any] = {}
    for name in options.only:
        print(f'{name} {amounts[name]:g} …', flush=True)
        others, begin = machine.Others(own_s=_children_s), time.monotonic()
        results[name] = _run(name, amounts[name])
        results[name] |= {'wall_s': round(time.monotonic() - begin), 'others': round(others.share(), 2)}
        print(json.dumps(results[name], indent=1), flush=True)
    header = machine.header(ops.num_threads(), machine.copy_bandwidth(ops.num_threads()), {}, quick=False)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(header | {'runs': results}, indent=1) + '\n')
    faults = [f'{name}: {fault}' for name, result in results.items() for fault in _faults(result)]
    print('\n'.join(faults) or 'nothing was left over, and all bounds were kept')
    print(f'written to {options.out}')
    return 1 if faults else 0


def _run(name: str, amount: float) -> dict[str, Any]:
    command = [sys.executable, '-m', f'benchmark.endurance.{name}', f'{amount:g}']
    environment = {**os.environ, **_ENVIRONMENT.get(name, {})}
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment)
    if process.returncode:
        return {'failed': f'exit status {process.returncode}: see above'}
    result: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return result


def _faults(result: dict[str, Any]) -> list[str]:
    failed = [result['failed']] if 'failed' in result else []
    return failed + result.get('leaks', []) + result.get('beyond', [])


def _children_s() -> float:
    """CPU time of this process and of those that it has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m benchmark.endurance', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--hours', type=float, default=24.0, help='of sensor time (default 24)')
    parser.add_argument('--cycles', type=int, default=1000, help='default 1000')
    parser.add_argument('--minutes', type=float, default=15.0, help='live (default 15)')
    parser.add_argument('--load', type=int, default=60, help='seconds of each load (default 60)')
    parser.add_argument('--only', type=_names, default=RUNS, metavar='NAME,…', help=f'of {", ".join(RUNS)}')
    parser.add_argument('--out', type=Path, default=Path('build/soak.json'), metavar='FILE')
    return parser


def _names(text: str) -> tuple[str, ...]:
    unknown = sorted(set(text.split(',')) - set(RUNS))
    if unknown:
        raise argparse.ArgumentTypeError(f'{", ".join(unknown)}: must be of {", ".join(RUNS)}')
    return tuple(name for name in RUNS if name in text.split(','))


if __name__ == '__main__':
    sys.exit(main())
