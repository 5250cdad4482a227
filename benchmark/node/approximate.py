# SPDX-License-Identifier: Apache-2.0
"""Messages of several topics to sets of about one stamp, by the rule of message_filters' ApproximateTimeSynchronizer.

For where message_filters is not installed. The rule: of each topic the newest ``depth`` messages are kept; a message
that comes is put together with those of the other topics, the nearest first, that are within ``slop`` of it; the first
set whose stamps are all within ``slop`` is given out, and its messages are gone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from benchmark.node.topics import stamp_ns


class ApproximateSets:
    """Calls ``on_set`` with a message of each of ``topics``, in their order."""

    def __init__(self, topics: Sequence[str], depth: int, slop_ns: int, on_set: Callable[..., None]) -> None:
        self._kept: dict[str, dict[int, Any]] = {topic: {} for topic in topics}
        self._depth, self._slop_ns, self._on_set = depth, slop_ns, on_set

    def add(self, topic: str, message: Any) -> None:
        """Take a message."""
        stamp, kept = stamp_ns(message), self._kept[topic]
        kept[stamp] = message
        while len(kept) > self._depth:
            del kept[min(kept)]
        for stamps in itertools.product(*(self._near(each, stamp, topic) for each in self._kept)):
            if max(stamps) - min(stamps) < self._slop_ns:
                of_topic = zip(self._kept.values(), stamps, strict=True)
                self._on_set(*[messages.pop(at) for messages, at in of_topic])
                return

    def _near(self, topic: str, stamp: int, own: str) -> list[int]:
        if topic == own:
            return [stamp]
        near = [at for at in self._kept[topic] if abs(at - stamp) <= self._slop_ns]
        return sorted(near, key=lambda at: abs(at - stamp))
