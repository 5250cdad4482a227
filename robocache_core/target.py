# SPDX-License-Identifier: Apache-2.0
"""A ready target: an instant, and the samples that it takes and holds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from robocache_core.buffer import Entry
from robocache_core.ledger import Reason


@dataclass(frozen=True)
class Pick:
    """What a stream gives a target: its samples (none where it has none), and whether they are within tolerance."""

    entries: tuple[Entry, ...]
    valid: bool


@dataclass(frozen=True)
class Target:
    """A ready target: an instant, each stream's pick, and the readings that give the motion during a stream's sample.

    It holds the samples until ``close``.

    Attributes:
        given_up: streams that it did not wait for: a sample nearer to it may have come later.
    """

    stamp_ns: int
    epoch: int
    picks: Mapping[str, Pick]
    motion: Mapping[str, tuple[Entry, ...]]
    given_up: tuple[str, ...] = ()

    def hold(self) -> None:
        """Become a holder of all samples."""
        for entry in self._entries():
            entry.hold()

    def close(
        self,
        reason: str = Reason.UNSELECTED,
        *,
        used: bool = False,
        motion: Iterable[Entry] = (),
        left_out: Collection[str] = (),
    ) -> None:
        """Let the samples go, for ``reason`` if no frame used them.

        As used, those that were picked, but not of streams that are ``left_out``, and ``motion``.
        """
        picked = (e for name, pick in self.picks.items() if name not in left_out for e in pick.entries)
        for entry in (*picked, *motion) if used else ():
            entry.use()
        for entry in self._entries():
            entry.release(reason)

    def _entries(self) -> list[Entry]:
        """All samples, one as often as it is held."""
        groups = (*(pick.entries for pick in self.picks.values()), *self.motion.values())
        return [entry for group in groups for entry in group]
