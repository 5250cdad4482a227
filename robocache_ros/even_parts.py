# SPDX-License-Identifier: Apache-2.0
"""Bags cut into parts of as many targets each, and the frames of a part brought to a number that all parts have."""

from __future__ import annotations

import dataclasses
import itertools
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from robocache_core.frame import FusedFrame
from robocache_ros.shards import Shard


@dataclass(frozen=True)
class Part:
    """Shards that have ``num_targets`` targets together."""

    shards: tuple[Shard, ...]
    num_targets: int


def even_parts(recorded_ns: Sequence[tuple[Path, Sequence[int]]], count: int) -> list[Part]:
    """Cut bags into ``count`` parts, in their order, of as many targets each.

    Their numbers differ by one, and by targets that became ready with the same message, which are not cut apart.

    Args:
        recorded_ns: of each bag, when the message was recorded with which each of its targets became ready, ns.
        count: parts.
    """
    total = sum(len(times) for _, times in recorded_ns)
    edges = [round(number * total / count) for number in range(count + 1)]
    return [_part(recorded_ns, begin, end) for begin, end in itertools.pairwise(edges)]


def _part(recorded_ns: Sequence[tuple[Path, Sequence[int]]], begin: int, end: int) -> Part:
    """The targets from the ``begin``-th of all bags to the ``end``-th."""
    shards: list[Shard] = []
    num_targets = first = 0
    for bag, times in recorded_ns:
        low, high = max(begin - first, 0), min(end - first, len(times))
        if low < high:
            start_ns = times[low] if low > 0 else None
            end_ns = times[high] if high < len(times) else None
            shards.append(Shard(bag, start_ns, end_ns))
            before = 0 if start_ns is None else bisect_left(times, start_ns)
            num_targets += (len(times) if end_ns is None else bisect_left(times, end_ns)) - before
        first += len(times)
    return Part(tuple(shards), num_targets)


def brought_to(
    length: int, frames: Iterator[FusedFrame], others: Iterator[FusedFrame], num_repeated: int
) -> Iterator[FusedFrame]:
    """Yield ``length`` frames: the first of ``frames``, and where they are fewer, some of them again.

    Args:
        length: number of frames.
        frames: are given first.
        others: one of them is repeated where there is no frame.
        num_repeated: how many of the first frames are kept to be repeated, one at least.
    """
    kept: list[FusedFrame] = []
    count = 0
    for frame in itertools.islice(frames, length):
        if len(kept) < max(1, num_repeated):
            kept.append(_copy(frame))
        count += 1
        yield frame
    if not kept:
        kept = list(itertools.islice(others, 1))
    yield from map(_copy, itertools.islice(itertools.cycle(kept), length - count))


def _copy(frame: FusedFrame) -> FusedFrame:
    """A frame whose tensors a consumer may change without changing those of ``frame``."""
    return dataclasses.replace(frame, tensors={name: tensor.clone() for name, tensor in frame.tensors.items()})
