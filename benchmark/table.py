# SPDX-License-Identifier: Apache-2.0
"""Writes the table of a benchmark into a page, between two markers, from the file that the benchmark left.

    python -m benchmark.table build/bench/cpu.json [--page docs/performance.md]
    python -m benchmark.table benchmark/results/h200.json

The markers are named after the file: ``<!-- cpu.json -->`` and ``<!-- end of cpu.json -->``.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmark.gpu import table as gpu_table
from benchmark.machine import Others
from benchmark.row import VERDICTS

PAGE = Path(__file__).parent.parent / 'docs' / 'performance.md'


def main(args: list[str] | None = None) -> None:
    """Replace the block."""
    parser = argparse.ArgumentParser(prog='python -m benchmark.table', description=__doc__.partition('\n')[0])
    parser.add_argument('file', type=Path)
    parser.add_argument('--page', type=Path, default=PAGE)
    options = parser.parse_args(args)
    results = json.loads(options.file.read_text())
    if results['header']['quick']:
        sys.exit(f'{options.file} is of a quick run: its numbers say nothing')
    page = options.page.read_text()
    options.page.write_text(replaced(page, options.file.name, table(results)))


def replaced(page: str, name: str, block: str) -> str:
    """``page`` with ``block`` between the markers of ``name``.

    Raises:
        ValueError: the page does not have each marker once, in order.
    """
    begin, end = f'<!-- {name} -->', f'<!-- end of {name} -->'
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise ValueError(f'the page needs {begin} and, after it, {end}, once each')
    before, after = page.partition(begin)[0], page.partition(end)[2]
    return f'{before}{begin}\n{block}\n{end}{after}'


def table(results: dict[str, Any]) -> str:
    """The results as Markdown: where they were measured, then a line for each workload."""
    header = results['header']
    if 'gpu' in header:
        return gpu_table.table(results)
    versions = ', '.join(f'{name} {version}' for name, version in header['versions'].items())
    lines = [
        f'{header["cpu"]} ({header["machine"]}), {header["threads"]} threads, {header["bandwidth_gb_s"]} GB/s copied; '
        f'commit {header["commit"]}, {header["date"]}; {header["compiler"]}; {versions}.',
        *_disturbance(header['others_cpu']),
        *(f'Not installed, so not measured: {name}.' for name in results['missing']),
        '',
        '| workload | ours, ms | peers, ms (times ours) | MB moved | of bandwidth | goal | |',
        '|---|--:|---|--:|--:|---|---|',
    ]
    for row in results['rows']:
        peers = '<br>'.join(f'{name} {ms:.3g} ({row["ratio"][name]:.2g}×)' for name, ms in row['peers'].items())
        lines.append(
            f'| {row["workload"]} | {row["ours_ms"]:.3g} | {peers or "none installed"} | {row["bytes"] * 1e-6:.3g} '
            f'| {row["bandwidth_share"]:.0%} | {row["goal"]} | {_verdict(row["met"])} |'
        )
    return '\n'.join(lines)


def _disturbance(share: float) -> list[str]:
    if share <= Others.DISTURBED:
        return []
    return [
        f'**Disturbed: other processes took {share:.0%} of the CPUs meanwhile; these numbers are not to be quoted.**'
    ]


def _verdict(met: bool | None) -> str:
    return '**missed**' if met is False else VERDICTS[met]


if __name__ == '__main__':
    main()
