# SPDX-License-Identifier: Apache-2.0
"""One row of a benchmark, the same for every device, and the goal that it is held against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class Goal:
    """What a workload has to reach; to be ahead of every peer is always part of it.

    Attributes:
        max_ms: longest time.
        at_least: by peer: how many times faster than it, in the fastest of the ways that it was measured.
    """

    max_ms: float | None = None
    at_least: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [] if self.max_ms is None else [f'≤ {self.max_ms:.3g} ms']
        parts += [f'≥ {factor:g}× {peer}' for peer, factor in self.at_least.items()]
        return ', '.join([*parts, 'ahead of all'])

    def met(self, ours_ms: float, ratio: Mapping[str, float]) -> bool | None:
        """Whether it is reached; None where all that could be judged is, but a peer that it names was not measured."""
        if self.max_ms is not None and ours_ms > self.max_ms:
            return False
        if any(factor < max(1.0, self.at_least.get(library(peer), 1.0)) for peer, factor in ratio.items()):
            return False
        measured = {library(peer) for peer in ratio}
        return True if ratio and measured >= self.at_least.keys() else None


def library(peer: str) -> str:
    """What a peer is called without the way in which it was run: ``small_gicp`` of ``small_gicp, 1 thread``."""
    return peer.partition(', ')[0]


@dataclass(frozen=True)
class Row:
    """Medians of one run.

    Attributes:
        workload: what was done.
        ours_ms: our time.
        peers: the time of each peer, ms.
        ratio: of each peer, its time over ours.
        bytes: least that must move: inputs read once, results written once.
        bandwidth_share: ``bytes`` in our time, over what a copy reaches on this machine.
        goal: in words.
        met: whether it is reached; None where a peer that it names was not measured.
    """

    workload: str
    ours_ms: float
    peers: dict[str, float]
    ratio: dict[str, float]
    bytes: int
    bandwidth_share: float
    goal: str
    met: bool | None

    @staticmethod
    def of(workload: str, ours_ms: float, peers: Mapping[str, float], nbytes: int, bandwidth: float, goal: Goal) -> Row:
        """A row from its times (ms), with ``bandwidth`` in bytes a second."""
        ratio = {name: ms / ours_ms for name, ms in peers.items()}
        return Row(
            workload=workload,
            ours_ms=_rounded(ours_ms),
            peers={name: _rounded(ms) for name, ms in peers.items()},
            ratio={name: _rounded(value) for name, value in ratio.items()},
            bytes=nbytes,
            bandwidth_share=_rounded(nbytes / (ours_ms * 1e-3) / bandwidth),
            goal=str(goal),
            met=goal.met(ours_ms, ratio),
        )

    def as_json(self) -> dict[str, object]:
        """The row as it stands in the file."""
        return asdict(self)

    def __str__(self) -> str:
        peers = '  '.join(f'{name} {ms:.4g} ({self.ratio[name]:.3g}×)' for name, ms in self.peers.items())
        return (
            f'{self.workload:<44} {self.ours_ms:>8.4g} ms  {self.bandwidth_share:>4.0%} of bandwidth  '
            f'[{VERDICTS[self.met]}: {self.goal}]  {peers}'
        )


#: How ``met`` is written.
VERDICTS = {True: 'met', False: 'MISSED', None: 'not judged'}


def _rounded(value: float) -> float:
    """Four significant digits: more would be noise."""
    return float(f'{value:.4g}')
