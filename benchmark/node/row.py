# SPDX-License-Identifier: Apache-2.0
"""One row: a subject at a rate, over all runs that count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmark.node.goals import Verdict, all_met
from benchmark.node.statistics import Numbers, Spread, spread
from benchmark.row import VERDICTS


@dataclass(frozen=True)
class Row:
    """Numbers with their spread over the runs; None where there is no run that counts.

    Attributes:
        workload: the subject and the rate.
        subject: its name.
        rate_hz: of frames.
        runs: how many count.
        refused: of each run that does not count, however often it was tried, why.
        p50_ms: latency from the stamp to the complete result.
        p99_ms: of it.
        p999_ms: of it.
        sent: frames of all runs.
        complete: those whose result came.
        cpu_ms: CPU time a complete frame, of the subject's process alone.
        rss_mib: most memory of that process.
        late_p99_ms: of the player.
        priority: of the player: ``real-time``, or ``normal`` where no other is permitted.
        busy: what other processes took of the CPUs.
        parts_ms: medians over the runs of p50 and p99 of the parts of the latency.
        stages_ms: the same of the node's own stages.
        losses: of the node, by stream and reason, of all runs.
        how: what did it.
        verdicts: each goal with its number.
        goal: all goals in words, '' where the row has none.
        met: whether all are reached; None where one could not be judged.
    """

    workload: str
    subject: str
    rate_hz: float
    runs: int
    refused: list[str]
    p50_ms: Spread | None
    p99_ms: Spread | None
    p999_ms: Spread | None
    sent: int
    complete: int
    cpu_ms: Spread | None
    rss_mib: Spread | None
    late_p99_ms: Spread | None
    priority: str
    busy: Spread | None
    parts_ms: dict[str, list[float]]
    stages_ms: dict[str, list[float]]
    losses: dict[str, int]
    how: str
    verdicts: list[Verdict]
    goal: str
    met: bool | None

    @staticmethod
    def of(
        subject: str, rate_hz: float, runs: Sequence[Numbers], refused: Sequence[str], verdicts: Sequence[Verdict]
    ) -> Row:
        """A row of the runs that count."""

        def over_runs(quantity: str) -> Spread | None:
            return _rounded(spread([getattr(run, quantity) for run in runs]))

        return Row(
            workload=f'{subject} {rate_hz:g} Hz',
            subject=subject,
            rate_hz=rate_hz,
            runs=len(runs),
            refused=list(refused),
            p50_ms=over_runs('p50_ms'),
            p99_ms=over_runs('p99_ms'),
            p999_ms=over_runs('p999_ms'),
            sent=sum(run.sent for run in runs),
            complete=sum(run.complete for run in runs),
            cpu_ms=over_runs('cpu_ms'),
            rss_mib=over_runs('rss_mib'),
            late_p99_ms=over_runs('late_p99_ms'),
            priority=_distinct(run.priority for run in runs),
            busy=over_runs('busy'),
            parts_ms=_medians([run.parts_ms for run in runs]),
            stages_ms=_medians([run.stages_ms for run in runs]),
            losses=dict(sum((Counter(run.losses) for run in runs), Counter())),
            how=_distinct(run.how for run in runs),
            verdicts=list(verdicts),
            goal=', '.join(verdict.goal for verdict in verdicts),
            met=all_met(verdicts),
        )

    def as_json(self) -> dict[str, object]:
        """The row as it stands in the file."""
        spreads = {key: value._asdict() for key, value in vars(self).items() if isinstance(value, Spread)}
        return {**vars(self), **spreads, 'verdicts': [asdict(verdict) for verdict in self.verdicts]}

    def __str__(self) -> str:
        return '\n'.join([f'{self.workload:<17} {self._numbers()}', *self._details()])

    def _numbers(self) -> str:
        if not self.runs:
            return 'refused'
        columns = (('p50', self.p50_ms), ('p99', self.p99_ms), ('p99.9', self.p999_ms))
        latency = '  '.join(f'{name} {_shown(value)}' for name, value in columns)
        return (
            f'{latency} ms  {self.complete} of {self.sent} frames  CPU {_shown(self.cpu_ms)} ms  '
            f'RSS {_shown(self.rss_mib)} MiB'
        )

    def _details(self) -> list[str]:
        listed = (('parts', self.parts_ms), ('stages', self.stages_ms))
        lines = [f'{title}, p50/p99 ms: {_pairs(values)}' for title, values in listed if values]
        lines += ['dropped: ' + ', '.join(f'{n} {what}' for what, n in self.losses.items())] if self.losses else []
        lines += [f'by {self.how}'] if self.how else []
        lines += [
            f'[{VERDICTS[verdict.met]}: {verdict.goal}]' + ('' if verdict.value is None else f' is {verdict.value:.3g}')
            for verdict in self.verdicts
        ]
        lines += [f'refused {why}' for why in self.refused]
        return [f'    {line}' for line in lines]


def _distinct(words: Iterable[str]) -> str:
    return '; '.join(dict.fromkeys(words))


def _medians(runs: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """Of each name that a run has, the medians of its p50 and p99."""
    names = dict.fromkeys(name for run in runs for name in run)
    found = {}
    for name in names:
        pairs = [run[name] for run in runs if name in run]
        medians = [spread([pair[i] for pair in pairs]) for i in (0, 1)]
        found[name] = [float(f'{each.median:.4g}') for each in medians if each is not None]
    return found


def _rounded(value: Spread | None) -> Spread | None:
    return None if value is None else Spread(*(float(f'{each:.4g}') for each in value))


def _shown(value: Spread | None) -> str:
    if value is None:
        return '-'
    return f'{value.median:.4g}' if value.min == value.max else f'{value.median:.4g} ({value.min:.4g}–{value.max:.4g})'


def _pairs(values: dict[str, list[float]]) -> str:
    return '  '.join(f'{name} {p50:.3g}/{p99:.3g}' for name, (p50, p99) in values.items())
