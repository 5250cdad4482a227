#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the table of events in docs/logs.md from ``robocache_ros.events.Event``."""

from __future__ import annotations

import re
from pathlib import Path

from robocache_ros.events import Event

PAGE = Path(__file__).resolve().parents[1] / 'docs' / 'logs.md'
HEAD = '| event | level | fields | when |\n|---|---|---|---|\n'
TABLE = re.compile(re.escape(HEAD) + r'(\|.*\n)*')


def table() -> str:
    """One row an event."""
    rows = ((f'`{e.value}`', e.level, ', '.join(f'`{field}`' for field in e.fields), e.sentence) for e in Event)
    return HEAD + ''.join(f'| {" | ".join(row)} |\n' for row in rows)


def updated(text: str) -> str:
    """``text`` with its table as the events are now."""
    result, count = TABLE.subn(lambda match: table(), text)
    if count != 1:
        raise ValueError(f'docs/logs.md has {count} tables of events, must have one')
    return result


if __name__ == '__main__':
    PAGE.write_text(updated(PAGE.read_text()))
