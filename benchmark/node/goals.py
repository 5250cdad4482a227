# SPDX-License-Identifier: Apache-2.0
"""What the node has to reach, its consumer in another process or in its own, by the size of the host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.node.statistics import Numbers

#: A round: the numbers of each subject that was measured at one rate one after the other, without refused ones.
Round = Mapping[str, Numbers]
_WORDS = {'p50_ms': 'p50', 'p99_ms': 'p99', 'cpu_ms': 'CPU', 'lost': 'lost', 'thinned': 'thinned'}
#: Hosts of so many CPUs and fewer have goals of their own.
_FEW_CPUS = 4


@dataclass(frozen=True)
class Limit:
    """A number of ``subject`` is at most ``factor``, or ``factor`` times that of ``peer``, in the median of the rounds.

    Attributes:
        quantity: of ``Numbers``.
        factor: times the peer's; where there is no peer, the limit itself.
        peer: a subject.
        rate_hz: at which it is held; None: at every rate.
        subject: whose number it is.
    """

    quantity: str
    factor: float
    peer: str = ''
    rate_hz: float | None = None
    subject: str = 'node'

    def __str__(self) -> str:
        word = _WORDS[self.quantity]
        if not self.peer:
            return f'{word} ≤ {self.factor:g}'
        return (
            f'{word} ≤ {self.factor:g}× {self.peer}'
            if self.factor >= 1
            else f'{word} ≤ {self.peer} / {1 / self.factor:g}'
        )

    def measured(self, rounds: Sequence[Round]) -> float | None:
        """What is held against ``factor``; None where no round has all that it takes."""
        values = []
        for each in rounds:
            ours = getattr(each[self.subject], self.quantity) if self.subject in each else None
            if not self.peer:
                values.append(ours)
            elif ours is not None and self.peer in each and getattr(each[self.peer], self.quantity):
                values.append(ours / getattr(each[self.peer], self.quantity))
        known = [value for value in values if value is not None]
        return float(np.median(known)) if known else None


@dataclass(frozen=True)
class Verdict:
    """A limit with what was measured.

    Attributes:
        goal: the limit in words.
        value: what was measured: the ratio to the peer, or the number itself.
        met: whether it is reached; None where it was not measured.
    """

    goal: str
    value: float | None
    met: bool | None


MANY_CPUS = (
    Limit('p50_ms', 1.3, 'relay'),
    Limit('p99_ms', 1.6, 'relay'),
    Limit('cpu_ms', 3, 'bare'),
    Limit('cpu_ms', 1 / 15, 'usual'),
    Limit('lost', 0.01, rate_hz=40),
    Limit('p50_ms', 1.5, 'bare', subject='in_process'),
)
FEW_CPUS = (
    Limit('thinned', 0, rate_hz=10),
    Limit('p50_ms', 1.8, 'relay', rate_hz=10),
    Limit('p99_ms', 0.5, 'usual', rate_hz=10),
    Limit('cpu_ms', 0.5, 'usual', rate_hz=10),
)


def limits(num_cpus: int, rate_hz: float, subject: str) -> list[Limit]:
    """The limits of a subject on a host at a rate."""
    of_host = FEW_CPUS if num_cpus <= _FEW_CPUS else MANY_CPUS
    return [limit for limit in of_host if limit.subject == subject and limit.rate_hz in (None, rate_hz)]


def judge(held: Sequence[Limit], rounds: Sequence[Round]) -> list[Verdict]:
    """Hold the rounds against the limits."""
    verdicts = []
    for limit in held:
        value = limit.measured(rounds)
        verdicts.append(Verdict(str(limit), value, None if value is None else value <= limit.factor))
    return verdicts


def all_met(verdicts: Sequence[Verdict]) -> bool | None:
    """Whether all are: False where one is not, else None where one was not measured, or there is none."""
    met = [verdict.met for verdict in verdicts]
    if False in met:
        return False
    return True if met and None not in met else None
