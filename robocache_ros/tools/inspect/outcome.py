# SPDX-License-Identifier: Apache-2.0
"""What the node would make of a bag, and drop of it: its pipeline's counts."""

from __future__ import annotations

from typing import Any

from robocache_core.frame import FusedFrame
from robocache_core.pipeline import Pipeline
from robocache_core.units import MS
from robocache_ros.offline import BagFrames
from robocache_ros.tools.inspect.spread import Spread


class Outcome:
    """Counts the frames of a pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._frames = 0
        self._valid = dict.fromkeys((*pipeline.streams, *(grid.name for grid in pipeline.config.grids)), 0)
        self._ages = {name: Spread() for name in pipeline.streams}

    def take(self, frame: FusedFrame) -> None:
        """Count a frame."""
        self._frames += 1
        for name, is_valid in frame.valid.items():
            self._valid[name] += is_valid
        for name, age_ns in frame.age_ns.items():
            self._ages[name].take(age_ns)

    def summary(self, frames: BagFrames) -> dict[str, Any]:
        """The counts, under the keys of replay's summary where it has them, and what ``frames`` explains of them."""
        pipeline = self._pipeline
        targets = pipeline.targets.counts()
        return {
            'frames': self._frames,
            'streams': {
                name: {'received': c.received, 'used': c.used, 'held': c.held, 'dropped': c.dropped}
                for name, c in ((name, account.counts()) for name, account in pipeline.ledger.items())
            },
            'targets': {
                'targets': targets.received,
                'emitted': targets.used,
                'pending': targets.held,
                'dropped': targets.dropped,
                'given_up': {name: count for name, count in pipeline.given_up.items() if count},
            },
            'valid': dict(self._valid),
            'age_ms': {
                name: {'p50': _ms(ages.percentile(0.5)), 'p99': _ms(ages.percentile(0.99))}
                for name, ages in self._ages.items()
            },
            'explanations': [
                {'stream': name, 'reason': reason, 'count': explanation.count, 'last': explanation.message}
                for (name, reason), explanation in frames.explanations.items()
            ],
            'warnings': list(frames.warnings),
        }


def _ms(value_ns: float | None) -> float | None:
    return None if value_ns is None else round(value_ns / MS, 3)
