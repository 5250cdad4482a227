# SPDX-License-Identifier: Apache-2.0
"""How text that came from outside is shown in messages and logs."""

from __future__ import annotations

#: Characters of a foreign text that are shown.
MAX_SHOWN = 120


def shown(text: str) -> str:
    """Return foreign text in quotes, escaped, cut to ``MAX_SHOWN`` characters.

    A log line has then no control codes, no lone surrogates, and no great length, whatever a sender wrote.
    """
    escaped = repr(text[: MAX_SHOWN + 1])
    if len(escaped) <= MAX_SHOWN + 2:
        return escaped
    return f'{escaped[:MAX_SHOWN]}… ({len(text)} characters)'
