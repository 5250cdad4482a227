# SPDX-License-Identifier: Apache-2.0
"""What other nodes publish, and which of it may be meant by a topic that has no publisher."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from robocache_core.text import printable

if TYPE_CHECKING:
    from rclpy.node import Node

#: Characters that are shown of the names of both.
_MAX_SHOWN = 400


def published_by_others(node: Node) -> dict[str, list[str]]:
    """Return the full message types of every topic that has a publisher, but for those that ``node`` publishes."""
    own = {publisher.topic_name for publisher in node.publishers}
    topics = node.get_topic_names_and_types()
    return {name: types for name, types in topics if name not in own and node.count_publishers(name)}


def near(topic: str, kind: str, published: Mapping[str, Sequence[str]]) -> str:
    """Name the published topic of the nearest name and that of the same type, as the end of a sentence; '' for none.

    Args:
        topic: has no publisher.
        kind: short message type that is expected on it.
        published: full message types of each topic that has a publisher; strangers may have named them.
    """
    kinds = {name: sorted({each.rpartition('/')[2] for each in types}) for name, types in published.items()}
    by_name = difflib.get_close_matches(topic, kinds, 1)
    by_type = difflib.get_close_matches(topic, [name for name, each in kinds.items() if kind in each], 1, cutoff=0.0)
    found = [f'{name} ({", ".join(kinds[name])})' for name in dict.fromkeys((*by_name, *by_type))]
    return printable(f'; there is {" and ".join(found)}', _MAX_SHOWN) if found else ''
