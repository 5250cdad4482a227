#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the tables of docs/metrics.md from ``robocache_ros.prometheus.ROWS`` and ``robocache_ros.blocker.Cause``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from robocache_ros.blocker import Cause
from robocache_ros.prometheus import ROWS

PAGE = Path(__file__).resolve().parents[1] / 'docs' / 'metrics.md'


def tables() -> Iterator[tuple[str, list[str]]]:
    """Yield the head of each table, and its rows."""
    rows = (
        (f'`{row.name}`', row.family('x', '').type, ', '.join(f'`{label}`' for label in row.labels), row.meaning)
        for row in ROWS
    )
    yield '| metric | type | labels | meaning |\n|---|---|---|---|\n', [f'| {" | ".join(row)} |\n' for row in rows]
    yield '| reason | what it means |\n|---|---|\n', [f'| `{cause.value}` | {cause.sentence} |\n' for cause in Cause]


def updated(text: str) -> str:
    """``text`` with its tables as they are now."""
    for head, rows in tables():
        table = head + ''.join(rows)
        text, count = re.subn(re.escape(head) + r'(\|.*\n)*', lambda match, table=table: table, text)
        if count != 1:
            raise ValueError(f'docs/metrics.md has {count} tables that begin with {head!r}, must have one')
    return text


if __name__ == '__main__':
    PAGE.write_text(updated(PAGE.read_text()))
