#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the tables of README.md and docs that state what the code has: drop reasons, events of the log, metrics."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from robocache_core.ledger import Reason
from robocache_ros.blocker import Cause
from robocache_ros.events import Event
from robocache_ros.prometheus import ROWS

ROOT = Path(__file__).resolve().parents[1]


def tables() -> Iterator[tuple[str, str, Iterable[tuple[str, ...]]]]:
    """Yield the page of each table, its head, and its rows."""
    explained = 'reason | what it means'
    yield 'README.md', explained, ((f'`{reason}`', reason.sentence) for reason in Reason)
    yield 'docs/metrics.md', explained, ((f'`{cause}`', cause.sentence) for cause in Cause)
    yield (
        'docs/metrics.md',
        'metric | type | labels | meaning',
        ((f'`{row.name}`', row.family('x', '').type, _listed(row.labels), row.meaning) for row in ROWS),
    )
    yield (
        'docs/logs.md',
        'event | level | fields | when',
        ((f'`{event.value}`', event.level, _listed(event.fields), event.sentence) for event in Event),
    )


def updated(page: str, text: str) -> str:
    """``text`` of a page, with its tables as they are now."""
    for _, head, rows in (each for each in tables() if each[0] == page):
        begin = f'| {head} |\n|{"---|" * (head.count("|") + 1)}\n'
        table = begin + ''.join(f'| {" | ".join(row)} |\n' for row in rows)
        text, count = re.subn(re.escape(begin) + r'(\|.*\n)*', lambda match, table=table: table, text)
        if count != 1:
            raise ValueError(f'{page} has {count} tables of {head}, must have one')
    return text


def _listed(names: Iterable[str]) -> str:
    return ', '.join(f'`{name}`' for name in names)


if __name__ == '__main__':
    for page in dict.fromkeys(page for page, *_ in tables()):
        (ROOT / page).write_text(updated(page, (ROOT / page).read_text()))
