# SPDX-License-Identifier: Apache-2.0
"""Voxels have the same bits on every backend, whatever the cloud, its order and the settings."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import recorded
from support.clouds import INF, clouds, packed, pose_tables, rotations

from robocache_core import ops
from robocache_core.ops import VoxelGrid

GRID = VoxelGrid((-2.0, -1.0, -0.5), (0.5, 0.25, 0.5), (8, 7, 3))
CHANNELS = ('count', 'occupancy', 'density', 'mean:x', 'mean:y', 'mean:z', 'max:z', 'min:x')


@st.composite
def clouds_with_poses(draw):
    """A cloud and a pose table by its field ``a`` or ``b``, whatever the type of that."""
    data, layout = draw(clouds())
    field = layout.field(draw(st.sampled_from('ab')))
    info = None if 'float' in field.dtype else np.iinfo(field.dtype)
    first, last = (-4.0, 4.0) if info is None else (float(info.min), float(info.max))
    return (data, layout), draw(pose_tables(field.name, first, last))


channel_lists = st.lists(
    st.sampled_from([*CHANNELS, 'mean:a', 'max:a', 'min:a', 'mean:b', 'max:b', 'min:z']), min_size=1, max_size=12
)
options = st.fixed_dictionaries(
    {
        'transform': rotations(),
        'min_range': st.sampled_from([0.0, 0.5]),
        'max_range': st.sampled_from([1.5, 100.0, INF]),
        'quantum': st.sampled_from([1 / 256, 1.0, 0.1, 3e-9]),
    }
)


@given(clouds(), channel_lists, options, st.sampled_from([None, 1, 3, 1000]))
@settings(max_examples=250, deadline=None)
def test_sparse_parity_and_ledger(assert_parity, cloud, channels, options, max_voxels):
    data, layout = cloud
    result = assert_parity(ops.voxelize_sparse, data, layout, GRID, channels, max_voxels=max_voxels, **options)
    assert int(result.counts.sum()) + sum(result.dropped.values()) == layout.num_points
    z, y, x = result.coords.to(torch.int64).unbind(1)
    assert (((z * GRID.shape[1] + y) * GRID.shape[0] + x).diff() > 0).all(), 'voxels come in index order, none twice'


@given(clouds(), channel_lists, options)
@settings(max_examples=150, deadline=None)
def test_dense_parity_and_agreement_with_sparse(assert_parity, cloud, channels, options):
    data, layout = cloud
    dense = assert_parity(ops.voxelize_dense, data, layout, GRID, channels, **options)
    sparse = ops.voxelize_sparse(data, layout, GRID, channels, **options)
    expected = torch.zeros(len(channels), *reversed(GRID.shape))
    z, y, x = sparse.coords.to(torch.int64).unbind(1)
    expected[:, z, y, x] = sparse.features.T
    assert torch.equal(dense.tensor, expected)
    assert dense.dropped == sparse.dropped


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_parity_on_a_grid_with_wide_indices(assert_parity, seed):
    """Indices need all digits of the sort; terms are as wide as they get."""
    rng = np.random.default_rng(seed)
    points = np.column_stack([rng.uniform(0, 100, (2000, 3)), rng.uniform(-8.3e6, 8.3e6, 2000)])
    grid = VoxelGrid((0, 0, 0), (0.1, 0.1, 0.1), (1000, 1000, 1000))
    channels = ('count', 'mean:x', 'mean:i', 'max:i', 'min:i')
    result = assert_parity(ops.voxelize_sparse, *packed(points, ('x', 'y', 'z', 'i')), grid, channels)
    assert len(result.counts) > 1900


@given(st.data(), channel_lists, options)
@settings(max_examples=100, deadline=None)
def test_parity_with_a_pose_for_each_point(assert_parity, data, channels, options):
    cloud, table = data.draw(clouds_with_poses())
    options = {**options, 'transform': None, 'deskew': table}
    result = assert_parity(ops.voxelize_sparse, *cloud, GRID, channels, **options)
    assert int(result.counts.sum()) + sum(result.dropped.values()) == cloud[1].num_points


def test_parity_where_the_last_bit_of_the_range_decides(assert_parity):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(4000, 3))
    points *= 0.9 / np.linalg.norm(points, axis=1, keepdims=True)
    result = assert_parity(ops.voxelize_sparse, *packed(points), GRID, ['count'], max_range=0.9)
    assert 1000 < result.dropped['range'] < 3000


@given(clouds(), st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_the_order_of_the_points_does_not_matter(assert_parity, cloud, seed):
    data, layout = cloud
    channels = (*CHANNELS, 'mean:a', 'max:a', 'min:a')
    rows = data.numpy()[: layout.height * layout.row_step].reshape(layout.height, layout.row_step)
    points = rows[:, : layout.width * layout.point_step].reshape(-1, layout.point_step)
    shuffled = torch.from_numpy(np.random.default_rng(seed).permutation(points).reshape(-1).copy())
    flat = dataclasses.replace(layout, width=layout.num_points, height=1, row_step=points.size)
    expected = ops.voxelize_sparse(data, layout, GRID, channels)
    result = ops.voxelize_sparse(shuffled, flat, GRID, channels)
    assert torch.equal(result.coords, expected.coords)
    assert torch.equal(result.features.view(torch.int32), expected.features.view(torch.int32))
    assert torch.equal(result.counts, expected.counts)
    assert result.dropped == expected.dropped


# --- many points: several parts, groups and passes of the sort; long runs of points in one voxel


def scan(num: int, seed: int = 0) -> np.ndarray:
    """``[num, 4] float32``: x y z intensity; half of it is along walls, as a lidar sees them, half anywhere."""
    rng = np.random.default_rng(seed)
    angle = np.linspace(0, 12 * math.pi, num // 2)
    wall = np.column_stack([9 * np.cos(angle), 7 * np.sin(angle), np.linspace(-1, 2, num // 2)])
    points = np.concatenate([wall, rng.uniform(-12, 12, (num - num // 2, 3))])
    return np.column_stack([points, rng.uniform(-50, 50, num)]).astype(np.float32)


MANY = ('count', 'mean:x', 'mean:y', 'mean:z', 'mean:i', 'max:i', 'min:z')


@pytest.mark.parametrize('channels', [('count',), MANY[:4], (*MANY[:4], 'max:i'), ('mean:i',), MANY], ids=len)
@pytest.mark.parametrize(('size', 'shape'), [(0.02, (1000, 1000, 1000)), (0.5, (40, 40, 40)), (30.0, (1, 1, 1))])
def test_parity_of_many_points(assert_parity, channels, size, shape):
    data, layout = packed(scan(40_000), ('x', 'y', 'z', 'i'))
    grid = VoxelGrid((-10.0, -10.0, -10.0), (size,) * 3, shape)
    assert_parity(ops.voxelize_sparse, data, layout, grid, channels, max_range=15.0)


@pytest.mark.parametrize('num', [1, 15, 16, 17, 255, 256, 257, 70_000])
@pytest.mark.usefixtures('each_backend')
def test_many_points_in_one_place(num):
    """Sums of the largest terms, which only a float32 below the upper face gives."""
    below = np.nextafter(np.float32(1), np.float32(0))
    data, layout = packed(np.full((num, 3), below))
    result = ops.voxelize_sparse(data, layout, VoxelGrid((0, 0, 0), (1, 1, 1), (2, 2, 2)), MANY[:4])
    assert result.coords.tolist() == [[0, 0, 0]]
    assert result.features.tolist() == [[num, *[65535.5 / 65536 - 0.5] * 3]]
    assert result.counts.tolist() == [num]


@pytest.mark.parametrize('max_voxels', [1, 999, 20_000])
def test_a_full_table_on_several_threads(assert_parity, max_voxels):
    data, layout = packed(scan(40_000), ('x', 'y', 'z', 'i'))
    grid = VoxelGrid((-10.0, -10.0, -10.0), (0.1,) * 3, (200,) * 3)
    assert_parity(ops.voxelize_sparse, data, layout, grid, MANY, max_voxels=max_voxels)


# --- real scans


def test_a_real_scan(assert_parity):
    points = np.fromfile(recorded.payload('kitti_000000.bin'), np.float32).reshape(-1, 4)
    grid = VoxelGrid((-51.2, -51.2, -3.0), (0.4, 0.4, 0.4), (256, 256, 20))
    channels = ('count', 'mean:x', 'mean:y', 'mean:z', 'max:i', 'mean:i')
    result = assert_parity(ops.voxelize_sparse, *packed(points, ('x', 'y', 'z', 'i')), grid, channels, min_range=0.5)
    assert int(result.counts.sum()) + sum(result.dropped.values()) == len(points)
    # The centroid of all kept points, by another way.
    lower, size = np.array(grid.lower), np.array(grid.size)
    centres = lower + (result.coords.numpy()[:, ::-1] + 0.5) * size
    weights = result.counts.numpy()[:, None]
    centroid = ((centres + result.features.numpy()[:, 1:4]) * weights).sum(axis=0) / weights.sum()
    kept = points[((points[:, :3] >= lower) & (points[:, :3] < lower + size * grid.shape)).all(axis=1), :3]
    np.testing.assert_allclose(centroid, kept.astype(np.float64).mean(axis=0), atol=1e-3)


@pytest.mark.parametrize('quantum', [1 / 256, 1 / 3, 1e-30, 1e30])
def test_the_greatest_values_that_have_a_mean(assert_parity, quantum):
    edge = torch.tensor(min(2.0**31 * quantum, 3.4e38), dtype=torch.float32)
    values = (edge.view(torch.int32) + torch.arange(-40, 41, dtype=torch.int32)).clamp(max=0x7F7FFFFF)
    values = values.view(torch.float32).tolist()
    points = [
        [x, 0.0, 0.0, value] for x, value in zip(np.linspace(-1, 1, 162), [*values, *(-v for v in values)], strict=True)
    ]
    result = assert_parity(
        ops.voxelize_dense, *packed(points, ('x', 'y', 'z', 'i')), GRID, ('mean:i', 'count'), quantum=quantum
    )
    assert result.dropped.get('overflow', 0) == (0 if quantum == 1e30 else 82)
