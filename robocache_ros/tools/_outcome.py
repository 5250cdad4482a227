# SPDX-License-Identifier: Apache-2.0
"""What a replay showed: ``summary`` (the key figures) and ``series`` (everything over time, for the report)."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from robocache_ros.tools._bag import Bag
from robocache_ros.tools._collector import Collector, Diagnostics, FrameRecord, Status
from robocache_ros.tools._player import Player, SentLog

_DROPPED = 'dropped.'


def percentiles(values: Sequence[float] | npt.NDArray[np.float64]) -> dict[str, float | None]:
    """``p50`` and ``p99`` of ``values``, to 3 decimals; None where there are none."""
    if len(values) == 0:
        return {'p50': None, 'p99': None}
    p50, p99 = np.percentile(np.asarray(values, np.float64), (50, 99))
    return {'p50': round(float(p50), 3), 'p99': round(float(p99), 3)}


def rate_hz(times_ns: Sequence[int]) -> float:
    """Events a second between the first and the last of ``times_ns``; 0 for fewer than two."""
    if len(times_ns) < 2 or times_ns[-1] <= times_ns[0]:
        return 0.0
    return round((len(times_ns) - 1) * 1e9 / (times_ns[-1] - times_ns[0]), 3)


def latencies_ms(frames: Sequence[FrameRecord], sent: Mapping[str, SentLog], trigger: str) -> list[float | None]:
    """For each frame, ms from the publication of its trigger message to its arrival.

    ``trigger`` is the topic whose stamps are the targets. Without one (targets at a fixed rate) the newest message
    stamped at or before the target takes its place. A stamp that was sent more than once (the bag was looped) counts
    from its last publication before the frame came. None where no such message was sent.
    """
    logs = [sent[trigger]] if trigger in sent else list(sent.values())
    stamps = np.concatenate([np.asarray(log.stamp_ns, np.int64) for log in logs] or [np.empty(0, np.int64)])
    times = np.concatenate([np.asarray(log.sent_ns, np.int64) for log in logs] or [np.empty(0, np.int64)])
    result: list[float | None] = []
    for frame in frames:
        fits = (times <= frame.received_ns) & (
            (stamps == frame.stamp_ns) if trigger in sent else (stamps <= frame.stamp_ns)
        )
        if not fits.any():
            result.append(None)
            continue
        newest = stamps[fits].max()
        result.append(float(frame.received_ns - times[fits & (stamps == newest)].max()) / 1e6)
    return result


def ledger(statuses: Mapping[str, Status]) -> dict[str, dict[str, Any]]:
    """``received``, ``used``, ``held`` and ``dropped`` by reason of every input in a /diagnostics message."""
    streams = {}
    for name, status in statuses.items():
        if name.startswith('input '):
            values = status.values
            streams[name.removeprefix('input ')] = {
                **{key: int(values.get(key, 0)) for key in ('received', 'used', 'held')},
                'dropped': {
                    key.removeprefix(_DROPPED): int(value)
                    for key, value in values.items()
                    if key.startswith(_DROPPED) and int(value)
                },
            }
    return streams


def unbalanced(streams: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line for every stream whose messages are not all accounted for."""
    lines = []
    for name, s in streams.items():
        dropped = sum(s['dropped'].values())
        if s['received'] != s['used'] + s['held'] + dropped:
            lines.append(
                f'the ledger of {name} does not add up: received {s["received"]} is not used {s["used"]} '
                f'+ held {s["held"]} + dropped {dropped}'
            )
    return lines


