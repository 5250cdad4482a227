# SPDX-License-Identifier: Apache-2.0
"""Pictures of frames made by hand."""

import cv2
import numpy as np
import pytest
import torch

from robocache_core.config import (
    CameraConfig,
    DepthConfig,
    DepthVoxelConfig,
    ImuConfig,
    LidarConfig,
    MessageVectorConfig,
    PipelineConfig,
    SyncConfig,
    VoxelConfig,
)
from robocache_core.frame import FusedFrame
from robocache_ros.tools.pictures import depth_picture, picture
from robocache_ros.tools.presentation import time_plots
from robocache_ros.tools.presentation.plot_style import RED
from robocache_ros.tools.replay import plots, voxel_view
from robocache_ros.tools.replay.frame_sections import frame_sections

GRID = {'size': (1.0, 1.0, 1.0), 'lower': (-8.0, -8.0, 0.0), 'upper': (8.0, 8.0, 4.0)}


def frame(**tensors):
    return FusedFrame(0, 0, 0, 'base_link', tensors, dict.fromkeys(tensors, True), {})


def decode(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).astype(int)


def test_sparse_and_dense_voxels_are_found_where_they_are():
    where = torch.tensor([[0, 1, 15], [3, 8, 2]], dtype=torch.int32)  # z y x
    sparse = LidarConfig('top', voxel=VoxelConfig(channels=('count',), **GRID))
    found = voxel_view.occupied(frame(**{'top.coords': where, 'top.counts': torch.tensor([5, 1])}), sparse)
    np.testing.assert_allclose(found.centre, [[7.5, -6.5, 0.5], [-5.5, 0.5, 3.5]])
    assert found.count.tolist() == [5, 1]
    for channel in ('count', 'max:intensity'):
        dense = LidarConfig('top', voxel=VoxelConfig(channels=(channel,), output='dense', **GRID))
        tensor = torch.zeros(1, 4, 16, 16)
        tensor[0][tuple(where.T.long())] = torch.tensor([5.0, 1.0])
        assert sorted(voxel_view.occupied(frame(top=tensor), dense).centre.tolist()) == sorted(found.centre.tolist())


def test_dense_voxels_of_a_depth_camera_are_beside_its_image():
    camera = DepthConfig('near', voxel=DepthVoxelConfig(channels=('count',), output='dense', **GRID))
    tensor = torch.zeros(1, 4, 16, 16)
    tensor[0, 0, 1, 15] = 5.0
    found = voxel_view.occupied(frame(near=torch.ones(1, 3, 4), **{'near.voxels': tensor}), camera)
    np.testing.assert_allclose(found.centre, [[7.5, -6.5, 0.5]])


def test_from_above_x_is_up_and_y_is_left():
    ahead_left = voxel_view.Occupied(np.array([[6.0, 3.0, 1.0]]), np.array([9.0]), (1.0, 1.0, 1.0))
    pixels = decode(voxel_view.from_above(ahead_left))
    saturation = pixels.max(axis=2) - pixels.min(axis=2)
    row, column = (axis.mean() for axis in np.nonzero(saturation > 100))
    height, width = saturation.shape
    assert row < 0.4 * height
    assert column < 0.4 * width


def test_pictures_of_no_voxels_are_drawn_too():
    none = voxel_view.Occupied(np.zeros((0, 3)), np.zeros(0), (1.0, 1.0, 1.0))
    assert decode(voxel_view.from_above(none)).size
    assert decode(voxel_view.from_behind([none])).size


def test_a_picture_undoes_the_normalisation():
    camera = CameraConfig('front', width=32, height=32)
    rgb = np.array([200.0, 100.0, 50.0])
    normal = (rgb / 255 - np.array(camera.mean)) / np.array(camera.std)
    tensor = torch.tensor(normal, dtype=torch.float16).reshape(3, 1, 1).expand(3, 32, 32)
    pixels = decode(picture(frame(front=tensor), camera))
    assert np.abs(pixels[16, 16][::-1] - rgb).max() <= 3


@pytest.mark.parametrize('layout', ['chw', 'hwc'])
def test_a_picture_of_uint8_is_the_image(layout):
    camera = CameraConfig('front', width=32, height=32, dtype='uint8', layout=layout)
    rgb = np.array([200, 100, 50], np.uint8)
    image = torch.from_numpy(np.tile(rgb, (32, 32, 1)))
    tensor = image if layout == 'hwc' else image.permute(2, 0, 1)
    pixels = decode(picture(frame(front=tensor), camera)).astype(int)
    assert np.abs(pixels[16, 16][::-1] - rgb).max() <= 3


