# SPDX-License-Identifier: Apache-2.0
"""The outcome of a replay: ``summarize`` gives the key figures, ``series`` everything over time, for the report."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from robocache_core.config import PipelineConfig
from robocache_ros.bags import Bag
from robocache_ros.prevailing import prevailing
from robocache_ros.sources import routes
from robocache_ros.tools.replay.collector import Diagnostics, FrameRecord, Status
from robocache_ros.tools.replay.figures import latencies_ms, percentiles, rate_hz
from robocache_ros.tools.replay.player import SentLog

_DROPPED, _GIVEN_UP, _SLOW = 'dropped.', 'given_up.', 'slow.'
_WARN = 1  # DiagnosticStatus.WARN, as a number
_NOTHING = Status(0, '', {})

#: A value for each frame; None where it has none.
Values = list[float | None]


@dataclass(frozen=True)
class Recording:
    """All that was recorded while a bag was played; steady times in ns.

    Attributes:
        bag: what was played.
        config: the node's configuration.
        sent: what was published, by topic of the configuration.
        late_ns: see ``Player``.
        skipped: see ``Player``.
        unsent: see ``Player``.
        unread: see ``Player``.
        frames: the fused frames that arrived.
        missed: fused frames that were sent and did not arrive.
        diagnostics: the node's /diagnostics.
        ended_ns: time of the last message that was sent; from then on the node waits for messages in vain.
        settings: how the bag was played.
    """

    bag: Bag
    config: PipelineConfig
    sent: Mapping[str, SentLog]
    late_ns: Sequence[int]
    skipped: Mapping[str, str]
    unsent: Mapping[str, int]
    unread: Sequence[str]
    frames: Sequence[FrameRecord]
    missed: int
    diagnostics: Sequence[Diagnostics]
    ended_ns: int
    settings: Mapping[str, Any]

    @cached_property
    def topics(self) -> dict[str, str]:
        """Topic of every stream, by its name."""
        return {route.stream.name: route.absolute_topic for route in routes(self.config) if not route.is_calibration}

    @property
    def trigger_topic(self) -> str:
        """Topic of the trigger; empty where targets come at a fixed rate."""
        return self.topics.get(self.config.trigger, '')

    @property
    def trigger_sent_ns(self) -> Sequence[int]:
        """When the trigger's messages were sent."""
        return self.sent.get(self.trigger_topic, SentLog()).sent_ns

    @property
    def statuses(self) -> Mapping[str, Status]:
        """The node's last statuses, by name."""
        return self.diagnostics[-1].statuses if self.diagnostics else {}

    @cached_property
    def closing(self) -> Diagnostics:
        """The report that covers the end of the bag: the first one behind its last message that has counted them all.

        Earlier ones do not know the last messages, later ones say that none come any more.
        """
        total = _received(self.diagnostics[-1]) if self.diagnostics else {}
        later = (d for d in self.diagnostics if d.received_ns > self.ended_ns and _received(d) == total)
        return next(later, self.diagnostics[-1] if self.diagnostics else Diagnostics(self.ended_ns))

    @cached_property
    def blocker(self) -> str:
        """Why no frame came while messages did; where none arrived, what the closing report says."""
        return self._prevailing(_blocker) or _blocker(self.closing)

    @cached_property
    def sync_warning(self) -> str:
        """What was wrong with the alignment though frames came."""
        return self._prevailing(_sync_warning)

    def _prevailing(self, text: Callable[[Diagnostics], str]) -> str:
        """Of a text of each report, see ``prevailing``."""
        reports = [(d, sum(received.values())) for d in self.diagnostics if (received := _received(d))]
        totals = itertools.pairwise([0, *(total for _, total in reports)])
        return prevailing((text(d), total - before) for (d, _), (before, total) in zip(reports, totals, strict=True))

    @cached_property
    def latency_ms(self) -> Values:
        """See ``latencies_ms``."""
        return latencies_ms(self.frames, self.sent, self.trigger_topic)

    @cached_property
    def age_ms(self) -> dict[str, Values]:
        """Target minus stamp of the sample that was used, by stream."""
        names = sorted({name for frame in self.frames for name in frame.age_ns} | set(self.topics))
        return {name: [_ms(frame.age_ns, name) for frame in self.frames] for name in names}

    @cached_property
    def stage_ms(self) -> dict[str, Values]:
        """Duration of every stage of the computation, by its name."""
        stages = sorted({stage for frame in self.frames for stage in frame.latency_ns})
        return {stage: [_ms(frame.latency_ns, stage) for frame in self.frames] for stage in stages}


