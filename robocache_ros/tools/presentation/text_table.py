# SPDX-License-Identifier: Apache-2.0
"""Tables on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under a head: the first column to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        return '  ' + '  '.join(cells).rstrip()

    return '\n'.join([line(head), '  ' + '  '.join('-' * width for width in widths), *map(line, rows)])


def format_drops(summary: Mapping[str, Any]) -> str:
    """What was dropped of each of the ``streams`` and of the ``targets`` of a summary; empty where nothing was."""
    accounts = [*summary['streams'].items(), ('(targets)', summary['targets'])]
    rows = [[name, reason, str(n)] for name, account in accounts for reason, n in account['dropped'].items()]
    return format_table(['dropped', 'reason', 'count'], rows) if rows else ''
