# SPDX-License-Identifier: Apache-2.0
"""The points of the scans in a frame on a GPU: those of the CPU, with and without deskewing, in a grid too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from robocache_core.config import (
    ComputeConfig,
    DeskewConfig,
    GridConfig,
    ImuConfig,
    LidarConfig,
    PipelineConfig,
)
from robocache_ros.offline import fused_frames, make_pipeline
from robocache_ros.tools.scan_points import ScanPoints
from robocache_ros.tools.simulation import write_bag
from robocache_sim.sensors import robot


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('points') / 'bag'
    write_bag(path, robot(seed=1, lidar_rings=16), seconds=1.0, without=['camera'])
    return path


def points_of(bag: Path, device: str, source: str, grids: tuple[GridConfig, ...]) -> list[np.ndarray]:
    deskew = DeskewConfig(source=source) if source else DeskewConfig()
    lidar = LidarConfig('lidar', topic='/lidar/points', deskew=deskew)
    imu = ImuConfig('imu', topic='/imu/data', window_size=1, required=False)
    config = PipelineConfig(
        (lidar,), imus=(imu,), grids=grids, target_frame='base_link', compute=ComputeConfig(device=device)
    )
    observer = ScanPoints(config.lidars)
    pipeline = make_pipeline(config, observer, on_host=True)
    assert str(pipeline.device).startswith(device)
    with fused_frames(bag, config, pipeline) as frames:
        return [observer.take(frame)['lidar'] for frame in frames]


@pytest.mark.parametrize('grids', [(), (GridConfig('all', from_=('lidar',)),)], ids=['alone', 'in a grid'])
@pytest.mark.parametrize('source', ['', 'imu'], ids=['as it is', 'deskewed'])
def test_points_have_the_bits_of_the_cpu(bag: Path, source: str, grids: tuple[GridConfig, ...]) -> None:
    expected, found = (points_of(bag, device, source, grids) for device in ('cpu', 'cuda'))
    assert len(expected) > 5
    for points, others in zip(expected, found, strict=True):
        assert len(points) > 5000
        np.testing.assert_array_equal(points, others)
