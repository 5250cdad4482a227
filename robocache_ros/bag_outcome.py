# SPDX-License-Identifier: Apache-2.0
"""What became of a bag that was read through a pipeline, and what is wrong with the bag itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from robocache_core.ledger import Counts
from robocache_core.pipeline import Pipeline

#: By what frames lack of a stream, and by stream, how many do.
Lacking = Mapping[str, Counter[str]]


@dataclass(frozen=True)
class BagOutcome:
    """What became of a shard of a bag; the sum of the shards of a bag, in their order, is that of one pass.

    Attributes:
        counts: by stream, and for ``offline.TARGETS``, the accounts of the shard.
        lacking: what frames of the shard lack, see ``lacking_in``; streams of which there is any.
        defects: a line for each part of the bag that is missing or damaged, cannot be read, or not surely.
        warnings: a line for each fault of the recording: its clocks, jumps of time, and messages that it lacks.
    """

    counts: Mapping[str, Counts]
    lacking: Lacking
    defects: tuple[str, ...]
    warnings: tuple[str, ...]

    def __add__(self, later: BagOutcome) -> BagOutcome:
        """The outcome of both; the later shard has seen all of the bag that the earlier one has."""
        counts = {name: own + later.counts[name] for name, own in self.counts.items()}
        lacking = {what: own + later.lacking[what] for what, own in self.lacking.items()}
        return BagOutcome(counts, lacking, later.defects, later.warnings)


def lacking_in(pipeline: Pipeline, not_valid: Counter[str]) -> dict[str, Counter[str]]:
    """Return, by stream, how many frames lack what.

    ``not_valid``: they had nothing of it within its tolerance; ``given_up``: of targets, did not wait for it;
    ``left_out``: a grid lacks its points; ``without_depth``: no pixel of its image is a valid distance;
    ``without_voxels``: none of its points is in a voxel.
    """
    counts = {
        'not_valid': not_valid,
        'given_up': pipeline.given_up,
        'left_out': pipeline.left_out,
        'without_depth': pipeline.without_depth.counts,
        'without_voxels': pipeline.without_voxels,
    }
    return {what: Counter(by_stream) for what, by_stream in counts.items()}
