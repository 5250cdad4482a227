# SPDX-License-Identifier: Apache-2.0
"""The node's state as of one instant, as another thread than the worker reads it."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass

import robocache_ros
from robocache_core.units import SECOND
from robocache_ros import dds_environment
from robocache_ros.blocker import Fault
from robocache_ros.durations import Histogram
from robocache_ros.inbox import Level
from robocache_ros.metrics import InputRecord
from robocache_ros.period import Snapshot
from robocache_ros.runtime import Runtime

#: What ``Reading.build`` states.
BUILD = ('version', 'ros_distro', 'backend', 'device')


@dataclass(frozen=True)
class InputReading:
    """What was observed of one topic; as ``InputRecord`` has it."""

    lost: int
    missing_by_stamps: int
    incompatible: int
    delay_s: float | None
    transports: Histogram
    waits: Histogram

    @classmethod
    def take(cls, record: InputRecord) -> InputReading:
        """Read a record; the caller holds the lock of its ``Metrics``."""
        return cls(
            lost=record.lost,
            missing_by_stamps=record.gaps.missing,
            incompatible=record.incompatible,
            delay_s=None if record.delay_ns is None else record.delay_ns / SECOND,
            transports=record.transports.histogram(),
            waits=record.waits.histogram(),
        )


@dataclass(frozen=True)
class Reading:
    """A node's state as of one instant; of ``memory`` and ``faults`` as of its last report.

    Attributes:
        snapshot: all counters.
        inputs: by stream, what was observed of its topic.
        inboxes: by stream, how full its inbox is.
        points_dropped: by stream and reason.
        stages: by stage, how long it took.
        latencies: from a frame's stamp to its publication.
        frames_untraced: frames that were published, and not traced though they should be.
        num_waiting: targets that wait.
        saturation: the same of those that may, 0..1.
        keep_every: one target in this many is kept.
        epoch: number of jumps of time.
        is_active: whether the worker runs.
        memory: by kind, bytes of the device's memory.
        faults: what keeps frames from coming.
        build: what ``BUILD`` names.
    """

    snapshot: Snapshot
    inputs: Mapping[str, InputReading]
    inboxes: Mapping[str, Level]
    points_dropped: Mapping[str, Mapping[str, int]]
    stages: Mapping[str, Histogram]
    latencies: Histogram
    frames_untraced: int
    num_waiting: int
    saturation: float
    keep_every: int
    epoch: int
    is_active: bool
    memory: Mapping[str, int]
    faults: tuple[Fault, ...]
    build: tuple[str, ...]

    @classmethod
    def take(cls, runtime: Runtime) -> Reading:
        """Read a runtime, on any thread: nothing is changed, and the locks are held for copies alone."""
        pipeline, metrics, worker = runtime.pipeline, runtime.metrics, runtime.worker
        device = pipeline.device
        with metrics.lock, runtime.inboxes.still():
            return cls(
                snapshot=Snapshot.take(pipeline, metrics),
                inputs={name: InputReading.take(record) for name, record in metrics.inputs.items()},
                inboxes=runtime.inboxes.levels(),
                points_dropped=pipeline.points_dropped.copy(),
                stages={stage: durations.histogram() for stage, durations in metrics.stages.items()},
                latencies=metrics.latencies.histogram(),
                frames_untraced=metrics.frames_untraced,
                num_waiting=worker.num_waiting,
                saturation=worker.saturation,
                keep_every=worker.backpressure.keep_every,
                epoch=pipeline.epoch,
                is_active=worker.is_alive,
                memory=runtime.diagnostics.memory,
                faults=runtime.diagnostics.blockage.faults,
                build=(*_installed(), device.backend.name, str(device)),
            )


@functools.cache
def _installed() -> tuple[str, str]:
    return robocache_ros.__version__, dds_environment.distro(os.environ)
