# SPDX-License-Identifier: Apache-2.0
"""Writes the tables of docs/faults.md, from what the matrix left.

PYTHONPATH=test python -m support.faults.document
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.faults.cases import CASES, Case

from robocache_ros.tools.faults.kinds import KINDS

ROOT = Path(__file__).parents[3]
RESULTS, PAGE = ROOT / 'build' / 'faults.json', ROOT / 'docs' / 'faults.md'


def page(text: str, results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page with its tables as the kinds, the cases and their results are now."""
    kinds = ['| kind | |', '|---|---|', *(f'| `{name}` | {kind.sentence} |' for name, kind in KINDS.items())]
    matrix = ['| case | `--fault` | over DDS | recovered, s | what is said |', '|---|---|---|--:|---|']
    matrix += [row(name, case, results.get(name)) for name, case in CASES.items()]
    for name, lines in (('kinds', kinds), ('matrix', matrix)):
        block = '\n'.join((f'<!-- {name} -->', *lines, f'<!-- /{name} -->'))
        text, count = re.subn(f'<!-- {name} -->.*<!-- /{name} -->', lambda match, new=block: new, text, flags=re.DOTALL)
        if count != 1:
            raise ValueError(f'{PAGE} has {count} blocks {name}, must have one')
    return text


def row(name: str, case: Case, result: Mapping[str, Any] | None) -> str:
    """Return the line of a case; ``result`` is None where it was not run."""
    if result is None:
        return f'| {name} | `{case.fault}` | bags alone | | |'
    state, said = 'ok' if result['ok'] else '**failed**', result['blocker'].replace('|', '\\|') or '—'
    seconds = 0.0 if result['recovered_s'] is None else result['recovered_s']
    return f'| {name} | `{case.fault}` | {state} | {seconds:.2f} ({case.recovered_s:g}) | {said} |'


def documented(text: str) -> list[tuple[str, str]]:
    """The cases on the page, each with its fault."""
    return re.findall(r'^\| ([^|]+) \| `(\w[^`|]*)` \|', text, re.MULTILINE)


if __name__ == '__main__':
    PAGE.write_text(page(PAGE.read_text(), json.loads(RESULTS.read_text())))
