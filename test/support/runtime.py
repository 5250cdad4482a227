# SPDX-License-Identifier: Apache-2.0
"""A runtime without a node: a clock that a test sets, a logger that keeps its lines, and messages to put in."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image, Imu, PointCloud2, PointField
from std_msgs.msg import Header

from robocache_core.config import CameraConfig, ImuConfig, LidarConfig, PipelineConfig, VoxelConfig
from robocache_core.ledger import Reason
from robocache_core.pipeline import Pipeline
from robocache_core.samples import DataError
from robocache_core.units import MS, SECOND
from robocache_ros.event_log import EventLog
from robocache_ros.message import Serialized
from robocache_ros.metrics import Metrics
from robocache_ros.poses import SensorPose
from robocache_ros.runtime import Runtime, Surroundings

START_NS = 1_700_000_000 * SECOND
BOX = VoxelConfig(size=(1.0, 1.0, 1.0), lower=(-8.0, -8.0, -8.0), upper=(8.0, 8.0, 8.0), channels=('count', 'mean:z'))
LIDAR = LidarConfig('lidar', topic='/lidar', voxel=BOX)
FRONT = CameraConfig('front', topic='/front', width=4, height=4, dtype='float32')
IMU = ImuConfig('imu', topic='/imu', window_size=3, window_period_ns=10 * MS)


class SetClock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now_ns = 1_000 * SECOND

    def steady_ns(self) -> int:
        return self.now_ns

    def advance(self, seconds: float) -> None:
        self.now_ns += round(seconds * SECOND)


class Lines:
    """A logger that keeps its lines as ``(level, text)``."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def info(self, message: str) -> None:
        self.lines.append(('info', message))

    def warning(self, message: str) -> None:
        self.lines.append(('warning', message))

    def error(self, message: str) -> None:
        self.lines.append(('error', message))

    def fatal(self, message: str) -> None:
        self.lines.append(('fatal', message))

    def of(self, level: str) -> list[str]:
        return [text for each, text in self.lines if each == level]


class NoPoses:
    """Knows no pose."""

    def pose(self, frame_id: str, target: str, stamp_ns: int) -> SensorPose:
        raise DataError(Reason.NO_TRANSFORM, f'{frame_id} in {target}')

    def clear(self) -> None:
        return


@dataclass
class Bench:
    """A runtime, and all that surrounds it."""

    runtime: Runtime
    clock: SetClock
    log: Lines
    frames: list[Any] = field(default_factory=list)
    sent: list[Any] = field(default_factory=list)
    #: Full message types of the publishers of each topic.
    types: dict[str, list[str]] = field(default_factory=dict)
    #: Who else publishes on the fused topic.
    twin: str = ''

    def put(self, name: str, *messages: Any) -> None:
        for message in messages:
            self.runtime.put(name, Serialized(serialize_message(message)))

    def work(self) -> None:
        """Take the worker's steps until nothing waits in the inboxes and no target is ready."""
        while len(self.runtime.inboxes) or self.runtime.pipeline.num_ready:
            self.runtime.worker.step(0.0)
        self.runtime.worker.step(0.0)

    def report(self, *, active: bool = True) -> dict[str, Any]:
        """Statuses by task."""
        report = self.runtime.diagnostics.report(active=active)
        return {status.name.removeprefix('preprocess: '): status for status in report.status}


def make(
    config: PipelineConfig,
    poses: Callable[[Pipeline], Any] = lambda pipeline: NoPoses(),
    *,
    log_format: str = 'text',
    timings_ns: int = 0,
    record_ns: int = 0,
    record_folder: Path = Path('/nowhere'),
) -> Bench:
    """A runtime whose inboxes are open and whose worker has no thread: ``work`` takes its steps."""
    clock, log, found = SetClock(), Lines(), []
    surroundings = Surroundings(
        name='preprocess',
        log=EventLog(log, clock, style=log_format),
        timings_ns=timings_ns,
        record_ns=record_ns,
        record_folder=record_folder,
        now_ns=lambda: START_NS + clock.now_ns - 1_000 * SECOND,
        poses=poses,
        topics={stream.name: stream.topic for stream in config.streams()},
        types_on=lambda topic: found[0].types.get(topic, []),
        published=lambda: found[0].types,
        num_subscribers=lambda: 1,
        find_twin=lambda: found[0].twin,
        hand_over=lambda frame: None,
        publish=lambda frame, began_ns: publish(found[0], frame),
        stays_on_device=lambda: False,
        send=lambda content: found[0].sent.append(content),
    )
    metrics = Metrics([stream.name for stream in config.streams()], clock)
    found.append(Bench(Runtime(config, metrics, clock, surroundings), clock, log))
    found[0].runtime.inboxes.open()
    return found[0]


def publish(bench: Bench, frame: Any) -> None:
    bench.frames.append(frame)
    bench.runtime.metrics.published(frame, 5 * MS)


def assert_adds_up(runtime: Runtime) -> None:
    """Nothing is lost: what the ledger says is held is counted one by one in inboxes, buffers and queues."""
    pipeline, levels = runtime.pipeline, runtime.inboxes.levels()
    for name, account in pipeline.ledger.items():
        counts = account.counts()
        held = levels[name].depth + pipeline.num_held(name)
        assert counts.received == counts.used + sum(counts.dropped.values()) + held, (name, counts, held)
    targets = pipeline.targets.counts()
    held = pipeline.num_held_targets
    assert targets.received == targets.used + sum(targets.dropped.values()) + held, (targets, held)


def header(ms: int, frame_id: str = 'sensor') -> Header:
    message = Header(frame_id=frame_id)
    message.stamp.sec, message.stamp.nanosec = divmod(START_NS + ms * MS, SECOND)
    return message


def cloud(ms: int, frame_id: str = 'lidar') -> PointCloud2:
    fields = [PointField(name=name, offset=4 * i, datatype=7, count=1) for i, name in enumerate('xyz')]
    data = struct.pack('<3f', 1.0, 2.0, 0.5)
    return PointCloud2(
        header=header(ms, frame_id), height=1, width=1, fields=fields, point_step=12, row_step=12, data=data
    )


def image(ms: int, encoding: str = 'bgr8') -> Image:
    return Image(header=header(ms), height=4, width=4, step=12, encoding=encoding, data=bytes(48))


def imu(ms: int, frame_id: str = 'imu') -> Imu:
    return Imu(header=header(ms, frame_id))
