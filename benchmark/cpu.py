# SPDX-License-Identifier: Apache-2.0
"""The operations on the CPU beside the libraries that people use: prints and writes a row for each workload.

python -m benchmark.cpu [--quick] [--only TEXT] [--threads 2] [--out build/bench/cpu.json]
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path


def main(args: list[str] | None = None) -> None:
    """Measure all workloads."""
    options = _parser().parse_args(args)
    # Read by the libraries when they are loaded, so before any is.
    os.environ['OMP_NUM_THREADS'] = str(options.threads)

    from benchmark import document, machine, runner
    from benchmark.peers import Peers
    from robocache_core import backends, ops

    if backends.active().name != 'cpu':
        sys.exit(f'benchmark: the compiled module is needed; {backends.active().reason}')
    peers = Peers()
    ops.set_num_threads(options.threads)
    bandwidth = machine.copy_bandwidth(options.threads, (16 if options.quick else 256) << 20)
    header = machine.header(options.threads, bandwidth, peers.versions, options.quick)
    for key, value in header.items():
        print(f'{key:<15}{value}')
    for name, how in peers.missing.items():
        print(f'missing        {name}: {how}')
    print(flush=True)

    rows, fastest_ms, others = [], {}, machine.Others()
    effort = runner.QUICK if options.quick else runner.Effort(seconds=options.seconds)
    for name, make in _workloads(peers, options.threads, options.quick).items():
        if options.only in name:
            row, fastest_ms[name] = runner.run(name, make(), bandwidth, effort)
            rows.append(row)
            print(row, flush=True)
    header['others_cpu'] = round(others.share(), 3)
    document.write(options.out, header, rows, peers.missing, fastest_ms=fastest_ms)

    missed = [row.workload for row in rows if row.met is False]
    print(f'\n{len(rows)} workloads, {len(missed)} missed their goal' + ''.join(f'\n  {name}' for name in missed))
    if others.share() > machine.Others.DISTURBED:
        print(f'DISTURBED: other processes took {others.share():.0%} of the CPUs; run it again where nothing else runs')
    print(f'written to {options.out}')


def _workloads(peers, threads: int, quick: bool) -> dict[str, Callable]:
    from benchmark import bags, clouds, depths, grids, images, jpegs, scans, streams

    made: dict[str, Callable] = {}
    for module in (clouds, scans, images, jpegs, depths, streams, grids, bags):
        made.update(module.workloads(peers, threads, quick))
    return made


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='python -m benchmark.cpu', description=__doc__.partition('\n')[0])
    parser.add_argument('--quick', action='store_true', help='small inputs, few calls: to see that it runs')
    parser.add_argument('--only', default='', metavar='TEXT', help='only the workloads with TEXT in their name')
    parser.add_argument('--threads', type=int, default=2, help='threads of everyone (default 2)')
    parser.add_argument('--seconds', type=float, default=3.0, help='at least so long on each workload (default 3)')
    parser.add_argument('--out', type=Path, default=Path('build/bench/cpu.json'), metavar='FILE')
    return parser


if __name__ == '__main__':
    main()
