# SPDX-License-Identifier: Apache-2.0
"""A robot whose flight recorder is on, and files that are no records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.runtime import FRONT, IMU, LIDAR, Bench, cloud, image, imu, make

from robocache_core.config import PipelineConfig
from robocache_core.units import SECOND
from robocache_ros import record_file

CONFIG = PipelineConfig(lidars=(LIDAR,), cameras=(FRONT,), imus=(IMU,))


def robot(folder: Path, config: PipelineConfig = CONFIG, **settings: Any) -> Bench:
    """A runtime that records ten seconds, and writes them to ``folder``."""
    return make(config, record_ns=10 * SECOND, record_folder=folder, **settings)


def drive(bench: Bench, until_ms: int, *, since_ms: int = 0, without: tuple[str, ...] = ()) -> None:
    """Put in the messages of a stretch of time, but those of some streams, as their stamps say."""
    for ms in range(since_ms, until_ms, 10):
        bench.clock.advance(0.01)
        for name, period, message in (('imu', 10, imu), ('front', 50, image), ('lidar', 100, cloud)):
            if ms % period == 0 and name not in without:
                bench.put(name, message(ms))
        bench.work()


BROKEN = {
    'nothing': '',
    'no JSON': 'front: 3\n',
    'no object': '[1]\n',
    'nested': '[' * 100_000,
    'no header': '{"kind": "arrived"}\n',
    'another version': '{"kind": "header", "version": 99}\n',
    'a header without what is needed': '{"kind": "header", "version": 1}\n',
    'an unknown entry': '{GOOD}\n{"kind": ["x"], "steady_ns": 0}\n',
    'an entry without fields': '{GOOD}\n{"kind": "arrived", "steady_ns": 0}\n',
    'a field of another type': '{GOOD}\n{"kind": "dropped", "steady_ns": 0, "stamp_ns": "1", "reason": "late"}\n',
    'a target without a stamp': '{GOOD}\n{"kind": "dropped", "steady_ns": 0, "stamp_ns": null, "reason": "late"}\n',
    'a stream that is none': '{"kind": "header", "version": 1, "node": "", "cause": "", "blocker": "", "steady_ns": 0, '
    '"ros_time_ns": 0, "max_wait_ns": 0, "streams": {"front": 1}}\n',
    'a name that is none': '{GOOD}\n{"kind": "ready", "steady_ns": 0, "stamp_ns": 1, "epoch": 0, "given_up": [[1]], '
    '"picks": {}}\n',
    'picks of another form': '{GOOD}\n{"kind": "ready", "steady_ns": 0, "stamp_ns": 1, "epoch": 0, "given_up": [], '
    '"picks": {"front": [1]}}\n',
}
#: What the node adds to a header.
HEADER = {'ros_time_ns': 0, 'max_wait_ns': 0, 'blocker': '', 'streams': {}}


def write_broken(folder: Path, text: str) -> Path:
    path = folder / 'record.jsonl'
    good = json.dumps(
        {'kind': 'header', 'version': record_file.VERSION, 'node': '/n', 'cause': '', 'steady_ns': 0, **HEADER}
    )
    path.write_text(text.replace('{GOOD}', json.dumps(good)))
    return path
