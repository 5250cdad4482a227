# SPDX-License-Identifier: Apache-2.0
"""The shards of a bag, put together, are one pass over it: the same frames, bit by bit, and the same outcome."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import operator
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from support import hard_bag
from support.bags import MS, START_NS

from robocache_core import payload
from robocache_core.config import PipelineConfig
from robocache_ros.bag_outcome import BagOutcome
from robocache_ros.offline import TARGETS, fused_frames

CONFIGS = {
    'by the lidar': hard_bag.config(),
    'at a rate': hard_bag.config(rate_hz=15.0),
    'by the lidar, not deskewed': hard_bag.config(deskew=False),
    'in a grid': hard_bag.in_grid(),
}
#: At stamps of records, beyond the bag, twice the same; the last frames are of the shard with the last message.
EDGES = [
    (START_NS,),
    (START_NS - 1, START_NS + 150 * MS, START_NS + 150 * MS),
    (START_NS + 2190 * MS, START_NS + 10**12),
]


@pytest.fixture(scope='module', params=['mcap', 'sqlite3'])
def bag(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hard_bag.write(tmp_path_factory.mktemp('shards') / 'bag', request.param)


def shard(
    bag: Path, config: PipelineConfig, start_ns: int | None, end_ns: int | None, sequence: int
) -> tuple[list[str], BagOutcome]:
    """The digests of a shard's frames, the first of which is the ``sequence``-th of the bag; and its outcome."""
    with fused_frames(bag, config, start_ns=start_ns, end_ns=end_ns) as frames:
        found = [payload.digest(dataclasses.replace(frame, sequence=sequence + frame.sequence)) for frame in frames]
        return found, frames.outcome


@functools.lru_cache
def one_pass(bag: Path, config: PipelineConfig) -> tuple[list[str], BagOutcome]:
    return shard(bag, config, None, None, 0)


def cuts(seed: int) -> list[int]:
    random_ = random.Random(seed)
    return sorted(START_NS + random_.randrange(2200 * MS) for _ in range(random_.randint(1, 3)))


@pytest.mark.parametrize('at_ns', [*map(cuts, range(4)), *EDGES])
@pytest.mark.parametrize('name', CONFIGS)
def test_shards_are_one_pass(bag: Path, name: str, at_ns: Sequence[int]) -> None:
    config = CONFIGS[name]
    whole, outcome = one_pass(bag, config)
    assert len(whole) >= 20
    found: list[str] = []
    parts = []
    for start_ns, end_ns in itertools.pairwise((None, *at_ns, None)):
        digests, part = shard(bag, config, start_ns, end_ns, len(found))
        found += digests
        parts.append(part)
    assert found == whole
    assert functools.reduce(operator.add, parts) == outcome
    assert outcome.warnings
    assert outcome.counts[TARGETS].used == len(whole)
