# SPDX-License-Identifier: Apache-2.0
"""Which of the blockers of many reports to name in the end."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

#: A number that stands alone: digits in the name of a stream or a topic are no number.
_NUMBER = re.compile(r'(?<![\w./])\d+(\.\d+)?(?![\w/]|\.\w)')


def prevailing(blockers: Iterable[tuple[str, int]]) -> str:
    """Return the blocker that held for most messages, as it was reported last; empty where there is none.

    So a report behind the end of a recording, which says that no message comes any more, weighs nothing, and one at its
    beginning little. Blockers that differ in their numbers alone are one.

    Args:
        blockers: of each report, its blocker, empty where frames came, and how many messages had come since the last.
    """
    last: dict[str, str] = {}
    weights: Counter[str] = Counter()
    for blocker, num_messages in blockers:
        if blocker and num_messages:
            kind = _NUMBER.sub('', blocker)
            weights[kind] += num_messages
            last.pop(kind, None)
            last[kind] = blocker
    # Of two that held as long, the later one.
    return max(reversed(last.items()), key=lambda item: weights[item[0]], default=('', ''))[1]
