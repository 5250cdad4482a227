# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clouds import INF, NAN, clouds, packed, rotations

from robocache_core import ops
from robocache_core.ops import POINT_DROP_REASONS, VoxelGrid
from robocache_core.samples import CloudLayout, DataError

GRID = VoxelGrid((-2.0, -1.0, -0.5), (0.5, 0.25, 0.5), (8, 7, 3))
UNIT = VoxelGrid((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (4, 2, 2))
INT32 = torch.int32

field_lists = st.lists(st.sampled_from(['x', 'y', 'z', 'a', 'b']), min_size=1, max_size=6)


@given(clouds(), field_lists, rotations(), st.integers(1, 5), st.sampled_from([None, 1, 3, 1000]))
@settings(max_examples=150, deadline=None)
def test_parity_and_ledger(assert_parity, cloud, fields, transform, max_points, max_voxels):
    data, layout = cloud
    result = assert_parity(
        ops.voxelize_hard, data, layout, GRID, fields, max_points=max_points, max_voxels=max_voxels,
        transform=transform, min_range=0.25, max_range=5.0,
    )  # fmt: skip
    assert int(result.num_points.sum()) + sum(result.dropped.values()) == layout.num_points
    sparse = ops.voxelize_sparse(
        data, layout, GRID, [f'max:{name}' for name in fields], max_voxels=max_voxels,
        transform=transform, min_range=0.25, max_range=5.0,
    )  # fmt: skip
    assert torch.equal(result.coords, sparse.coords)
    assert torch.equal(result.num_points, sparse.counts.clamp(max=max_points))
    assert result.dropped['table_full'] == sparse.dropped['table_full']


@given(clouds(), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_the_order_of_the_points_does_not_matter(assert_parity, cloud, seed):
    data, layout = cloud
    rows = data.numpy()[: layout.height * layout.row_step].reshape(layout.height, layout.row_step)
    points = rows[:, : layout.width * layout.point_step].reshape(-1, layout.point_step)
    shuffled = torch.from_numpy(np.random.default_rng(seed).permutation(points).reshape(-1).copy())
    flat = dataclasses.replace(layout, width=layout.num_points, height=1, row_step=points.size)
    expected = ops.voxelize_hard(data, layout, GRID, ['x', 'y', 'z', 'a'], max_points=3)
    result = ops.voxelize_hard(shuffled, flat, GRID, ['x', 'y', 'z', 'a'], max_points=3)
    assert torch.equal(result.voxels.view(INT32), expected.voxels.view(INT32))
    assert torch.equal(result.num_points, expected.num_points)
    assert result.dropped == expected.dropped


@pytest.mark.parametrize('size', [0.05, 0.5, 30.0])
def test_parity_of_many_points(assert_parity, size):
    rng = np.random.default_rng(0)
    data, layout = packed(rng.normal(0, 4, (40_000, 4)), ('x', 'y', 'z', 'i'))
    grid = VoxelGrid((-15.0, -15.0, -15.0), (size,) * 3, (round(30 / size),) * 3)
    result = assert_parity(ops.voxelize_hard, data, layout, grid, ['x', 'y', 'z', 'i'], max_points=8)
    assert result.dropped['voxel_full'] > 0 if size > 1 else len(result.coords) > 1000


@pytest.mark.usefixtures('each_backend')
class TestRule:
    def test_the_points_nearest_to_the_centre_stay_nearest_first(self):
        points = [[0.9, 0.5, 0.5], [0.5, 0.5, 0.5], [0.1, 0.1, 0.1], [0.5, 0.75, 0.5], [3.5, 1.5, 1.5]]
        result = ops.voxelize_hard(*packed(points), UNIT, ['x', 'y', 'z'], max_points=3)
        assert result.coords.tolist() == [[0, 0, 0], [1, 1, 3]]
        assert result.num_points.tolist() == [3, 1]
        expected = torch.tensor([[points[1], points[3], points[0]], [points[4], [0] * 3, [0] * 3]])
        assert torch.equal(result.voxels, expected)
        assert list(result.dropped) == list(POINT_DROP_REASONS)
        assert {reason: count for reason, count in result.dropped.items() if count} == {'voxel_full': 1}

    def test_of_points_as_near_the_lesser_values_stay(self):
        points = [[0.5, 0.5, 0.5, value] for value in (7, -3, 0.0, -0.0, 7, -1e30)]
        result = ops.voxelize_hard(*packed(points, ('x', 'y', 'z', 'i')), UNIT, ['i'], max_points=5)
        values = result.voxels[0, :, 0].tolist()
        assert list(map(str, values)) == [str(float(np.float32(-1e30))), '-3.0', '-0.0', '0.0', '7.0']
        points = [[0.5, 0.25, 0.5], [0.25, 0.5, 0.5], [0.75, 0.5, 0.5]]
        result = ops.voxelize_hard(*packed(points), UNIT, ['z', 'y', 'x'], max_points=2)
        assert result.voxels[0].tolist() == [[0.5, 0.25, 0.5], [0.5, 0.5, 0.25]]

    @pytest.mark.parametrize('step', [1, -1, 7])
    def test_many_points_as_near_in_any_order(self, step):
        """As rays without a return are: all at one place, distinguished by the ring or the time alone."""
        num = 3001
        values = torch.arange(0, num * step, step) % num
        points = torch.cat([torch.full((num, 3), 0.25), values[:, None]], 1)
        result = ops.voxelize_hard(*packed(points.tolist(), ('x', 'y', 'z', 'i')), UNIT, ['i'], max_points=5)
        assert result.voxels[0, :, 0].tolist() == [0, 1, 2, 3, 4]
        assert result.dropped['voxel_full'] == num - 5

    def test_coordinates_are_of_the_target_frame(self):
        shift = torch.eye(4)
        shift[0, 3] = 2.0
        result = ops.voxelize_hard(*packed([[0.25, 0.5, 0.5]]), UNIT, ['x'], max_points=1, transform=shift)
        assert result.voxels.tolist() == [[[2.25]]]
        assert result.coords.tolist() == [[0, 0, 2]]

    def test_a_full_table_cuts_the_last_voxels_and_counts_all_their_points(self):
        points = [[0.5, 0.5, 0.5]] * 3 + [[1.5, 0.5, 0.5]] * 4
        result = ops.voxelize_hard(*packed(points), UNIT, ['x'], max_points=2, max_voxels=1)
        assert result.num_points.tolist() == [2]
        assert (result.dropped['voxel_full'], result.dropped['table_full']) == (1, 4)

    def test_what_is_not_finite_is_dropped(self):
        points = [[NAN, 0, 0, 1], [0, 0, 0, INF], [0, 0, 0, 1]]
        result = ops.voxelize_hard(*packed(points, ('x', 'y', 'z', 'i')), UNIT, ['i'], max_points=2)
        assert result.dropped['non_finite'] == 2
        assert result.voxels.tolist() == [[[1], [0]]]

    def test_nothing_gives_an_empty_result(self):
        result = ops.voxelize_hard(*packed([]), UNIT, ['x', 'y'], max_points=3)
        assert (result.voxels.shape, result.coords.shape, result.num_points.shape) == ((0, 3, 2), (0, 3), (0,))

    def test_out_is_written_and_viewed(self):
        out = (torch.full((3, 2, 1), NAN), torch.full((3, 3), -1, dtype=INT32), torch.full((3,), -1, dtype=INT32))
        data, layout = packed([[0.5, 0.5, 0.5], [1.5, 0.5, 0.5]])
        result = ops.voxelize_hard(data, layout, UNIT, ['x'], max_points=2, out=out)
        tensors = (result.voxels, result.coords, result.num_points)
        assert [t.data_ptr() for t in out] == [t.data_ptr() for t in tensors]
        assert result.voxels.tolist() == [[[0.5], [0.0]], [[1.5], [0.0]]]
        assert out[2].tolist() == [1, 1, -1], 'rows beyond the result are left alone'


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        ({'fields': ()}, ValueError, 'fields'),
        ({'fields': 'x'}, TypeError, 'fields'),
        ({'fields': ('x',) * 33}, ValueError, 'fields'),
        ({'fields': ('intensity',)}, DataError, 'intensity'),
        ({'max_points': 0}, ValueError, 'max_points = 0'),
        ({'max_voxels': 0}, ValueError, 'max_voxels = 0'),
        ({'min_range': 2.0, 'max_range': 2.0}, ValueError, 'max_range'),
        ({'layout': CloudLayout.packed(('x', 'y'), 2)}, DataError, "no field 'z'"),
        ({'out': (torch.empty(1, 2, 1), torch.empty(1, 3, dtype=INT32))}, ValueError, 'out'),
        (
            {'out': (torch.empty(1, 3, 1), torch.empty(1, 3, dtype=INT32), torch.empty(1, dtype=INT32))},
            ValueError,
            'out',
        ),
        ({'out': (torch.empty(1, 2, 1), torch.empty(1, 3), torch.empty(1, dtype=INT32))}, TypeError, 'out'),
    ],
)
def test_arguments_that_are_not_allowed(arguments, error, message):
    data, layout = packed([[0, 0, 0], [1, 1, 1]])
    arguments = {'data': data, 'layout': layout, 'grid': UNIT, 'fields': ('x',), 'max_points': 2, **arguments}
    with pytest.raises(error, match=message):
        ops.voxelize_hard(**arguments)