def summarize(recording: Recording) -> dict[str, Any]:
    """The key figures of a replay.

    The first keys are ``frames``, ``trigger_rate_hz``, ``fused_rate_hz``, ``backend``, ``streams`` and ``latency_ms``.
    """
    r, frames = recording, recording.frames
    streams = ledger(r.statuses)
    published = {name: len(r.sent[topic].sent_ns) for name, topic in r.topics.items() if topic in r.sent}
    compute = r.statuses.get('compute', _NOTHING).values
    return {
        'frames': len(frames),
        'trigger_rate_hz': rate_hz(r.trigger_sent_ns) if r.config.trigger else r.config.sync.rate_hz,
        'fused_rate_hz': rate_hz([frame.received_ns for frame in frames]),
        'backend': compute.get('backend', ''),
        'streams': streams,
        'latency_ms': _spread(r.latency_ms),
        'targets': _targets(r.statuses),
        'trigger': r.config.trigger,
        'sha256': hashlib.sha256(''.join(frame.digest for frame in frames).encode()).hexdigest(),
        'epochs': len({frame.epoch for frame in frames}),
        'age_ms': {name: _spread(values) for name, values in r.age_ms.items()},
        'valid': {name: sum(frame.valid.get(name, False) for frame in frames) for name in r.age_ms},
        'stage_ms': {stage: _spread(values) for stage, values in r.stage_ms.items()},
        'published': published,
        'topics': dict(r.topics),
        'lost': {'fused': r.missed} | _lost(streams, published),
        'blocker': r.blocker,
        'sync_warning': r.sync_warning,
        'slow': _slow(r.statuses),
        **{key: compute.get(key, '') for key in ('device', 'device_reason', 'device_fault')},
        'backend_reason': compute.get('reason', ''),
        'player_late_ms': _lateness(r.late_ns),
        'bag': {
            'path': str(r.bag.path),
            'seconds': round(r.bag.duration_s, 3),
            'messages': r.bag.count,
            'defects': [*r.bag.defects, *r.unread],
            'skipped': dict(r.skipped),
            'unsent': dict(r.unsent),
        },
        'settings': dict(r.settings),
    }


def series(recording: Recording) -> dict[str, Any]:
    """Every frame and every /diagnostics over time; ``t_s`` counts from the first message that was sent."""
    frames = recording.frames
    origin = min((log.sent_ns[0] for log in recording.sent.values() if log.sent_ns), default=0)
    return {
        'frames': {
            't_s': _seconds([f.received_ns for f in frames], origin),
            'stamp_ns': [f.stamp_ns for f in frames],
            'epoch': [f.epoch for f in frames],
            'nbytes': [f.nbytes for f in frames],
            'latency_ms': recording.latency_ms,
            'age_ms': recording.age_ms,
            'stage_ms': recording.stage_ms,
        },
        'closing_s': (recording.closing.received_ns - origin) / 1e9,
        'trigger_t_s': _seconds(recording.trigger_sent_ns, origin),
        'diagnostics': [
            {
                't_s': (d.received_ns - origin) / 1e9,
                'statuses': {name: dataclasses.asdict(status) for name, status in d.statuses.items()},
            }
            for d in recording.diagnostics
        ],
    }


def ledger(statuses: Mapping[str, Status]) -> dict[str, dict[str, Any]]:
    """``received``, ``used``, ``held`` and ``dropped`` by reason of every input in a /diagnostics message."""
    return {
        name.removeprefix('input '): {
            **{key: int(status.values.get(key, 0)) for key in ('received', 'used', 'held')},
            'dropped': _counts(status.values, _DROPPED),
        }
        for name, status in statuses.items()
        if name.startswith('input ')
    }


def _blocker(diagnostics: Diagnostics) -> str:
    return diagnostics.statuses.get('sync', _NOTHING).values.get('blocker', '')


def _sync_warning(diagnostics: Diagnostics) -> str:
    sync = diagnostics.statuses.get('sync', _NOTHING)
    return sync.message if sync.level == _WARN else ''


def _received(diagnostics: Diagnostics) -> dict[str, int]:
    return {name: stream['received'] for name, stream in ledger(diagnostics.statuses).items()}


def _targets(statuses: Mapping[str, Status]) -> dict[str, Any]:
    """The node's count of its targets, of those dropped by reason, and of those that did not wait by stream."""
    values = statuses.get('sync', _NOTHING).values
    counts = {key: int(values.get(key, 0)) for key in ('targets', 'emitted', 'pending')}
    return {**counts, 'dropped': _counts(values, _DROPPED), 'given_up': _counts(values, _GIVEN_UP)}


def _slow(statuses: Mapping[str, Status]) -> dict[str, str]:
    """What the node says of streams that are too slow to be waited for, by stream."""
    values = statuses.get('sync', _NOTHING).values
    return {key.removeprefix(_SLOW): value for key, value in values.items() if key.startswith(_SLOW)}


def _counts(values: Mapping[str, str], prefix: str) -> dict[str, int]:
    """The counts under a prefix that are not 0."""
    return {
        key.removeprefix(prefix): int(value) for key, value in values.items() if key.startswith(prefix) and int(value)
    }


def _lost(streams: Mapping[str, Mapping[str, Any]], published: Mapping[str, int]) -> dict[str, int]:
    """Messages that were sent and that the node did not receive, by stream; only streams that lost any."""
    lost = {name: published.get(name, stream['received']) - stream['received'] for name, stream in streams.items()}
    return {name: count for name, count in lost.items() if count}


def _lateness(late_ns: Sequence[int]) -> dict[str, float | None]:
    late_ms = np.asarray(late_ns, np.float64) / 1e6
    return {**percentiles(late_ms), 'max': round(float(late_ms.max()), 3) if len(late_ms) else None}


def _spread(values: Sequence[float | None]) -> dict[str, float | None]:
    return percentiles([value for value in values if value is not None])


def _ms(times_ns: Mapping[str, int], key: str) -> float | None:
    return times_ns[key] / 1e6 if key in times_ns else None


def _seconds(times_ns: Sequence[int], origin_ns: int) -> list[float]:
    return [round((t - origin_ns) / 1e9, 6) for t in times_ns]
