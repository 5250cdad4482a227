# SPDX-License-Identifier: Apache-2.0
"""The operations on a GPU beside torch on the same GPU: prints and writes rows for each workload.

python -m benchmark.gpu [--quick] [--only TEXT] [--commit ID] [--out build/bench/gpu.json]
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmark import document, machine
from benchmark.gpu import clouds, images, measure, scans, streams
from benchmark.gpu.device import Cuda
from benchmark.gpu.workload import Workload
from robocache_core import backends, ops


def main(args: list[str] | None = None, make_device: Callable[[], Cuda] = Cuda) -> None:
    """Measure all workloads; ends with an error where a check failed."""
    given = sys.argv[1:] if args is None else args
    options = _parser().parse_args(given)
    if backends.active().name != 'cpu':
        sys.exit(f'benchmark: the compiled module is needed to check results; {backends.active().reason}')
    try:
        backends.cuda()
        device = make_device()
    except RuntimeError as error:
        sys.exit(f'benchmark: {error}')

    rates = measure.Rates(device.copy_bandwidth(), device.upload_bandwidth())
    header = _header(options, device, rates) | {'command': shlex.join(['python', '-m', 'benchmark.gpu', *given])}
    for key, value in header.items():
        print(f'{key:<22}{value}')
    print(flush=True)

    efforts = measure.QUICK if options.quick else measure.Efforts()
    rows: list[Any] = []
    p99_ms: dict[str, dict[str, float]] = {}
    about: dict[str, str] = {}
    missing: dict[str, str] = {}
    errors: dict[str, str] = {}
    for name, make in workloads(options.quick).items():
        if options.only not in name:
            continue
        try:
            found = measure.run(name, make(), device, rates, efforts)
        except Exception as error:  # one that fails must not cost the others: there is little time on such a machine
            errors[name] = f'{type(error).__name__}: {error}'
            print(f'{name:<44} ERROR {errors[name]}', flush=True)
            continue
        rows += found.rows
        p99_ms |= found.p99_ms
        about[name] = found.about
        missing |= {f'{name}: {peer}': why for peer, why in found.failed.items()}
        for row in found.rows:
            print(f'{row}  p99 {found.p99_ms[row.workload]["ours"]:.4g} ms', flush=True)
        print(f'    {found.about}', flush=True)

    document.write(options.out, header, rows, missing, p99_ms=p99_ms, about=about, errors=errors)
    missed = [row.workload for row in rows if row.met is False]
    print(f'\n{len(rows)} rows, {len(missed)} missed their goal' + ''.join(f'\n  {name}' for name in missed))
    for name, why in missing.items():
        print(f'not measured: {name}: {why}')
    print(f'written to {options.out}')
    if errors:
        sys.exit(f'{len(errors)} workloads failed' + ''.join(f'\n  {name}: {why}' for name, why in errors.items()))


def workloads(quick: bool) -> dict[str, Callable[[], Workload]]:
    """By name, all of them."""
    made: dict[str, Callable[[], Workload]] = {}
    for module in (streams, clouds, scans, images):
        made |= module.workloads(quick)
    return made


def _header(options: argparse.Namespace, device: Cuda, rates: measure.Rates) -> dict[str, object]:
    header = machine.header(ops.num_threads(), rates.copy, {}, options.quick)
    if options.commit:
        header['commit'] = options.commit
    header['upload_gb_s'] = round(rates.upload * 1e-9, 1)
    return header | device.facts()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='python -m benchmark.gpu', description=__doc__.partition('\n')[0])
    parser.add_argument('--quick', action='store_true', help='small inputs, few calls: to see that it runs')
    parser.add_argument('--only', default='', metavar='TEXT', help='only the workloads with TEXT in their name')
    parser.add_argument('--commit', default='', metavar='ID', help='what runs, where there is no repository')
    parser.add_argument('--out', type=Path, default=Path('build/bench/gpu.json'), metavar='FILE')
    return parser


if __name__ == '__main__':
    main()
