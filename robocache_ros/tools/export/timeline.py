# SPDX-License-Identifier: Apache-2.0
"""What came of a bag over its time, in so few numbers that a report can show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robocache_core.frame import FusedFrame
from robocache_core.ledger import Counts, Reason
from robocache_core.units import MS, SECOND

#: Parts that the time of a bag is cut into.
_PARTS = 1000


class Timeline:
    """Takes the frames of a bag in their order.

    Args:
        duration_s: of the bag.
    """

    def __init__(self, duration_s: float) -> None:
        self._part_ns = max(MS, round(duration_s * SECOND) // _PARTS)
        self._rows: list[dict[str, Any]] = []
        self._drops: dict[str, int] = {}
        self._before: FusedFrame | None = None
        #: What is added to stamps so that time goes on where it jumps.
        self._offset_ns = 0
        self.given_up: dict[str, int] = {}

    def frame(self, frame: FusedFrame) -> None:
        """Take the next frame."""
        before, self._before = self._before, frame
        if before is None:
            self._offset_ns = -frame.stamp_ns
        elif frame.epoch != before.epoch:
            self._offset_ns += before.stamp_ns + SECOND - frame.stamp_ns
        elif self._rows:
            step_ms = (frame.stamp_ns - before.stamp_ns) / MS
            self._rows[-1]['step_ms'] = max(step_ms, self._rows[-1]['step_ms'] or 0.0)
        at_ns = frame.stamp_ns + self._offset_ns
        if not self._rows or at_ns >= self._rows[-1]['begin_ns'] + self._part_ns:
            self._rows.append({'begin_ns': at_ns, 'step_ms': None, 'age_ms': {}})
        ages = self._rows[-1]['age_ms']
        for name, age_ns in frame.age_ns.items():
            ages[name] = max(ages.get(name, 0.0), age_ns / MS, key=abs)
        self._rows[-1]['drops'] = self._drops
        for name in frame.given_up:
            self.given_up[name] = self.given_up.get(name, 0) + 1

    def counted(self, counts: Mapping[str, Counts]) -> None:
        """Take what was dropped by now, by stream and of the targets; none that no target needed."""
        drops = {f'{name} {why}': n for name, c in counts.items() for why, n in c.dropped.items()}
        drops = {what: n for what, n in drops.items() if not what.endswith(f' {Reason.UNSELECTED}')}
        if drops != self._drops:
            self._drops = drops
        if self._rows:
            self._rows[-1]['drops'] = self._drops

    def summary(self) -> dict[str, Any]:
        """Return, of each part of the bag that has a frame, when it begins and the most of what there was in it.

        ``t_s``; ``step_ms``: from a frame to the next one; ``age_ms``: by stream; ``drops``: by then, by stream and
        reason. And ``given_up``: by stream, targets that did not wait for it.
        """
        names = sorted({name for row in self._rows for name in row['age_ms']})
        reasons = sorted({what for row in self._rows for what in row['drops']})
        return {
            't_s': [row['begin_ns'] / SECOND for row in self._rows],
            'step_ms': [row['step_ms'] for row in self._rows],
            'age_ms': {name: [row['age_ms'].get(name) for row in self._rows] for name in names},
            'drops': {what: [row['drops'].get(what, 0) for row in self._rows] for what in reasons},
            'given_up': self.given_up,
        }
