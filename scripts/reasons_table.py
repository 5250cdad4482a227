#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the table of drop reasons in README.md from ``robocache_core.ledger.Reason``."""

from __future__ import annotations

import re
from pathlib import Path

from robocache_core.ledger import Reason

README = Path(__file__).resolve().parents[1] / 'README.md'
HEAD = '| reason | what it means |\n|---|---|\n'
TABLE = re.compile(re.escape(HEAD) + r'(\|.*\n)*')


def table() -> str:
    """One row a reason."""
    return HEAD + ''.join(f'| `{reason}` | {reason.sentence} |\n' for reason in Reason)


def updated(text: str) -> str:
    """``text`` with its table as the reasons are now."""
    result, count = TABLE.subn(lambda match: table(), text)
    if count != 1:
        raise ValueError(f'README.md has {count} tables of reasons, must have one')
    return result


if __name__ == '__main__':
    README.write_text(updated(README.read_text()))
