# SPDX-License-Identifier: Apache-2.0
"""Simulated walls stand in the voxels where the scene has them: the whole geometry, from bytes to voxels."""

import numpy as np
import pytest
import torch

from robocache_core.config import LidarConfig, PipelineConfig, VoxelConfig
from robocache_core.pipeline import Pipeline
from robocache_sim.samples import lidar_scan
from robocache_sim.sensors import robot

# Faces lie at whole decimetres: shifted by half a voxel, each is in the middle of one, clear of noise.
SIZE = 0.2
LOWER, UPPER = (-15.1, -15.1, -1.1), (15.1, 15.1, 5.1)


@pytest.fixture(scope='module')
def standing():
    """A robot that stands still, and the occupied voxels of one of its scans in base_link."""
    still = robot(speed=0.0, yaw_rate=0.0)
    pose = still.lidar.pose
    voxel = VoxelConfig(size=(SIZE,) * 3, lower=LOWER, upper=UPPER, channels=('count', 'mean:x', 'mean:y', 'mean:z'))
    config = LidarConfig('lidar', voxel=voxel, extrinsics=(*pose.translation.tolist(), *pose.quaternion.tolist()))
    pipeline = Pipeline(PipelineConfig(lidars=(config,), target_frame='base_link'), on_host=lambda: True)
    pipeline.receive('lidar')
    pipeline.push('lidar', lidar_scan(still.lidar, 0))
    (frame,) = pipeline.poll()
    return still, frame.tensors


def in_map(still, points):
    pose = still.world.trajectory.at(np.array([still.world.trajectory.start_ns])).pose
    return points @ pose.rotation[0].T + pose.translation[0]


def test_every_voxel_mean_lies_on_a_surface(standing):
    still, tensors = standing
    centres = (tensors['lidar.coords'].flip(1).double() + 0.5) * SIZE + torch.tensor(LOWER)
    means = (centres + tensors['lidar.features'][:, 1:4]).numpy()
    sure = tensors['lidar.features'][:, 0].numpy() >= 5
    distance = still.world.scene.distance_to_surface(in_map(still, means))
    assert sure.sum() > 1000
    assert np.quantile(distance[sure], 0.99) < 0.03
    assert distance[sure].max() < SIZE


def test_walls_stand_where_the_scene_has_them(standing):
    """In base_link the standing robot has the walls at x = 12, x = -12, y = 12.5 and y = -3.5 m, 3 m high."""
    _, tensors = standing
    z, y, x = tensors['lidar.coords'].unbind(1)
    columns = set(zip(x.tolist(), y.tolist(), strict=True))

    def index(metres, axis):
        return int(np.floor((metres - LOWER[axis]) / SIZE))

    tall = {(i, j) for i, j, k in zip(x.tolist(), y.tolist(), z.tolist(), strict=True) if k >= index(1.0, 2)}
    walls = {
        'south': [(i, index(-3.5, 1)) for i in range(index(-3, 0), index(3, 0))],
        'north': [(i, index(12.5, 1)) for i in range(index(5, 0), index(7.5, 0))],
        'east': [(index(12.0, 0), j) for j in range(index(-1, 1), index(1, 1))],
        'west': [(index(-12.0, 0), j) for j in range(index(8, 1), index(12, 1))],
    }
    for name, expected in walls.items():
        assert all(column in tall for column in expected), f'the {name} wall has a gap where nothing hides it'
    inside = range(index(-12.0, 0) - 1, index(12.0, 0) + 2), range(index(-3.5, 1) - 1, index(12.5, 1) + 2)
    assert all(i in inside[0] and j in inside[1] for i, j in columns), 'something stands behind a wall'


def test_free_space_is_empty(standing):
    still, tensors = standing
    centres = (tensors['lidar.coords'].flip(1).double() + 0.5) * SIZE + torch.tensor(LOWER)
    distance = still.world.scene.distance_to_surface(in_map(still, centres.numpy()))
    assert distance.max() < SIZE * 3**0.5 / 2 + 0.1
