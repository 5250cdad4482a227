# SPDX-License-Identifier: Apache-2.0
"""One grid of two lidars and a depth camera by parameters: live as from a bag, in diagnostics, proposals, reports."""

import dataclasses

import cv2
import numpy as np
import pytest
import yaml
from support.live import Live
from support.runtime import assert_adds_up, make

from robocache_core import ConfigError, payload
from robocache_ros import parameters
from robocache_ros.bags import open_bag
from robocache_ros.encode import encode_voxels
from robocache_ros.message import Serialized
from robocache_ros.offline import fused_frames
from robocache_ros.received import Received
from robocache_ros.sources import routes
from robocache_ros.tools import simulate
from robocache_ros.tools.config_from_bag import config_from_bag
from robocache_ros.tools.inspect.inspection import inspect
from robocache_ros.tools.replay import voxel_view
from robocache_ros.tools.replay.frame_sections import frame_sections
from robocache_ros.tools.replay.grid_sources import sources_apart, sources_section

SOURCES = ('front_depth', 'lidar', 'lidar_rear')


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    """A second of a robot with two lidars, 40 ms apart, a depth camera, and wheel odometry."""
    path = tmp_path_factory.mktemp('simulated') / 'bag'
    options = ['--seconds', '1', '--lidar-rings', '8', '--without', 'camera,imu', '--odometry', '--rear-lidar', '0.04']
    assert simulate.main([str(path), *options, '--depth', 'compressedDepth']) == 0
    return path


@pytest.fixture(scope='module')
def proposed(bag):
    return config_from_bag(open_bag(bag), grid=True)


@pytest.fixture(scope='module')
def settled(proposed):
    """The parameters as proposed, with what the proposal says to set."""
    return proposed.parameters | {name: proposed.parameters[name] | {'deskew.source': 'odom'} for name in SOURCES}


@pytest.fixture(scope='module')
def config(settled):
    config, _ = parameters.from_dict(settled, warn=pytest.fail)
    return config


@pytest.fixture(scope='module')
def frames(bag, config):
    return list(fused_frames(bag, config))


def test_a_grid_is_proposed_only_if_it_is_asked_for(bag, proposed):
    plain = config_from_bag(open_bag(bag))
    assert 'grids' not in plain.parameters
    hint = 'init --grid and replay --grid propose one grid of voxels of lidar, lidar_rear, front_depth.'
    assert hint in plain.to_yaml('bag')
    assert '--grid' not in proposed.to_yaml('bag')
    assert proposed.parameters['grids'] == ['all_points']
    channels = ['count', 'mean:x', 'mean:y', 'mean:z']  # a depth camera has no intensity
    assert proposed.parameters['all_points'] == {'from': list(SOURCES), 'voxel': {'channels': channels}}
    assert all(len(proposed.parameters[name]['extrinsics']) == 7 for name in SOURCES)
    assert any('set deskew.source of each of its sensors' in note for note in proposed.notes)


def test_live_over_dds_it_has_the_hash_of_the_bag(bag, settled, frames):
    live = Live(bag, dict(parameters.flatten(settled)))
    assert len(live.frames) >= 8
    expected = [payload.digest(frame) for frame in frames[: len(live.frames)]]
    assert [payload.digest(frame) for frame in live.frames] == expected
    assert all(frame.valid[name] for frame in live.frames[1:] for name in SOURCES)


def test_diagnostics_count_what_a_grid_was_without(bag, config):
    bench = make(config)
    topics = {route.absolute_topic: route for route in routes(config)}
    for topic, record_ns, raw in open_bag(bag).messages(topics.keys()):
        name = topics[topic].stream.name
        if topics[topic].is_calibration:
            bench.runtime.ingest.calibrate(name, raw)
            continue
        bench.runtime.ingest.announce(name)
        bench.runtime.ingest.take(name, Received(Serialized(raw), record_ns))
    assert len(bench.runtime.pipeline.poll()) >= 8
    assert_adds_up(bench.runtime)
    statuses = bench.report()
    for name in SOURCES:
        assert {pair.key: pair.value for pair in statuses[f'input {name}'].values}['left_out'] == '0'
    assert 'points.all_points.outside' in {pair.key for pair in statuses['compute'].values}


def test_a_grid_that_no_point_is_in_is_named(bag, proposed):
    far = {'lower': [500.0, 500.0, 0.0], 'upper': [510.0, 510.0, 1.0]}
    grid = proposed.parameters['all_points']
    made = proposed.parameters | {'all_points': grid | {'voxel': grid['voxel'] | far}}
    config, _ = parameters.from_dict(made, warn=pytest.fail)
    found = fused_frames(bag, config)
    num_frames = len(list(found))
    (line,) = (line for line in found.warnings if 'no voxel of lidar_rear' in line)
    assert line.startswith(f'{num_frames} of {num_frames} frames have no voxel of lidar_rear (points dropped so far: ')
    assert 'invalid' in line
    assert 'outside' in line
    assert 'do all_points.voxel.lower and upper, min_range' in line


def test_tools_and_viewers_show_the_grid(config, frames):
    frame = frames[3]
    (grid,) = config.voxelized
    assert encode_voxels(frame, grid).width == len(frame.tensors['all_points.coords']) > 1000
    page = frame_sections(frame, config)
    assert 'all_points (front_depth, lidar, lidar_rear)' in page


def test_the_report_shows_the_points_of_each_source_in_its_colour(bag, config, frames):
    apart = sources_apart(bag, config)
    assert apart.stamp_ns == frames[0].stamp_ns
    assert sum(int(apart.tensors[f'{name}.counts'].sum()) for name in SOURCES) == int(
        frames[0].tensors['all_points.counts'].sum()
    )
    page = sources_section(apart, config)
    for name in SOURCES:
        assert f'■</i> {name}</dt><dd>{int(apart.tensors[f"{name}.counts"].sum()):,} points in' in page
    clouds = {name: voxel_view.Occupied(np.array([[2.0, y, 0.0]]), np.ones(1), (1.0,) * 3)
              for name, y in (('left', 3.0), ('right', -3.0))}  # fmt: skip
    pixels = cv2.imdecode(np.frombuffer(voxel_view.by_source(clouds), np.uint8), cv2.IMREAD_COLOR).astype(int)
    left, right = pixels[:, : pixels.shape[1] // 2], pixels[:, pixels.shape[1] // 2 :]
    assert (left[..., 0] - left[..., 2]).max() > 80, 'blue'
    assert (right[..., 2] - right[..., 0]).max() > 80, 'orange'
    assert sources_apart(bag, dataclasses.replace(config, grids=())) is None


def test_inspect_counts_the_frames_of_a_grid(bag, settled, frames, tmp_path):
    path = tmp_path / 'preprocess.yaml'
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': settled}}))
    report = inspect(bag, path)
    assert report['outcome']['valid'] == {name: sum(frame.valid[name] for frame in frames) for name in frames[0].valid}


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'all.from': []}, r'all.from = \[\]: must name lidars or depth cameras, of a, b'),
        ({'all.from': ['a', 'a']}, r'all.from = .*: must name no sensor twice'),
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
