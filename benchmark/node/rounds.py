# SPDX-License-Identifier: Apache-2.0
"""Runs until they count: the subjects one after the other, round after round, or up the rates."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmark.node import goals
from benchmark.node.processes import ProcessError
from benchmark.node.row import Row
from benchmark.node.statistics import Numbers, Tolerance, refusals

#: Runs one subject at a rate once; raises ``ProcessError`` where one of its processes fails.
Measure = Callable[[str, float], Numbers]
#: The most that may be lost at a peak rate.
PEAK_LOST = 0.01


@dataclass
class Campaign:
    """How runs are made and judged.

    Args:
        measure: runs a subject.
        tolerance: beyond it a run does not count.
        tries: how often a run is made until it counts.
        report: is given a line for each run.
        num_cpus: of the host, by which goals are chosen.
    """

    measure: Measure
    tolerance: Tolerance
    tries: int
    report: Callable[[str], None]
    num_cpus: int = field(default_factory=lambda: os.cpu_count() or 1)

    def rows(self, subjects: Sequence[str], rate_hz: float, num_rounds: int) -> list[Row]:
        """The rows of a rate: of each round all subjects, so that what is compared was measured together."""
        rounds: list[dict[str, Numbers]] = [{} for _ in range(num_rounds)]
        refused: dict[str, list[str]] = {subject: [] for subject in subjects}
        for number, counted in enumerate(rounds, start=1):
            for subject in subjects:
                numbers, why = self._until_it_counts(subject, rate_hz, number)
                refused[subject] += why
                if numbers is not None:
                    counted[subject] = numbers
        return [
            Row.of(
                subject,
                rate_hz,
                [counted[subject] for counted in rounds if subject in counted],
                refused[subject],
                goals.judge(goals.limits(self.num_cpus, rate_hz, subject), rounds),
            )
            for subject in subjects
        ]

    def peak(self, subject: str, rates_hz: Sequence[float]) -> dict[str, object]:
        """The highest of rising rates at which little is lost, and why no higher one counts."""
        highest, rows = None, []
        limited_by = 'the list of rates'
        for rate_hz in rates_hz:
            numbers, why = self._until_it_counts(subject, rate_hz, 1)
            rows.append(Row.of(subject, rate_hz, [numbers] if numbers else [], why, []).as_json())
            if numbers is None:
                limited_by = f'{rate_hz:g} Hz: refused'
                break
            if numbers.lost > PEAK_LOST:
                limited_by = f'{rate_hz:g} Hz: {numbers.lost:.1%} lost'
                break
            highest = rate_hz
        return {'subject': subject, 'peak_hz': highest, 'limited_by': limited_by, 'rows': rows}

    def _until_it_counts(self, subject: str, rate_hz: float, number: int) -> tuple[Numbers | None, list[str]]:
        """The numbers of a run that counts, None where none did; and why tries were refused."""
        refused = []
        for attempt in range(1, self.tries + 1):
            label = f'run {number}, try {attempt}'
            try:
                numbers = self.measure(subject, rate_hz)
            except ProcessError as error:  # it is made again, as one on a busy host is
                if attempt == self.tries:
                    raise
                self.report(f'{subject:<10} {rate_hz:>3g} Hz  {label}: {error}')
                refused.append(f'{label}: {str(error).partition("; the end of")[0]}')
                continue
            why = refusals(numbers, self.tolerance)
            seen = f'player late by p99 {numbers.late_p99_ms:.2f} ms, others took {numbers.busy:.0%} of the CPUs'
            self.report(f'{subject:<10} {rate_hz:>3g} Hz  {label}: ' + ('; '.join(why) or f'counts ({seen})'))
            if not why:
                return numbers, refused
            refused.append(f'{label}: {"; ".join(why)}')
        return None, refused
