# SPDX-License-Identifier: Apache-2.0
"""How text that came from outside is shown in messages and logs."""

from __future__ import annotations

#: Characters that are shown of a foreign value, and of a whole message.
MAX_SHOWN, MAX_MESSAGE = 120, 1000


def shown(value: object) -> str:
    """Return the ``repr`` of a value that a sender wrote, cut to ``MAX_SHOWN`` characters."""
    text = repr(value[: MAX_SHOWN + 1] if isinstance(value, str) else value)
    if len(text) <= MAX_SHOWN + 2:
        return text
    return f'{text[:MAX_SHOWN]}… ({len(value if isinstance(value, str) else text)} characters)'


def printable(message: str, limit: int = MAX_MESSAGE, keep: str = '') -> str:
    """Return a message in which nothing can harm a log: no control code, no lone surrogate, no great length.

    Args:
        message: may hold anything that a sender wrote.
        limit: characters that are kept, as they are shown.
        keep: control codes that are kept.
    """
    text = message[:limit]
    if not text.isprintable():  # escaped, a character is up to ten
        text = ''.join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)
    if max(len(text), len(message)) <= limit:
        return text
    return f'{text[:limit]}… ({len(message)} characters)'
