# SPDX-License-Identifier: Apache-2.0
"""From what a run gave to its numbers, and from the numbers of all runs to their spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from benchmark.node.run import Observed


class Tolerance(NamedTuple):
    """Of what is not the subject's doing; a run beyond it does not count.

    Attributes:
        late_ms: 99th percentile of how late the player may be.
        busy: share of the CPUs that processes of others may take.
    """

    late_ms: float
    busy: float


class Spread(NamedTuple):
    """Of a number over the runs."""

    median: float
    min: float
    max: float


@dataclass(frozen=True)
class Numbers:
    """One run of one subject.

    Attributes:
        sent: measured frames.
        complete: those of them whose result came.
        p50_ms: of the latency from the stamp to the complete result; this and what follows is None where no frame was
            complete.
        p99_ms: of it.
        p999_ms: of it.
        cpu_ms: CPU time of the subject's process over the complete frames: not its consumer's, not the player's.
        rss_mib: most memory of that process.
        late_p99_ms: of the player's messages.
        priority: of the player.
        busy: what other processes took of the CPUs.
        parts_ms: of the latency, as of ``parts``.
        stages_ms: p50 and p99 of the node's own stages, as it says itself.
        losses: of the node, by stream and reason, as it says itself, with the warm-up.
        how: what did it.
    """

    sent: int
    complete: int
    p50_ms: float | None
    p99_ms: float | None
    p999_ms: float | None
    cpu_ms: float | None
    rss_mib: float
    late_p99_ms: float
    priority: str
    busy: float
    parts_ms: dict[str, tuple[float, float]] = field(default_factory=dict)
    stages_ms: dict[str, list[float]] = field(default_factory=dict)
    losses: dict[str, int] = field(default_factory=dict)
    how: str = ''

    @property
    def lost(self) -> float:
        """Share of the frames that were sent."""
        return (self.sent - self.complete) / self.sent

    @property
    def thinned(self) -> int:
        """Frames that the node left out as it did not keep up."""
        return self.losses.get('target.thinned', 0)


def numbers(observed: Observed) -> Numbers:
    """The numbers of a run."""
    last = observed.results[-1]
    latencies_ms = latencies(observed.stamps_ns, last['complete'])
    percentiles = np.percentile(latencies_ms, (50, 99, 99.9)).tolist() if latencies_ms else [None] * 3
    return Numbers(
        len(observed.stamps_ns),
        len(latencies_ms),
        *percentiles,
        cpu_ms=observed.cpu_s * 1e3 / len(latencies_ms) if latencies_ms else None,
        rss_mib=observed.peak_rss_mib,
        late_p99_ms=float(np.percentile(observed.late_ns, 99)) * 1e-6,
        priority=observed.priority,
        busy=observed.busy,
        parts_ms=parts(observed.stamps_ns, observed.results),
        stages_ms=last.get('stages_ms', {}),
        losses=last.get('losses', {}),
        how=last.get('how', ''),
    )


def latencies(stamps_ns: Sequence[int], complete: Sequence[Sequence[int]]) -> list[float]:
    """Of each frame that was sent and complete, ms from its stamp; ``complete``: pairs of stamp and time."""
    complete_ns = dict(map(tuple, complete))
    return [(complete_ns[stamp] - stamp) * 1e-6 for stamp in stamps_ns if stamp in complete_ns]


def parts(stamps_ns: Sequence[int], results: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, float]]:
    """p50 and p99 of each part of the latency, ms, where messages say how they came.

    Of the message with which a frame is complete: ``publisher``, from the stamp to its writing; ``dds``, on to the
    subscriber's queue; ``executor``, on to the callback, taken and deserialized; ``work``, on to the result. With a
    consumer behind, the same of its message: ``out dds`` and ``out executor``.
    """
    measured, found = set(stamps_ns), {}
    for number, result in enumerate(results):
        complete_ns = dict(map(tuple, result['complete']))
        rows = [
            (source - stamp, received - source, called - received, complete_ns[stamp] - called)
            for stamp, source, received, called in result['arrivals']
            if stamp in measured
        ]
        if rows:
            p50, p99 = np.percentile(np.array(rows) * 1e-6, (50, 99), axis=0).tolist()
            names = ('', 'out dds', 'out executor', '') if number else ('publisher', 'dds', 'executor', 'work')
            found |= {name: (p50[i], p99[i]) for i, name in enumerate(names) if name}
    return found


def refusals(run: Numbers, tolerance: Tolerance) -> list[str]:
    """Why a run says nothing of its subject, each with its number; empty where it counts."""
    found = []
    if run.late_p99_ms > tolerance.late_ms:
        found.append(f'the player was late by p99 {run.late_p99_ms:.2f} ms (limit {tolerance.late_ms:g} ms)')
    if run.busy > tolerance.busy:
        found.append(f'other processes took {run.busy:.0%} of the CPUs (limit {tolerance.busy:.0%})')
    return found


def spread(values: Sequence[float | None]) -> Spread | None:
    """Median, least and greatest of what is there; None where nothing is."""
    known = [value for value in values if value is not None]
    return Spread(float(np.median(known)), min(known), max(known)) if known else None
