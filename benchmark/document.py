# SPDX-License-Identifier: Apache-2.0
"""The file that a benchmark leaves: header, rows, the fastest calls, and the peers that were missing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark.row import Row


def write(
    path: Path,
    header: Mapping[str, object],
    rows: Sequence[Row],
    fastest_ms: Mapping[str, Mapping[str, float]],
    missing: Mapping[str, str],
) -> None:
    """Write it, one row a line, so that two runs can be compared with diff."""
    lines = ',\n'.join('    ' + json.dumps(row.as_json(), ensure_ascii=False) for row in rows)
    rest = {
        'fastest_ms': fastest_ms,
        'missing': missing,
        'missed': [row.workload for row in rows if row.met is False],
    }
    parts = [f'"header": {_indented(header)}', f'"rows": [\n{lines}\n  ]']
    parts += [f'{json.dumps(key)}: {_indented(value)}' for key, value in rest.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{\n  ' + ',\n  '.join(parts) + '\n}\n')


def _indented(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2).replace('\n', '\n  ')
