# SPDX-License-Identifier: Apache-2.0
"""Hours of sensor time through inboxes, worker, pipeline, encoding and diagnostics, as fast as they go.

Clocks are set from the stamps. Once a minute each stream has a message that is cut short and one that comes twice;
every twenty minutes the stamps of all go back by ten seconds, as those of a bag that loops.

python -m benchmark.endurance.sensor_time HOURS
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmark.endurance import readings, robot
from robocache_core.frame import FusedFrame
from robocache_core.units import MS, SECOND
from robocache_ros import parameters
from robocache_ros.encode import encode_fused
from robocache_ros.event_log import EventLog
from robocache_ros.message import Serialized
from robocache_ros.metrics import Metrics
from robocache_ros.poses import BagPoses
from robocache_ros.runtime import Runtime, Surroundings
from robocache_ros.static_transforms import StaticTransforms
from robocache_ros.transform_buffer import TransformBuffer

_START_NS = 1_700_000_000 * SECOND
_NUM_READINGS = 200
#: Seconds after which the stamps go back by ten.
LOOP_S = 1200


class _Clock:
    """Stands still until it is set; ROS time goes with it."""

    now_ns = _START_NS

    def steady_ns(self) -> int:
        return self.now_ns


class _Failures(logging.Handler):
    """Keeps the first lines that say of an exception that nothing foresaw it."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if len(self.lines) < 3:
            self.lines.append(record.getMessage())


class Robot:
    """A runtime without a node and without a thread, and the messages of its sensors."""

    def __init__(self, params: Path) -> None:
        self._clock, self._messages = _Clock(), robot.Messages()
        self.frames = self.frame_bytes = self.put = 0
        config, _ = parameters.from_file(params)
        logger = logging.getLogger('endurance')
        self.failures = _Failures()
        logger.addHandler(self.failures)
        logger.propagate = False
        surroundings = Surroundings(
            name='preprocess',
            log=EventLog(logger, self._clock),
            timings_ns=0,
            record_ns=10 * SECOND,
            record_folder=params.parent,
            now_ns=self._clock.steady_ns,
            poses=lambda pipeline: BagPoses(TransformBuffer(StaticTransforms())),
            topics={stream.name: stream.topic for stream in config.streams()},
            types_on=lambda topic: [],
            published=dict,
            num_subscribers=lambda: 1,
            find_twin=lambda: '',
            hand_over=lambda frame: None,
            publish=self._publish,
            stays_on_device=lambda: False,
            send=lambda content: None,
        )
        metrics = Metrics([stream.name for stream in config.streams()], self._clock)
        self.runtime = Runtime(config, metrics, self._clock, surroundings)
        self.runtime.inboxes.open()

    def _publish(self, frame: FusedFrame, began_ns: int) -> None:
        self.frames += 1
        self.frame_bytes += len(encode_fused(frame))
        self.runtime.metrics.published(frame, 5 * MS)

    def live_second(self, at_s: int) -> None:
        """One second of all sensors, and a report."""
        base_ns = _START_NS - at_s // LOOP_S * 10 * SECOND
        for name, stamp_ns, raw in self._messages.between(at_s, at_s + 1, base_ns):
            self._clock.now_ns = max(self._clock.now_ns, _START_NS + stamp_ns - base_ns)
            self._take(name, raw)
            if at_s % 60 == 30 and stamp_ns % SECOND == 0:
                self._take(name, raw)
                self._take(name, raw[:20])
        self.runtime.diagnostics.report(active=True)

    def _take(self, name: str, raw: bytes) -> None:
        self.put += 1
        self.runtime.put(name, Serialized(raw))
        while len(self.runtime.inboxes) or self.runtime.pipeline.num_ready:
            self.runtime.worker.step(0.0)

    def assert_adds_up(self) -> None:
        """Nothing is unaccounted, what the ledger says is held counted one by one; and nothing has failed."""
        assert not self.failures.lines, self.failures.lines
        pipeline, levels, received = self.runtime.pipeline, self.runtime.inboxes.levels(), 0
        for name, account in pipeline.ledger.items():
            counts = account.counts()
            received += counts.received
            assert counts.held == pipeline.num_held(name) + levels[name].depth, (name, counts)
        assert received == self.put, (received, self.put)


def run(hours: float) -> dict[str, Any]:
    """Run; returns what came out, how fast, and what the process held."""
    with tempfile.TemporaryDirectory() as folder:
        params = Path(folder) / 'preprocess.yaml'
        robot.write_params(params)
        subject = Robot(params)
    seconds = max(8, round(hours * 3600))
    found, due, begin = [], 0.0, time.monotonic()
    for at_s in range(seconds):
        subject.live_second(at_s)
        if at_s >= due:
            due += seconds / _NUM_READINGS
            subject.assert_adds_up()
            found.append(readings.read(device_bytes=readings.device_bytes(subject.runtime.pipeline)))
    wall_s = time.monotonic() - begin
    pipeline = subject.runtime.pipeline
    result = {
        'sensor_hours': round(seconds / 3600, 3),
        'wall_s': round(wall_s, 1),
        'times_real_time': round(seconds / wall_s),
        'messages': subject.put,
        'frames': subject.frames,
        'frame_bytes': subject.frame_bytes,
        'epochs': pipeline.epoch,
        'targets_dropped': pipeline.targets.counts().dropped,
        'dropped': {name: account.counts().dropped for name, account in pipeline.ledger.items()},
        **readings.summary(found),
    }
    subject.runtime.close()
    return result


if __name__ == '__main__':
    print(json.dumps(run(float(sys.argv[1]))))
