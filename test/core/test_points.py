# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clouds import INF, NAN, clouds, packed, pose_tables, rotations

from robocache_core import ops
from robocache_core.ops import PoseTable, VoxelGrid
from robocache_core.samples import DataError

NAMES = ('x', 'y', 'z', 't', 'i')


def turns(num: int, angle: float) -> torch.Tensor:
    """Poses ``[num, 3, 4]`` that turn about z from 0 to ``angle``."""
    a = torch.linspace(0, angle, num)
    o = torch.zeros_like(a)
    rows = [[a.cos(), -a.sin(), o, o], [a.sin(), a.cos(), o, o], [o, o, o + 1, o]]
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1).contiguous()


@given(clouds(), st.lists(st.sampled_from('ab'), unique=True), rotations(), st.data())
@settings(max_examples=150, deadline=None)
def test_parity(assert_parity, cloud, fields, transform, data):
    deskew = data.draw(st.none() | pose_tables('a', -200.0, 200.0))
    poses = {'transform': transform} if deskew is None else {'deskew': deskew}
    points, valid = assert_parity(ops.deskew_points, *cloud, fields, min_range=0.25, max_range=2.0, **poses)
    assert points.shape == (cloud[1].num_points, 3 + len(fields))
    assert torch.equal(points[:, :3].isnan().any(dim=1), ~valid)


def test_parity_of_many_points(assert_parity):
    rng = np.random.default_rng(0)
    cloud = packed(np.column_stack([rng.normal(0, 9, (40_000, 3)), rng.uniform(-5, 1050, 40_000)]), NAMES[:4])
    table = PoseTable('t', turns(1000, 1.0), 0.0, 1.0)
    _, valid = assert_parity(ops.deskew_points, *cloud, ['t'], deskew=table, max_range=20.0)
    assert 10_000 < valid.sum() < 40_000


@pytest.mark.usefixtures('each_backend')
class TestRule:
    def test_points_of_a_turning_sensor_come_to_one_place(self):
        times = np.arange(0, 101, 10)
        seen = [[np.cos(-t / 100), np.sin(-t / 100), 0.5, t, t] for t in times]  # one corner, from a turning sensor
        table = PoseTable('t', turns(101, 1.0), 0.0, 1.0)
        points, valid = ops.deskew_points(*packed(seen, NAMES), ['i'], deskew=table)
        assert valid.all()
        np.testing.assert_allclose(points[:, :3], np.tile([1, 0, 0.5], (len(times), 1)), atol=1e-6)
        assert points[:, 3].tolist() == times.tolist()

    def test_voxels_are_of_the_same_points(self):
        rng = np.random.default_rng(1)
        cloud = packed(np.column_stack([rng.normal(0, 9, (500, 3)), rng.uniform(0, 100, (500, 2))]), NAMES)
        grid = VoxelGrid((-10.0, -10.0, -10.0), (0.5,) * 3, (40,) * 3)
        poses = {'deskew': PoseTable('t', turns(50, 2.0), 0.0, 0.5)}
        points, _ = ops.deskew_points(*cloud, **poses, max_range=15.0)
        direct = ops.voxelize_sparse(*cloud, grid, ['count', 'mean:x', 'max:y'], **poses, max_range=15.0)
        via_points = ops.voxelize_sparse(*packed(points.numpy()), grid, ['count', 'mean:x', 'max:y'])
        assert torch.equal(direct.coords, via_points.coords)
        assert torch.equal(direct.features, via_points.features)

    def test_points_that_are_not_valid_keep_their_place_and_their_fields(self):
        seen = [
            [1, 0, 0, 0, 1],
            [NAN, 0, 0, 0, 2],
            [9, 0, 0, 0, 3],
            [0.1, 0, 0, 0, 4],
            [1, 0, 0, INF, 5],
            [2, 0, 0, 0, 6],
        ]
        table = PoseTable('t', turns(1, 0.0), 0.0, 1.0)
        points, valid = ops.deskew_points(*packed(seen, NAMES), ['i'], deskew=table, min_range=0.5, max_range=5.0)
        assert valid.tolist() == [True, False, False, False, False, True]
        assert points[:, 3].tolist() == [1, 2, 3, 4, 5, 6]
        assert points[~valid, :3].isnan().all()
        assert points[valid, 0].tolist() == [1, 2]

    def test_no_points(self):
        points, valid = ops.deskew_points(*packed([], NAMES), ['i'])
        assert (points.shape, valid.shape) == ((0, 4), (0,))

    def test_out_is_written(self):
        out = torch.full((2, 3), NAN), torch.zeros(2, dtype=torch.bool)
        points, valid = ops.deskew_points(*packed([[1, 2, 3], [4, 5, 6]]), out=out)
        assert points is out[0]
        assert valid is out[1]
        assert points.tolist() == [[1, 2, 3], [4, 5, 6]]
        assert valid.all()


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        ({'fields': ('x',)}, ValueError, 'fields'),
        ({'fields': ('i', 'i')}, ValueError, 'fields'),
        ({'fields': 'i'}, TypeError, 'fields'),
        ({'fields': ('ring',)}, DataError, 'ring'),
        ({'deskew': PoseTable('time', turns(2, 1.0), 0.0, 1.0)}, DataError, 'time'),
        ({'deskew': PoseTable('t', turns(2, 1.0), 0.0, 1.0), 'transform': torch.eye(4)}, ValueError, 'only one'),
        ({'max_range': 0.0}, ValueError, 'max_range'),
        ({'out': (torch.empty(2, 3),)}, ValueError, 'out'),
        ({'out': (torch.empty(2, 4), torch.empty(2, dtype=torch.bool))}, ValueError, 'out'),
        ({'out': (torch.empty(2, 3), torch.empty(2))}, TypeError, 'out'),
    ],
)
def test_arguments_that_are_not_allowed(arguments, error, message):
    data, layout = packed([[0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], NAMES)
    with pytest.raises(error, match=message):
        ops.deskew_points(**{'data': data, 'layout': layout, **arguments})
