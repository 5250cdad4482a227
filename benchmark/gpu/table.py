# SPDX-License-Identifier: Apache-2.0
"""The results of a GPU as Markdown: a line a workload, a column for each way in which it was timed."""

from __future__ import annotations

from typing import Any

from benchmark.gpu.workload import CALL, GRAPH, PAGEABLE, PINNED

WAYS = (CALL, GRAPH, PINNED, PAGEABLE)

_VERDICTS = {True: 'met', False: '**missed**', None: 'not judged'}


def table(results: dict[str, Any]) -> str:
    """Where it was measured, then the lines; all times in µs."""
    header = results['header']
    versions = ', '.join(f'{name} {version}' for name, version in header['versions'].items())
    lines = [
        f'{header["gpu"]} ({header["gpu_state"]}), {header["machine"]}; {header["bandwidth_gb_s"]} GB/s copied on the '
        f'GPU, {header["upload_gb_s"]} GB/s to it; commit {header["commit"]}, {header["date"]}; CUDA {header["cuda"]}, '
        f'nvcc {header["nvcc"]}; {versions}; `{header["command"]}`.',
        *(f'**Failed, so not measured: {name}: {why}.**' for name, why in results['errors'].items()),
        *(f'Not measured: {name}: {why}.' for name, why in results['missing'].items()),
        '',
        '| workload | ' + ' | '.join(f'{way}, µs' for way in WAYS) + ' | MB moved | goals |',
        '|---|' + '---|' * len(WAYS) + '--:|---|',
    ]
    for name, rows in _by_workload(results['rows']).items():
        cells = [_cell(rows[way], results['p99_ms']) if way in rows else '' for way in WAYS]
        goals = '<br>'.join(f'{way}: {_VERDICTS[row["met"]]} ({_limit(row["goal"])})' for way, row in rows.items())
        lines.append(f'| {name} | {" | ".join(cells)} | {rows[CALL]["bytes"] * 1e-6:.3g} | {goals} |')
    lines += ['', *(f'- {name}: {about}.' for name, about in results['about'].items())]
    return '\n'.join(lines)


def _by_workload(rows: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """By workload, by way."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        name, _, way = row['workload'].rpartition(', ')
        found.setdefault(name, {})[way] = row
    return found


def _cell(row: dict[str, Any], p99_ms: dict[str, dict[str, float]]) -> str:
    p99 = p99_ms[row['workload']]['ours']
    ours = f'**{_us(row["ours_ms"])}** (p99 {_us(p99)}, {row["bandwidth_share"]:.0%} of bandwidth)'
    peers = (f'{name} {_us(ms)} ({row["ratio"][name]:.2g}×)' for name, ms in row['peers'].items())
    return '<br>'.join([ours, *peers])


def _us(ms: float) -> str:
    return f'{ms * 1e3:.3g}' if ms < 1 else f'{ms * 1e3:.0f}'


def _limit(goal: str) -> str:
    """A goal in words with its time in µs: as the goals of a GPU are stated."""
    head, _, rest = goal.partition(' ms')
    return f'{head.split()[0]} {float(head.split()[1]) * 1e3:.3g} µs{rest}' if rest else goal
