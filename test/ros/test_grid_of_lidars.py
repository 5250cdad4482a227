# SPDX-License-Identifier: Apache-2.0
"""One grid of two lidars by parameters: live as from a bag, in diagnostics, proposals and reports."""

import pytest
import torch
import yaml
from support.runtime import assert_adds_up, make

from robocache_core import ConfigError
from robocache_ros import parameters
from robocache_ros.bags import open_bag
from robocache_ros.encode import encode_voxels
from robocache_ros.offline import fused_frames
from robocache_ros.received import Received
from robocache_ros.sources import routes
from robocache_ros.tools import simulate
from robocache_ros.tools.config_from_bag import config_from_bag
from robocache_ros.tools.inspect.inspection import inspect
from robocache_ros.tools.replay.frame_sections import frame_sections

LIDARS = ('lidar', 'lidar_rear')


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    """A second of a robot with two lidars, 40 ms apart, and wheel odometry."""
    path = tmp_path_factory.mktemp('simulated') / 'bag'
    options = ['--seconds', '1', '--lidar-rings', '8', '--without', 'camera,imu', '--odometry', '--rear-lidar', '0.04']
    assert simulate.main([str(path), *options]) == 0
    return path


@pytest.fixture(scope='module')
def proposed(bag):
    return config_from_bag(open_bag(bag), grid=True)


@pytest.fixture(scope='module')
def config(proposed):
    """As proposed, with what the proposal says to set."""
    made = dict(proposed.parameters)
    for lidar in LIDARS:
        made[lidar] = made[lidar] | {'deskew.source': 'odom'}
    config, _ = parameters.from_dict(made, warn=pytest.fail)
    return config


@pytest.fixture(scope='module')
def frames(bag, config):
    return list(fused_frames(bag, config))


def test_a_grid_is_proposed_only_if_it_is_asked_for(bag, proposed):
    assert 'grids' not in config_from_bag(open_bag(bag)).parameters
    assert proposed.parameters['grids'] == ['all_lidars']
    assert proposed.parameters['all_lidars'] == {'from': ['lidar', 'lidar_rear']}
    assert any('set deskew.source of each lidar' in note for note in proposed.notes)


def test_live_it_is_as_from_the_bag(bag, config, frames):
    bench = make(config)
    topics = {route.absolute_topic: route for route in routes(config)}
    for topic, record_ns, raw in open_bag(bag).messages(topics.keys()):
        name = topics[topic].stream.name
        bench.runtime.ingest.announce(name)
        bench.runtime.ingest.take(name, Received(raw, record_ns))
    live = bench.runtime.pipeline.poll()
    assert len(live) >= 8
    for ours, theirs in zip(live, frames, strict=False):
        assert ours.valid == theirs.valid == {'lidar': True, 'lidar_rear': True, 'odom': True, 'all_lidars': True}
        assert all(torch.equal(ours.tensors[name], theirs.tensors[name]) for name in ours.tensors)
    assert_adds_up(bench.runtime)
    statuses = bench.report()
    assert {pair.key: pair.value for pair in statuses['input lidar_rear'].values}['left_out'] == '0'
    assert 'points.all_lidars.outside' in {pair.key for pair in statuses['compute'].values}


def test_a_grid_that_no_point_is_in_is_named(bag, proposed):
    far = {'lower': [500.0, 500.0, 0.0], 'upper': [510.0, 510.0, 1.0]}
    made = proposed.parameters | {'all_lidars': proposed.parameters['all_lidars'] | {'voxel': far}}
    config, _ = parameters.from_dict(made, warn=pytest.fail)
    found = fused_frames(bag, config)
    num_frames = len(list(found))
    (line,) = (line for line in found.warnings if 'no voxel of lidar_rear' in line)
    assert line.startswith(f'{num_frames} of {num_frames} frames have no voxel of lidar_rear (points dropped so far: ')
    assert 'invalid' in line
    assert 'outside' in line
    assert 'do all_lidars.voxel.lower and upper, min_range' in line


def test_tools_and_viewers_show_the_grid(config, frames):
    frame = frames[3]
    (grid,) = config.voxelized
    assert encode_voxels(frame, grid).width == len(frame.tensors['all_lidars.coords']) > 1000
    page = frame_sections(frame, config)
    assert 'all_lidars (lidar, lidar_rear)' in page


def test_inspect_counts_the_frames_of_a_grid(bag, proposed, frames, tmp_path):
    made = proposed.parameters | {lidar: proposed.parameters[lidar] | {'deskew.source': 'odom'} for lidar in LIDARS}
    path = tmp_path / 'preprocess.yaml'
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': made}}))
    report = inspect(bag, path)
    assert report['outcome']['valid'] == {name: sum(frame.valid[name] for frame in frames) for name in frames[0].valid}


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'all.from': []}, r'all.from = \[\]: must name lidars, of a, b'),
        ({'all.from': ['a', 'a']}, r'all.from = .*: must name no lidar twice'),
        ({'all.from': 'a'}, r"all.from = 'a': must be an array, each a string"),
        ({'all.voxel.output': 'cubes'}, r"all.voxel.output = 'cubes': must be one of sparse, dense"),
        ({'grids': ['a']}, "stream name 'a': is used more than once"),
        ({'a.voxel.size': [1.0, 1.0, 1.0]}, 'a.voxel: has no effect'),
    ],
)
def test_a_grid_that_is_configured_wrongly_is_refused_by_name(changes, message):
    good = {'lidars': ['a', 'b'], 'grids': ['all'], 'all.from': ['a', 'b'], 'target_frame': 'base_link'}
    parameters.from_dict(good, warn=pytest.fail)
    with pytest.raises(ConfigError, match=message):
        parameters.from_dict(good | changes, warn=lambda line: None)
