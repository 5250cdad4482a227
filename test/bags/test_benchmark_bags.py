# SPDX-License-Identifier: Apache-2.0
"""The loop that a bag is measured against does the same work."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmark import bags
from robocache_ros.offline import fused_frames
from robocache_ros.tools import simulate


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('bench') / 'bag'
    assert simulate.main([str(path), '--seconds', '0.6', '--lidar-rings', '8']) == 0
    return path


@pytest.mark.parametrize('name', bags.WAYS)
def test_the_loop_gives_what_frames_hold(bag: Path, name: str) -> None:
    way = bags.WAYS[name]
    frames = list(fused_frames(bag, bags.config(1, way)))
    found = list(bags.plain_loop(cv2, bag, way))
    assert len(found) == len(frames) >= 5
    for frame, row in zip(frames[1:-1], found[1:-1], strict=True):
        x, y, z = frame.tensors['lidar.coords'].flip(1).numpy().astype(np.int64).T
        np.testing.assert_array_equal((z * 256 + y) * 256 + x, row['voxels'])
        np.testing.assert_allclose(frame.tensors['lidar.features'], row['features'], atol=0.01)
        np.testing.assert_allclose(frame.tensors['imu'], row['imu'], atol=1e-3)
        for camera in ('front', 'rear'):
            image = row[camera].transpose(2, 0, 1) if way.is_video else row[camera]
            difference = np.abs(frame.tensors[camera].numpy().astype(float) - image).mean()
            assert difference < (1.0 if way.is_video else 0.02)
