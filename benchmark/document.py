# SPDX-License-Identifier: Apache-2.0
"""The file that a benchmark leaves: header, rows, what else is known, and what missed or was missing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol


class Row(Protocol):
    """What a row of any benchmark has."""

    @property
    def workload(self) -> str: ...

    @property
    def met(self) -> bool | None: ...

    def as_json(self) -> dict[str, object]: ...


def write(
    path: Path,
    header: Mapping[str, object],
    rows: Sequence[Row],
    missing: Mapping[str, str],
    **more: Mapping[str, object] | Sequence[object],
) -> None:
    """Write it, one row a line, so that two runs can be compared with diff; ``more``: what else is known."""
    lines = ',\n'.join('    ' + json.dumps(row.as_json(), ensure_ascii=False) for row in rows)
    rest = {
        **more,
        'missing': missing,
        'missed': [row.workload for row in rows if row.met is False],
    }
    parts = [f'"header": {_indented(header)}', f'"rows": [\n{lines}\n  ]']
    parts += [f'{json.dumps(key)}: {_indented(value)}' for key, value in rest.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{\n  ' + ',\n  '.join(parts) + '\n}\n')


def _indented(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2).replace('\n', '\n  ')