def summarize(
    bag: Bag,
    player: Player,
    collector: Collector,
    *,
    topics: Mapping[str, str],
    trigger: str,
    fixed_rate_hz: float,
    ended_ns: int,
    settings: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Condense a replay.

    Args:
        bag: what was played.
        player: what was sent.
        collector: what came back.
        topics: topic of every stream, by name.
        trigger: name of the trigger stream; empty for targets at ``fixed_rate_hz``.
        fixed_rate_hz: see ``trigger``.
        ended_ns: steady time of the last message; what blocked after it is only that nothing comes any more.
        settings: how it was played; goes into the summary as it is.

    Returns:
        ``summary``, whose first keys are ``frames``, ``trigger_rate_hz``, ``fused_rate_hz``, ``backend``, ``streams``
        and ``latency_ms``; and ``series``.
    """
    frames = collector.frames
    last = collector.diagnostics[-1] if collector.diagnostics else Diagnostics(0)
    streams = ledger(last.statuses)
    latency = latencies_ms(frames, player.sent, topics.get(trigger, ''))
    trigger_log = player.sent.get(topics.get(trigger, ''), SentLog())
    names = sorted({name for frame in frames for name in frame.age_ns} | set(topics))
    stages = sorted({stage for frame in frames for stage in frame.latency_ns})
    age = {n: [f.age_ns[n] / 1e6 if n in f.age_ns else None for f in frames] for n in names}
    stage_ms = {s: [f.latency_ns[s] / 1e6 if s in f.latency_ns else None for f in frames] for s in stages}
    late_ms = np.asarray(player.late_ns, np.float64) / 1e6
    compute = last.statuses.get('compute', Status(0, '', {})).values
    summary: dict[str, Any] = {
        'frames': len(frames),
        'trigger_rate_hz': rate_hz(trigger_log.sent_ns) if trigger else fixed_rate_hz,
        'fused_rate_hz': rate_hz([frame.received_ns for frame in frames]),
        'backend': compute.get('backend', ''),
        'streams': streams,
        'latency_ms': percentiles(_known(latency)),
        'targets': _targets(last.statuses),
        'trigger': trigger,
        'sha256': hashlib.sha256(''.join(frame.digest for frame in frames).encode()).hexdigest(),
        'epochs': len({frame.epoch for frame in frames}),
        'age_ms': {name: percentiles(_known(values)) for name, values in age.items()},
        'valid': {name: sum(frame.valid.get(name, False) for frame in frames) for name in names},
        'stage_ms': {stage: percentiles(_known(values)) for stage, values in stage_ms.items()},
        'published': {name: len(player.sent[topic].sent_ns) for name, topic in topics.items() if topic in player.sent},
        'topics': dict(topics),
        'lost': {'fused': collector.missed},
        'blocker': _blocker(collector.diagnostics, ended_ns),
        'backend_reason': compute.get('reason', ''),
        'device': compute.get('device', ''),
        'device_reason': compute.get('device_reason', ''),
        'device_fault': compute.get('device_fault', ''),
        'player_late_ms': {**percentiles(late_ms), 'max': round(float(late_ms.max()), 3) if len(late_ms) else None},
        'bag': {
            'path': str(bag.path),
            'seconds': round(bag.duration_s, 3),
            'messages': bag.count,
            'skipped': dict(player.skipped),
        },
        'settings': dict(settings),
    }
    for name, stream in streams.items():
        lost = summary['published'].get(name, stream['received']) - stream['received']
        if lost:
            summary['lost'][name] = lost
    origin = min((log.sent_ns[0] for log in player.sent.values() if log.sent_ns), default=0)
    series = {
        'frames': {
            't_s': _seconds([f.received_ns for f in frames], origin),
            'stamp_ns': [f.stamp_ns for f in frames],
            'epoch': [f.epoch for f in frames],
            'nbytes': [f.nbytes for f in frames],
            'latency_ms': latency,
            'age_ms': age,
            'stage_ms': stage_ms,
        },
        'ended_s': (ended_ns - origin) / 1e9,
        'trigger_t_s': _seconds(list(trigger_log.sent_ns), origin),
        'diagnostics': [
            {
                't_s': (d.received_ns - origin) / 1e9,
                'statuses': {name: dataclasses.asdict(status) for name, status in d.statuses.items()},
            }
            for d in collector.diagnostics
        ],
    }
    return summary, series


def problems(summary: Mapping[str, Any]) -> list[str]:
    """What makes a replay a failure: no frame, or messages that are not accounted for."""
    found = []
    if summary['frames'] == 0:
        found.append(f'no fused frame came. {summary["blocker"] or "The node gave no diagnostics that say why."}')
    if not summary['streams']:
        found.append('the node sent no /diagnostics: there is no ledger')
    return found + unbalanced(summary['streams'])


def warnings(summary: Mapping[str, Any]) -> list[str]:
    """What a user should know, though the replay did work."""
    found = [
        f'{count} of {summary["published"].get(name, "the")} messages of {name} were lost between player and node'
        for name, count in summary['lost'].items()
        if name != 'fused'
    ]
    if summary['lost']['fused']:
        found.append(f'{summary["lost"]["fused"]} fused frames were lost between node and replay')
    if summary['device_fault']:
        found.append(f'frames were computed on the CPU: {summary["device_fault"]}')
    late = summary['player_late_ms']['p99']
    if late is not None and late > 10.0:
        found.append(f'the player itself was late (p99 {late:.1f} ms): latencies include waits of this machine')
    return found


def notes(summary: Mapping[str, Any]) -> list[str]:
    """What is worth knowing and harmless."""
    skipped = [f'{topic} ({kind})' for topic, kind in summary['bag']['skipped'].items()]
    return [f'not played, as its message type is not installed here: {", ".join(skipped)}'] if skipped else []


def _targets(statuses: Mapping[str, Status]) -> dict[str, Any]:
    """What became of the targets: the node's own count, by reason."""
    values = statuses.get('sync', Status(0, '', {})).values
    return {
        'targets': int(values.get('targets', 0)),
        'emitted': int(values.get('emitted', 0)),
        'pending': int(values.get('pending', 0)),
        'dropped': {
            key.removeprefix(_DROPPED): int(value)
            for key, value in values.items()
            if key.startswith(_DROPPED) and int(value)
        },
    }


def _blocker(diagnostics: Sequence[Diagnostics], ended_ns: int) -> str:
    """The newest reason why no frame came that the node gave while the bag was played; empty where it gave none."""
    during = [d for d in diagnostics if d.received_ns <= ended_ns] or list(diagnostics)
    lines = [d.statuses['sync'].values.get('blocker', '') for d in during if 'sync' in d.statuses]
    return next((line for line in reversed(lines) if line), '')


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _seconds(times_ns: Sequence[int], origin_ns: int) -> list[float]:
    return [round((t - origin_ns) / 1e9, 6) for t in times_ns]