def test_a_depth_image_is_stretched_to_be_seen():
    camera = CameraConfig('depth', width=32, height=32)
    depth = torch.linspace(0, 5, 32).expand(1, 32, 32).clone()
    depth[0, 0, 0] = float('nan')
    pixels = decode(picture(frame(depth=depth), camera))
    assert pixels[16, 0].max() < 20
    assert pixels[16, 31].min() > 235


def test_depth_is_shown_in_colours():
    depth = torch.linspace(1, 5, 32).expand(1, 32, 32).clone()
    valid = torch.ones(1, 32, 32, dtype=torch.bool)
    valid[0, :8] = False
    pixels = decode(depth_picture(depth[0].numpy(), valid[0].numpy())).astype(int)
    assert not pixels[:8].any()
    assert pixels[20, 2, 2] > pixels[20, 2, 0] + 50, 'near is red'
    assert pixels[20, 24, 0] > pixels[20, 24, 2] + 50, 'far is blue'
    config = PipelineConfig(depths=(DepthConfig('depth', width=32, height=32),))
    page = frame_sections(frame(**{'depth': depth, 'depth.valid': valid}), config)
    assert '[1 × 32 × 32] m, 75% valid, red 1.00 m to blue 5.00 m' in page
    none = torch.zeros_like(depth), torch.zeros_like(valid)
    assert '0% valid' in frame_sections(frame(**dict(zip(('depth', 'depth.valid'), none, strict=True))), config)


def test_the_plots_hold_their_names():
    series = {
        'trigger_t_s': [0.1 * i for i in range(30)],
        'frames': {
            't_s': [0.05 + 0.1 * i for i in range(30)],
            'latency_ms': [20.0 + i for i in range(29)] + [None],
            'age_ms': {'lidar': [0.0] * 30, 'front': [None] * 30},
        },
    }
    assert 'fused' in plots.rates(series)
    assert 'p99 47.7 ms' in plots.latency(series)
    assert 'front' in plots.offsets(series, ['lidar', 'front'])
    assert '1.00 / 2.00' in plots.stages({'decode': (1.0, 2.0)})
    window = {'imu': torch.zeros(20, 6), 'imu.valid': torch.arange(20) > 3}
    assert 'angular velocity, rad/s' in plots.imu_window(frame(**window), ImuConfig('imu'))


@pytest.mark.parametrize('window_size', [1, 20])
def test_a_vector_is_shown_by_its_columns(window_size):
    """Whatever its joints are called."""
    joints = ('elbow', '$x_1$', '<b>', '\x1b[2J', *map(str, range(100)))
    vector = MessageVectorConfig(
        'arm', message='sensor_msgs/msg/JointState', joints=joints, window_size=window_size, required=False
    )
    window = {'arm': torch.full((window_size, len(joints)), 1.5), 'arm.valid': torch.arange(window_size) > 3}
    config = PipelineConfig(vectors=(vector,), sync=SyncConfig(rate_hz=10.0))
    page = frame_sections(frame(**window), config)
    assert f'tensor [{window_size} × {len(joints)}]' in page
    assert '<dt>position[elbow]</dt><dd>1.5</dd>' in page
    assert '<b>' not in page
    assert page.replace('\n', '').isprintable()
    assert ('<img' in page) == (window_size > 1)


def test_gaps_and_drops_are_shown_over_time():
    times = [0.1 * i for i in range(20)]
    steps = [100.0] * 18 + [500.0, None]
    red = time_plots.gaps(times, steps).count(RED)
    assert red == time_plots.gaps(times, [100.0] * 19 + [None]).count(RED) + 1
    totals = {f'stream {i}': [0] * 19 + [i] for i in range(10)}
    drawn = time_plots.drops(times, totals)
    assert 'stream 9 9' in drawn
    assert 'stream 1 1' not in drawn, 'those that drop most'
    assert 'front' in time_plots.ages(times, {'front': [None, *times[1:]]}, ['lidar', 'front'])


def test_the_plots_of_nothing_are_drawn_too():
    assert '<svg' in time_plots.gaps([], [])
    assert '<svg' in time_plots.drops([], {})
    series = {'trigger_t_s': [], 'frames': {'t_s': [], 'latency_ms': [], 'age_ms': {}}}
    for svg in (plots.rates(series), plots.latency(series), plots.offsets(series, []), plots.stages({})):
        assert '<svg' in svg
