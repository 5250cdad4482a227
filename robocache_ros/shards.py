# SPDX-License-Identifier: Apache-2.0
"""Shards of a bag: parts of it that together are one pass over it (see ``offline.fused_frames``)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from robocache_core.config import PipelineConfig
from robocache_ros.bags import Bag
from robocache_ros.offline import BagFrames, Messages, fused_frames

#: What it takes to pass over a second of a bag, as a share of what it takes to compute one.
_PASSING_OVER = 0.25


@dataclass(frozen=True)
class Shard:
    """The frames of a bag between two record times, ns, None at its ends."""

    bag: Path
    start_ns: int | None = None
    end_ns: int | None = None

    def frames(self, config: PipelineConfig, messages: Messages = Bag.messages) -> BagFrames:
        """Return its frames, computed as they are asked for; ``messages`` reads the bag."""
        return fused_frames(self.bag, config, messages=messages, start_ns=self.start_ns, end_ns=self.end_ns)


def shards_of(bag: Bag, count: int) -> list[Shard]:
    """Cut a bag into shards that take about as long: the later one begins, the more it has to pass over."""
    left = 1 - _PASSING_OVER
    ends = [(1 - left ** (k + 1)) / (1 - left**count) for k in range(count - 1)]
    cuts = [bag.start_ns + round(end * (bag.end_ns - bag.start_ns)) for end in ends]
    return [Shard(bag.path, start, end) for start, end in zip([None, *cuts], [*cuts, None], strict=True)]
