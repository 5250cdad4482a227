# SPDX-License-Identifier: Apache-2.0
"""Rates, percentiles and latencies from the times of messages and frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from robocache_ros.tools.replay.collector import FrameRecord
from robocache_ros.tools.replay.player import SentLog


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
    from its last publication before the frame arrived. None where no such message was sent.
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
