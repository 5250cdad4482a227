# SPDX-License-Identifier: Apache-2.0
"""One grid of several lidars: each at its place at the target, in any order, and one that is dead costs its share."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from support import driving, moving_walls
from support.driving import T0, assert_ledger

from robocache_core import backends
from robocache_core.config import (
    GridConfig,
    LidarConfig,
    PipelineConfig,
    SyncConfig,
    VoxelConfig,
)
from robocache_core.pipeline import Pipeline
from robocache_core.samples import CloudLayout, LidarScan
from robocache_core.tunable import ConfigError
from robocache_core.units import MS
from robocache_sim.sensors import robot

IDENTITY = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
VOXEL = dataclasses.replace(driving.VOXEL, channels=('count', 'mean:x', 'mean:intensity', 'max:intensity', 'min:z'))
LAYOUT = CloudLayout.packed(('x', 'y', 'z', 'intensity'), 40)


def lidar(name, **changes):
    return LidarConfig(name, **{'extrinsics': IDENTITY, 'min_range': 0.0, 'required': False} | changes)


def config(*names, voxel=VOXEL, order=None, **changes):
    lidars = tuple(lidar(name) for name in names)
    grid = GridConfig('all', from_=order or names, voxel=voxel)
    return PipelineConfig(**{'lidars': lidars, 'grids': (grid,), 'target_frame': 'base_link'} | changes)


def points(name, ms=0):
    """Points of a lidar, the same for the same name and time, some of them outside of the grid, one not finite."""
    random = np.random.default_rng([sum(map(ord, name)), ms])
    rows = np.hstack([random.uniform(-4.5, 4.5, (40, 3)), random.uniform(0, 255, (40, 1))]).astype(np.float32)
    rows[3, 1] = np.nan
    return rows


def scan(name, ms, rows=None):
    rows = points(name, ms) if rows is None else rows
    return LidarScan(T0 + ms * MS, name, torch.from_numpy(rows.view(np.uint8).reshape(-1)), LAYOUT)


def feed(pipeline, *events):
    """Push ``(name, ms, [rows])``; return the frames."""
    frames = []
    for name, ms, *rows in events:
        pipeline.receive(name)
        pipeline.push(name, scan(name, ms, *rows))
        frames += pipeline.poll()
    pipeline.give_up()
    return [*frames, *pipeline.poll()]


def equal(one, two, grid='all'):
    ours, theirs = ({k: t for k, t in each.tensors.items() if k.split('.')[0] == grid} for each in (one, two))
    assert ours.keys() == theirs.keys()
    return all(torch.equal(ours[key].view(torch.int32), theirs[key].view(torch.int32)) for key in ours)


OUTPUTS = pytest.mark.parametrize('output', ['sparse', 'dense'])


@OUTPUTS
def test_a_grid_of_one_lidar_has_the_bits_of_that_lidar_s_own_voxels(output):
    voxel = dataclasses.replace(VOXEL, output=output)
    (frame,) = feed(Pipeline(config('a', voxel=voxel), on_host=lambda: True), ('a', 0))
    alone = PipelineConfig(lidars=(lidar('a', voxel=voxel),), target_frame='base_link')
    (expected,) = feed(Pipeline(alone, on_host=lambda: True), ('a', 0))
    renamed = {f'all{key.removeprefix("a")}': tensor for key, tensor in expected.tensors.items()}
    assert equal(frame, dataclasses.replace(expected, tensors=renamed))
    assert frame.valid == {'a': True, 'all': True}


@OUTPUTS
def test_a_grid_of_several_lidars_has_the_bits_of_one_with_the_points_of_all(output):
    voxel = dataclasses.replace(VOXEL, output=output)
    (frame,) = feed(Pipeline(config('a', 'b', 'c', voxel=voxel), on_host=lambda: True), ('a', 0), ('b', 0), ('c', 0))
    rows = np.concatenate([points('a'), points('b'), points('c')])
    whole = LidarScan(
        T0,
        'a',
        torch.from_numpy(rows.view(np.uint8).reshape(-1)),
        CloudLayout.packed(('x', 'y', 'z', 'intensity'), 120),
    )
    pipeline = Pipeline(config('a', voxel=voxel), on_host=lambda: True)
    pipeline.receive('a')
    pipeline.push('a', whole)
    assert equal(frame, *pipeline.poll())


def test_the_reference_has_the_same_bits():
    found = []
    for name in backends.NAMES:
        with backends.use(name):
            found += feed(Pipeline(config('a', 'b'), on_host=lambda: True), ('a', 0), ('b', 0))
    assert equal(*found)


def test_the_order_of_the_sources_and_of_arrival_does_not_show():
    names = ('a', 'b', 'c')
    found = []
    for order, arrival in itertools.product(itertools.permutations(names), repeat=2):
        pipeline = Pipeline(config(*names, order=order, sync=SyncConfig(trigger='a')), on_host=lambda: True)
        events = [(name, ms) for name in arrival for ms in ({'a': 50, 'b': 20, 'c': 70}[name],)]
        (frame,) = feed(pipeline, *events)
        assert frame.valid == {'a': True, 'b': True, 'c': True, 'all': True}
        assert_ledger(pipeline)
        found.append(frame)
    assert all(equal(frame, found[0]) for frame in found)


def test_a_dead_or_late_lidar_costs_its_share_and_nothing_else():
    """``b`` ends after the first frame: the grid is that of the others, and it is counted how often it was without."""
    names = ('a', 'b', 'c')
    pipeline = Pipeline(config(*names, sync=SyncConfig(trigger='a')), on_host=lambda: True)
    frames = feed(pipeline, *((n, ms) for ms in range(0, 1000, 100) for n in names if n != 'b' or ms == 0))
    without = Pipeline(config('a', 'c', sync=SyncConfig(trigger='a')), on_host=lambda: True)
    expected = feed(without, *((n, ms) for ms in range(0, 1000, 100) for n in ('a', 'c')))
    assert len(frames) == len(expected) == 10
    assert frames[0].valid == {'a': True, 'b': True, 'c': True, 'all': True}
    late = [frame for frame in frames if not frame.valid['b']]
    assert [frame.stamp_ns for frame in late] == [T0 + ms * MS for ms in range(200, 1000, 100)]  # 100 ms are tolerated
    assert all(equal(one, two) for one, two in zip(late, expected[2:], strict=True))
    assert not any('b' in frame.age_ns for frame in late)
    assert all(frame.valid['all'] for frame in frames)
    assert pipeline.left_out == {'a': 0, 'b': 8, 'c': 0}
    assert pipeline.targets.counts().used == 10
    assert_ledger(pipeline)


def test_a_late_scan_is_not_used_by_a_frame_that_is_without_it():
    pipeline = Pipeline(config('a', 'b', sync=SyncConfig(trigger='a')))
    (frame,) = feed(pipeline, ('b', 0), ('a', 101))
    assert frame.valid == {'a': True, 'b': False, 'all': True}
    assert pipeline.ledger['b'].counts().used == 0
    assert_ledger(pipeline)


def test_nothing_at_all_gives_the_same_tensors_that_hold_nothing():
    lidars = (lidar('a'), lidar('b'), lidar('c', voxel=VOXEL))
    pipeline = Pipeline(config('a', 'b', lidars=lidars, sync=SyncConfig(trigger='c')), on_host=lambda: True)
    frames = feed(pipeline, ('c', 0), ('c', 200), ('a', 220), ('c', 400))
    assert [frame.valid['all'] for frame in frames] == [False, True, False]
    for frame in frames:
        assert {key for key in frame.tensors if key.startswith('all')} == {'all.coords', 'all.features', 'all.counts'}
        assert (len(frame.tensors['all.coords']) > 0) == frame.valid['all']


def test_a_required_lidar_that_is_missing_costs_the_frame_as_ever():
    lidars = (lidar('a'), lidar('b', required=True))
    pipeline = Pipeline(config('a', 'b', lidars=lidars, sync=SyncConfig(trigger='a')))
    assert feed(pipeline, ('a', 0)) == []
    assert pipeline.targets.counts().dropped == {'missing:b': 1}


@pytest.mark.parametrize(
    ('rows', 'reason'), [(np.full((40, 4), np.nan, np.float32), 'all_non_finite'), (None, 'missing_field')]
)
def test_a_scan_that_cannot_be_used_costs_its_share(rows, reason):
    """Of which no point is finite, or that lacks a field."""
    pipeline = Pipeline(config('a', 'b', sync=SyncConfig(trigger='a')), on_host=lambda: True)
    pipeline.receive('b')
    sample = scan('b', 0, rows)
    if reason == 'missing_field':
        sample = dataclasses.replace(sample, layout=CloudLayout.packed(('x', 'y', 'z', 'reflectivity'), 40))
    pipeline.push('b', sample)
    (frame,) = feed(pipeline, ('a', 0))
    (alone,) = feed(Pipeline(config('a'), on_host=lambda: True), ('a', 0))
    assert equal(frame, alone)
    assert frame.valid == {'a': True, 'b': False, 'all': True}
    assert pipeline.ledger['b'].counts().dropped == {reason: 1}
    assert pipeline.left_out['b'] == 1
    assert_ledger(pipeline)


def test_points_are_counted_by_who_lost_them():
    pipeline = Pipeline(config('a', 'b'))
    (frame,) = feed(pipeline, ('a', 0), ('b', 0))
    rows = np.concatenate([points('a'), points('b')])
    outside = (np.abs(np.delete(rows, (3, 43), axis=0)[:, :3]) > 4).any(axis=1).sum()
    assert pipeline.points_dropped['a'] == pipeline.points_dropped['b'] == {'invalid': 1}
    assert pipeline.points_dropped['all']['outside'] == outside
    assert int(frame.tensors['all.counts'].sum()) == 80 - 2 - outside


def test_values_too_large_for_the_sums_are_refused_for_all_sources():
    rows = points('a')
    rows[:, 3] = 1e30
    pipeline = Pipeline(config('a', 'b'))
    (frame,) = feed(pipeline, ('a', 0, rows), ('b', 0, rows))
    assert frame.valid == {'a': False, 'b': False, 'all': False}
    assert len(frame.tensors['all.coords']) == 0
    assert pipeline.ledger['a'].counts().dropped == pipeline.ledger['b'].counts().dropped == {'sum_overflow': 1}


# ---- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'order': ('a', 'x')}, r"all.from = \['a', 'x'\]: must name lidars or depth cameras, of a, b"),
        ({'grids': (GridConfig('all'),)}, r'all.from = \[\]: must name lidars'),
        ({'grids': (GridConfig('p', ('a',)), GridConfig('q', ('a',)))}, r"q.from = \['a'\]: a is in p; name another"),
        ({'grids': (GridConfig('a', ('b',)),)}, "stream name 'a': is used more than once"),
        (
            {'lidars': (lidar('a', voxel=VoxelConfig(size=(1.0, 1.0, 1.0))), lidar('b'))},
            'a.voxel: has no effect, as it is in all; set all.voxel instead',
        ),
    ],
)
def test_settings_that_do_not_fit_each_other(changes, message):
    with pytest.raises(ConfigError, match=message):
        config('a', 'b', **changes)


def test_a_lidar_is_named_once():
    with pytest.raises(ConfigError, match=r'all.from = .*: must name no sensor twice'):
        GridConfig('all', ('a', 'a'))


def test_a_lidar_in_a_grid_has_its_voxel_settings_and_no_voxels():
    made = config('a', 'b', lidars=(lidar('a'), lidar('b'), lidar('c')), order=('a', 'b'))
    assert [each.voxel for each in made.lidars] == [VOXEL, VOXEL, VoxelConfig()]
    assert [each.name for each in made.voxelized] == ['c', 'all']
    assert dataclasses.replace(made, target_frame='odom').lidars == made.lidars


# ---- the simulated robot ---------------------------------------------------------------------------------------------


def test_walls_of_two_lidars_at_different_times_are_as_thin_as_those_of_one():
    """One voxel thick, at 5 m/s and 1.1 rad/s, with odometry that slips; and not so without ego motion."""
    moving = robot(speed=5.0, yaw_rate=5.0 / 4.5, lidar_rings=32, rear_phase_ns=50 * MS)
    both, one = ('lidar', 'lidar_rear'), ('lidar',)
    measured = moving_walls.samples(moving, both)

    def walls(names, source):
        frame = moving_walls.frame_at(moving, moving_walls.settings(moving, names, source), 1300, measured)
        assert all(frame.valid[name] for name in names)
        assert abs(frame.age_ns[names[-1]]) == (50 * MS if len(names) > 1 else 0)
        return moving_walls.error_and_stray(moving, frame)

    found = {(names, source): walls(names, source) for names in (both, one) for source in ('odom', 'none')}
    (error, stray), (error_of_one, stray_of_one) = found[both, 'odom'], found[one, 'odom']
    assert error < 0.025, found
    assert error_of_one < 0.025, found
    assert stray <= stray_of_one + 0.001 < 0.002, found
    error, stray = found[both, 'none']
    assert error > 0.2, found
    assert stray > 0.1, found
