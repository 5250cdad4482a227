# SPDX-License-Identifier: Apache-2.0
"""A robot's samples by milliseconds, for the tests that drive a pipeline with them."""

from __future__ import annotations

from collections.abc import Callable

import torch

from robocache_core.config import ImuConfig, LidarConfig, VoxelConfig
from robocache_core.frame import FusedFrame
from robocache_core.pipeline import Pipeline
from robocache_core.samples import CameraFrame, Sample
from robocache_core.units import MS, SECOND

T0 = 1_000 * SECOND
VOXEL = VoxelConfig(size=(1.0, 1.0, 1.0), lower=(-4.0, -4.0, -4.0), upper=(4.0, 4.0, 4.0), channels=('count', 'mean:z'))
IMU = ImuConfig('imu', window_size=3, window_period_ns=10 * MS)


def lidar(**changes) -> LidarConfig:
    return LidarConfig('lidar', **{'voxel': VOXEL, 'min_range': 0.0} | changes)


def image(stamp_ns: int, encoding: str = 'rgb8') -> CameraFrame:
    return CameraFrame(stamp_ns, 'front', torch.full((24,), 128, dtype=torch.uint8), encoding, 4, 2, 12)


class Robot:
    """Makes the samples of each stream from their stamps, and pushes them as a node does.

    Args:
        make: by stream, its sample at a stamp.
    """

    def __init__(self, **make: Callable[..., Sample]) -> None:
        self._make = make

    def push(self, pipeline: Pipeline, name: str, ms: int, *args: object) -> None:
        """Push the sample of ``ms`` after T0; ``args`` are for who makes it."""
        pipeline.receive(name)
        pipeline.push(name, self._make[name](T0 + ms * MS, *args))

    def feed(self, pipeline: Pipeline, *events: tuple) -> list[FusedFrame]:
        """Push ``(stream, ms, ...)`` events; return the frames."""
        frames = []
        for event in events:
            self.push(pipeline, *event)
            frames += pipeline.poll()
        return frames


def assert_ledger(pipeline: Pipeline) -> None:
    """What the accounts say is open, of samples and of targets, is what is held, counted one by one."""
    for name, account in pipeline.ledger.items():
        counts = account.counts()
        assert counts.held == pipeline.num_held(name), (name, counts)
        assert min(counts.received, counts.used, counts.held, *counts.dropped.values(), 0) == 0
    assert pipeline.targets.counts().held == pipeline.num_held_targets, pipeline.targets.counts()
