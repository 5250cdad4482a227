# SPDX-License-Identifier: Apache-2.0
"""Values that a result cannot hold are refused by name: a valid frame hides none."""

import dataclasses

import pytest
import torch
from support.driving import T0, assert_ledger

from robocache_core.config import CameraConfig, LidarConfig, PipelineConfig, VoxelConfig
from robocache_core.pipeline import Pipeline
from robocache_core.samples import CameraFrame, CloudLayout, LidarScan
from robocache_core.tunable import ConfigError

PLAIN = CameraConfig('front', width=2, height=2, scale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3, dtype='float16')


def run(config: PipelineConfig, name: str, sample):
    """The frames that one sample gives, what it was dropped for, and why."""
    pipeline, refused = Pipeline(config), []
    pipeline.on_refused = lambda *args: refused.append(args[2])
    pipeline.receive(name)
    pipeline.push(name, sample)
    frames = pipeline.poll()
    assert_ledger(pipeline)
    return frames, pipeline.ledger[name].counts().dropped, refused


def grey(value: int, encoding: str) -> CameraFrame:
    dtype = {'mono8': torch.uint8, 'mono16': torch.uint16, '32FC1': torch.float32}[encoding]
    data = torch.full((4,), value, dtype=torch.int64).to(dtype).view(torch.uint8)
    return CameraFrame(T0, 'cam', data, encoding, 2, 2, data.numel() // 2)


@pytest.mark.parametrize(
    ('changes', 'encoding', 'is_held'),
    [
        ({}, 'mono8', True),
        ({}, 'mono16', False),
        ({'scale': 65519 / 65535}, 'mono16', True),
        ({'scale': 65521 / 65535}, 'mono16', False),
        ({'scale': 1 / 255}, 'mono16', True),
        ({'mean': (-100.0, 0.0, 0.0)}, 'mono16', False),
        ({'dtype': 'bfloat16'}, 'mono16', True),
        ({'dtype': 'float32'}, 'mono16', True),
        ({}, '32FC1', True),  # metres, of which few are 65504
    ],
)
def test_a_pixel_that_float16_cannot_hold(changes, encoding, is_held):
    config = PipelineConfig(cameras=(dataclasses.replace(PLAIN, **changes),))
    frames, dropped, refused = run(config, 'front', grey(65535 if encoding == 'mono16' else 255, encoding))
    if is_held:
        assert frames[0].tensors['front'].isfinite().all()
    else:
        assert frames == []
        assert dropped == {'beyond_float16': 1}
        assert 'pixels of mono16 are infinite in float16 with front.scale = ' in refused[0]


def test_a_scale_by_which_white_is_infinite():
    with pytest.raises(ConfigError, match=r'front.scale = 300.0: a pixel of 255 would be infinite in front.dtype'):
        dataclasses.replace(PLAIN, scale=300.0)


def cloud(times) -> LidarScan:
    """Points side by side on the x axis, with a time each."""
    points = torch.zeros(len(times), 4, dtype=torch.float64)
    points[:, 0] = 1 + torch.arange(len(times)) % 8
    points[:, 3] = torch.tensor(times, dtype=torch.float64)
    layout = CloudLayout.packed(('x', 'y', 'z', 't'), len(times), 'float64')
    return LidarScan(T0, 'lidar', points.view(torch.uint8).flatten(), layout)


VOXEL = VoxelConfig(size=(1.0, 1.0, 1.0), lower=(0.0, -1.0, -1.0), upper=(10.0, 1.0, 1.0), channels=('count', 'mean:t'))


@pytest.mark.parametrize(
    ('times', 'is_used'),
    [
        ([0.05] * 100, True),
        ([1e6] * 100, True),
        ([1e18] * 100, False),
        ([1e18] * 51 + [0.05] * 49, False),
        ([1e18] * 49 + [0.05] * 51, True),
    ],
)
def test_a_mean_that_overflows_for_most_points_spoils_the_scan(times, is_used):
    config = PipelineConfig(lidars=(LidarConfig('lidar', voxel=VOXEL),))
    frames, dropped, refused = run(config, 'lidar', cloud(times))
    assert len(frames) == is_used
    if not is_used:
        assert dropped == {'sum_overflow': 1}
        assert (
            'of 100 points in the grid have values too large for the sums of mean:t: set lidar.voxel.quantum'
            in (refused[0])
        )


def test_an_optional_scan_that_overflows_is_marked():
    lidar = LidarConfig('lidar', voxel=VOXEL, required=False)
    (frame,), dropped, _ = run(PipelineConfig(lidars=(lidar,)), 'lidar', cloud([1e18] * 10))
    assert frame.valid == {'lidar': False}
    assert len(frame.tensors['lidar.coords']) == 0
    assert dropped == {'sum_overflow': 1}
