# SPDX-License-Identifier: Apache-2.0
"""A deskewed lidar in the node: the frames that a robot gives live are those that its bag gives offline, to the bit."""

import pytest
import torch
from support.live import Live

from robocache_core.pipeline import Pipeline
from robocache_ros import parameters
from robocache_ros.offline import fused_frames
from robocache_ros.tools import simulate
from robocache_sim.sensors import robot

TURNING = {'speed': 0.0, 'yaw_rate': 2.0, 'lidar_rings': 4}


def pose(sensor):
    return [*sensor.pose.translation.tolist(), *sensor.pose.quaternion.tolist()]


def node_parameters(**changes):
    outfit = robot(**TURNING)
    return {
        'lidars': ['lidar'],
        'imus': ['imu'],
        'target_frame': 'base_link',
        'lidar.topic': '/lidar/points',
        'lidar.extrinsics': pose(outfit.lidar),
        'lidar.deskew.source': 'imu',
        'imu.topic': '/imu/data',
        'imu.extrinsics': pose(outfit.imu),
        'imu.window_size': 4,
    } | changes


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    path = tmp_path_factory.mktemp('turning') / 'bag'
    options = ('--speed=0', '--yaw-rate=2', '--lidar-rings=4', '--without=camera', '--seconds=2')
    assert simulate.main([str(path), *options]) == 0
    return path


def test_live_and_offline_give_the_same_bits(bag):
    live = Live(bag, node_parameters())
    config, _ = parameters.from_dict(node_parameters(), warn=pytest.fail)
    pipeline = Pipeline(config)
    offline = list(fused_frames(bag, config, pipeline))
    assert len(live.frames) >= 18
    for one, other in zip(live.frames, offline, strict=False):  # offline gives up waiting at the end of the bag
        assert one.stamp_ns == other.stamp_ns
        assert one.tensors.keys() == other.tensors.keys()
        assert all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)
    for name, counts in live.counts.items():
        assert counts.held == live.held[name]
        assert set(counts.dropped) <= {'unselected'}
        assert pipeline.ledger[name].counts().held == pipeline.num_held(name)


def test_deskew_changes_the_frames(bag):
    frames = {}
    for source in ('imu', 'none'):
        config, _ = parameters.from_dict(node_parameters(**{'lidar.deskew.source': source}))
        frames[source] = {frame.stamp_ns: frame for frame in fused_frames(bag, config)}
    common = frames['imu'].keys() & frames['none'].keys()
    assert len(common) >= 18
    assert not any(
        torch.equal(frames['imu'][stamp].tensors['lidar.features'], frames['none'][stamp].tensors['lidar.features'])
        for stamp in common
    )
    assert all(torch.equal(frames['imu'][s].tensors['imu'], frames['none'][s].tensors['imu']) for s in common)


def test_a_refusal_is_logged_with_its_explanation(bag, capfd):
    live = Live(bag, node_parameters(**{'lidar.deskew.time_field': 'stamp'}))
    assert live.frames == []
    assert live.counts['lidar'].dropped['unknown_time_field'] >= 18
    error = capfd.readouterr().err
    assert (
        "message dropped (unknown_time_field): the times of the points are not known: there is no field 'stamp'"
        in error
    )
    assert 'Set deskew.time_field' in error
