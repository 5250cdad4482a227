# SPDX-License-Identifier: Apache-2.0
"""Names of streams from their topics."""

from __future__ import annotations

import re
from collections.abc import Collection

from robocache_ros.parameters import RESERVED

#: Last parts of a topic that name what it carries, not which sensor it is.
_GENERIC = {
    'compressed', 'compresseddepth', 'image', 'image_raw', 'image_color', 'image_mono', 'image_rect',
    'image_rect_color', 'image_rect_raw', 'points',
    'points_raw', 'pointcloud', 'point_cloud', 'pointcloud2', 'cloud', 'scan', 'data', 'data_raw', 'raw',
}  # fmt: skip


def stream_names(topics: Collection[str]) -> dict[str, str]:
    """Give each topic a short name of its own, which a configuration can have.

    It is the topic's last distinctive part, with as many parts before it as make the names differ; then the whole
    topic, and where even those do not differ (``/a-b`` and ``/a_b``, or ``/sync``), a number behind it.
    """
    candidates = {topic: _candidates(topic) for topic in topics}
    names = {topic: found.pop(0) for topic, found in candidates.items()}
    while True:
        taken = list(names.values())
        clashes = [topic for topic in topics if names[topic] in RESERVED or taken.count(names[topic]) > 1]
        longer = [topic for topic in clashes if candidates[topic]]
        if not longer:
            return names | _numbered(clashes, names)
        for topic in longer:
            names[topic] = candidates[topic].pop(0)


def _numbered(clashes: Collection[str], names: dict[str, str]) -> dict[str, str]:
    taken = {name for topic, name in names.items() if topic not in clashes} | set(RESERVED)
    numbered = {}
    for topic in clashes:
        number = 1
        while f'{names[topic]}_{number}' in taken:
            number += 1
        numbered[topic] = f'{names[topic]}_{number}'
        taken.add(numbered[topic])
    return numbered


def _candidates(topic: str) -> list[str]:
    """Names for a topic, the shortest first."""
    parts = topic.strip('/').split('/')
    kept = list(parts)
    while len(kept) > 1 and kept[-1].lower() in _GENERIC:
        kept.pop()
    return [_identifier('_'.join(kept[-length:])) for length in range(1, len(kept) + 1)] + [
        _identifier('_'.join(parts))
    ] * (kept != parts)


def _identifier(text: str) -> str:
    name = re.sub(r'\W', '_', text, flags=re.ASCII)
    return name if name and not name[:1].isdigit() else f's_{name}'
