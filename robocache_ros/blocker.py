# SPDX-License-Identifier: Apache-2.0
"""The one line that says why nothing comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from robocache_core.ledger import Reason
from robocache_core.pipeline import Pipeline
from robocache_core.units import SECOND
from robocache_ros.metrics import Metrics
from robocache_ros.period import Period, listed

#: Stamps of two streams that are further apart are of two clocks.
_CLOCKS_DIFFER_NS = SECOND


class Blocker:
    """Finds out why no frame came in a period; reads metrics, whose lock the caller holds.

    Args:
        pipeline: what its oldest target waits for.
        metrics: when messages arrived.
        topics: resolved topic and short message type by stream.
        types_on: returns the full message types of a topic's publishers.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        metrics: Metrics,
        topics: Mapping[str, tuple[str, str]],
        types_on: Callable[[str], list[str]],
    ) -> None:
        self._pipeline = pipeline
        self._metrics = metrics
        self._topics = topics
        self._types_on = types_on

    def describe(self, period: Period) -> str:
        """Return in one line why no frame came; empty where one did."""
        if period.num_frames > 0:
            return ''
        if period.num_failures > 0:
            return f'unforeseen exception: {self._metrics.last_failure}'
        behind, drops = self._pipeline.behind(), period.target_drops
        if not behind and not drops:
            trigger = self._pipeline.config.trigger
            names = [trigger] if trigger else list(self._pipeline.streams)
            return '; '.join(self._idle(name, behind, period) for name in names)
        missing = [name for cause, _, name in (reason.partition(':') for reason in drops) if cause == Reason.MISSING]
        summary = f'targets dropped: {listed(drops)}' if drops else f'the oldest target waits for {", ".join(behind)}'
        details = [self._idle(name, behind, period) for name in dict.fromkeys((*missing, *behind))]
        return f'{summary} ({"; ".join(details)})' if details else summary

    def silent(self, name: str) -> str:
        """Return why no message of a stream has come at all."""
        topic, kind = self._topics[name]
        if self._metrics.inputs[name].incompatible:
            return self._metrics.inputs[name].incompatible_text
        types = self._types_on(topic)
        if not types:
            return f'{name}: no publisher on {topic} ({kind})'
        others = sorted({found for found in types if found.rpartition('/')[2] != kind})
        if others:
            return f'{name}: {topic} carries {", ".join(others)}, not {kind}'
        return f'{name}: no message on {topic}, though it has {len(types)} publisher(s) of {kind}'

    def _idle(self, name: str, behind: Mapping[str, int | None], period: Period) -> str:
        """Say why a stream gives nothing to align."""
        silence = self._metrics.inputs[name].silence_ns(period.now_ns)
        if silence is None:
            return self.silent(name)
        if silence > SECOND:
            return f'{name}: no message for {silence / SECOND:.1f} s'
        newest, newest_of_all = self._pipeline.newest_ns(name), self._pipeline.newest_ns()
        age = None if newest is None or newest_of_all is None else newest_of_all - newest
        if age is not None and age > _CLOCKS_DIFFER_NS:
            ahead = next(n for n in self._pipeline.streams if self._pipeline.newest_ns(n) == newest_of_all)
            return f'the stamps of {name} are {age / SECOND:.1f} s behind those of {ahead}: one clock is wrong'
        # What was dropped with its target says nothing of the stream itself.
        losses = {r: n for r, n in period.drops(name).items() if ':' not in r and r != Reason.UNSELECTED}
        if losses:
            return f'{name}: dropped {listed(losses)}'
        lag = behind.get(name)
        if lag is not None and lag > 0:
            return f'{name}: is {lag / 1e6:.0f} ms behind'
        offset = '' if age is None else f', its newest is {age / 1e6:.0f} ms old'
        tolerance_ms = self._pipeline.streams[name].tolerance_ns / 1e6
        return f'{name}: nothing within its tolerance of {tolerance_ms:.0f} ms{offset}'
