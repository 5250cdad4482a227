# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import math
import warnings

import numpy as np
import pytest
import torch
from support.clouds import INF, NAN, OTHERS, packed

from robocache_core import ops
from robocache_core.ops import POINT_DROP_REASONS, PoseTable, VoxelGrid
from robocache_core.samples import CloudLayout, DataError, PointField

GRID = VoxelGrid((-2.0, -1.0, -0.5), (0.5, 0.25, 0.5), (8, 7, 3))
CHANNELS = ('count', 'occupancy', 'density', 'mean:x', 'mean:y', 'mean:z', 'max:z', 'min:x')


def voxels(points: list, channels: tuple[str, ...] = ('count',), grid: VoxelGrid = GRID, **options) -> dict:
    """Sparse voxels as {(z, y, x): features}, with the drops that are not 0 under 'dropped'."""
    names = options.pop('names', ('x', 'y', 'z'))
    result = ops.voxelize_sparse(*packed(points, names), grid, channels, **options)
    assert list(result.dropped) == list(POINT_DROP_REASONS)
    table = dict(zip(map(tuple, result.coords.tolist()), result.features.tolist(), strict=True))
    return {**table, 'dropped': {reason: count for reason, count in result.dropped.items() if count}}


# --- the voxel rule


def shifts(*metres: float) -> torch.Tensor:
    """Poses ``[P, 3, 4]`` that move along x."""
    poses = torch.eye(4)[:3].repeat(len(metres), 1, 1)
    poses[:, 0, 3] = torch.tensor(metres)
    return poses


@pytest.mark.usefixtures('each_backend')
class TestRule:
    def test_lower_faces_are_inside_upper_faces_are_not(self):
        points = [[-2, -1, -0.5], [1.999, 0.749, 0.999], [2, 0, 0], [0, 0.75, 0], [0, 0, 1], [-2.001, 0, 0]]
        assert voxels(points) == {(0, 0, 0): [1], (2, 6, 7): [1], 'dropped': {'outside': 4}}

    def test_a_point_on_a_face_between_voxels_belongs_to_the_upper(self):
        assert voxels([[-1.5, -0.75, 0.0]]) == {(1, 1, 1): [1], 'dropped': {}}
        below = np.nextafter(np.float32(-1.5), np.float32(-2))
        assert voxels([[below, -0.75, 0.0]]) == {(1, 1, 0): [1], 'dropped': {}}

    def test_coordinates_far_beyond_the_grid_do_not_wrap(self):
        points = [[1e10, 0, 0], [-1e10, 0, 0], [0, 3e38, 0], [4294967296.0, 0, 0]]
        assert voxels(points)['dropped'] == {'range': 1, 'outside': 3}  # (3e38)^2 is infinite: no range

    def test_what_is_not_finite_is_dropped_and_never_voxel_0(self):
        points = [[NAN, 0, 0], [0, INF, 0], [0, 0, -INF], [NAN, NAN, NAN]]
        assert voxels(points) == {'dropped': {'non_finite': 4}}

    def test_a_field_counts_as_not_finite_where_a_channel_reads_it(self):
        points = [[0, 0, 0, NAN]]
        names = ('x', 'y', 'z', 'i')
        assert voxels(points, names=names) == {(1, 4, 4): [1], 'dropped': {}}
        assert voxels(points, ('max:i',), names=names) == {'dropped': {'non_finite': 1}}

    def test_a_double_beyond_float32_is_not_finite(self):
        data = torch.from_numpy(np.array([1e300, 0, 0]).view(np.uint8))
        result = ops.voxelize_sparse(data, CloudLayout.packed(('x', 'y', 'z'), 1, 'float64'), GRID, ['count'])
        assert result.dropped['non_finite'] == 1

    def test_range_is_half_open_and_measured_from_the_sensor(self):
        grid = VoxelGrid((-9.0, -9.0, -9.0), (1.0, 1.0, 1.0), (18, 18, 18))
        points = [[0.25, 0, 0], [0.5, 0, 0], [0, 4, 0], [0, 0, 5]]
        shift = torch.eye(4)
        shift[0, 3] = 3.0
        result = voxels(points, grid=grid, min_range=0.5, max_range=5.0, transform=shift)
        assert result == {(9, 9, 12): [1], (9, 13, 12): [1], 'dropped': {'range': 2}}

    def test_the_transform_takes_points_to_the_target_frame(self):
        quarter_turn = torch.tensor([[0.0, -1, 0, 0.25], [1, 0, 0, 0], [0, 0, 1, 0.5], [0, 0, 0, 1]])
        result = voxels([[0.5, 1.0, 0.0]], ('max:x', 'max:y', 'min:z'), transform=quarter_turn)
        assert result == {(2, 6, 2): [-0.75, 0.5, 0.5], 'dropped': {}}

    @pytest.mark.parametrize(
        ('time', 'shift'), [(-9, 0), (100, 0), (104.9, 0), (105, 1), (114.9, 1), (115, 2), (1e30, 2), (INF, None)]
    )
    def test_the_pose_of_a_point_is_the_nearest_in_time(self, time, shift):
        table = PoseTable('t', shifts(0.0, 1.0, 2.0), 100.0, 0.1)
        result = voxels([[-1.9, 0, 0, time]], names=('x', 'y', 'z', 't'), deskew=table)
        expected = {'dropped': {'non_finite': 1}} if shift is None else {(1, 4, 2 * shift): [1], 'dropped': {}}
        assert result == expected

    def test_times_may_run_backwards(self):
        table = PoseTable('t', shifts(0.0, 1.0), 0.0, -1.0)
        assert (1, 4, 2) in voxels([[-1.9, 0, 0, -1]], names=('x', 'y', 'z', 't'), deskew=table)

    def test_reasons_are_tested_in_order(self):
        far_and_huge = [[NAN, 50, 0, 1e9], [50, 0, 0, 1e9], [5, 0, 0, 1e9], [0, 0, 0, 1e9]]
        result = voxels(far_and_huge, ('mean:i',), names=('x', 'y', 'z', 'i'), max_range=20.0)
        assert result == {'dropped': {'non_finite': 1, 'range': 1, 'outside': 1, 'overflow': 1}}


@pytest.mark.usefixtures('each_backend')
class TestChannels:
    def test_each_channel(self):
        points = [[0.1, 0.05, 0.2, 3], [0.4, 0.1, 0.3, 8], [0.3, 0.2, 0.1, -5]]
        channels = (*CHANNELS, 'mean:i', 'max:i', 'min:i')
        features = voxels(points, channels, names=('x', 'y', 'z', 'i'))[(1, 4, 4)]
        expected = [3, 1, 3 / 0.0625, 0.8 / 3 - 0.25, 0.35 / 3 - 0.125, 0.2 - 0.25, 0.3, 0.1, 2, 8, -5]
        # Means of x y z: each point is rounded to 2^-16 voxel.
        assert features == pytest.approx(expected, rel=1e-6, abs=0.5 / 65536)

    def test_extremes_of_zeros_and_signs(self):
        points = [[0, 0, 0, -0.0], [0, 0, 0, 0.0], [0, 0, 0, -0.0]]
        features = voxels(points, ('max:i', 'min:i'), names=('x', 'y', 'z', 'i'))[(1, 4, 4)]
        assert [math.copysign(1, value) for value in features] == [1, -1], '-0 is below +0'
        points = [[0, 0, 0, -7], [0, 0, 0, -3e38], [0, 0, 0, -1e-45]]
        features = voxels(points, ('max:i', 'min:i'), names=('x', 'y', 'z', 'i'))[(1, 4, 4)]
        assert features == [float(np.float32(-1e-45)), float(np.float32(-3e38))]

    def test_means_are_exact_sums_of_quanta(self):
        values = [2.0**22, 1.0, -(2.0**22), 1.0]  # a float32 sum would depend on the order
        points = [[0, 0, 0, value] for value in values]
        assert voxels(points, ('mean:i',), names=('x', 'y', 'z', 'i'))[(1, 4, 4)] == [0.5]

    def test_values_are_rounded_half_to_even_quanta(self):
        points = [[0, 0, 0, value] for value in (0.5, 1.5, 2.5, -0.5)]
        assert voxels(points, ('mean:i',), names=('x', 'y', 'z', 'i'), quantum=1.0)[(1, 4, 4)] == [1.0]

    @pytest.mark.parametrize(('value', 'kept'), [(2147483520.0, 1), (-2147483520.0, 1), (2.0**31, 0), (-(2.0**31), 0)])
    def test_overflow_is_counted_not_wrapped(self, value, kept):
        result = voxels([[0, 0, 0, value]], ('mean:i',), names=('x', 'y', 'z', 'i'), quantum=1.0)
        assert result == ({(1, 4, 4): [value], 'dropped': {}} if kept else {'dropped': {'overflow': 1}})

    def test_overflow_is_of_averaged_values_alone(self):
        result = voxels([[0, 0, 0, 3e38]], ('max:i',), names=('x', 'y', 'z', 'i'))
        assert result == {(1, 4, 4): [float(np.float32(3e38))], 'dropped': {}}

    @pytest.mark.parametrize('dtype', OTHERS)
    @pytest.mark.parametrize('big', [False, True])
    def test_every_field_type(self, dtype, big):
        order = '>' if big else '<'
        kind = np.dtype([('x', f'{order}f4'), ('y', f'{order}f4'), ('z', f'{order}f4'),
                         ('v', np.dtype(dtype).newbyteorder(order))])  # fmt: skip
        cloud = np.zeros(2, kind)
        cloud['v'] = [3, 100]
        fields = tuple(PointField(n, kind.fields[n][1], 'float32' if n != 'v' else dtype) for n in kind.names)
        layout = CloudLayout(fields, 2, 1, kind.itemsize, 2 * kind.itemsize, big)
        result = ops.voxelize_sparse(torch.from_numpy(cloud.view(np.uint8)), layout, GRID, ['min:v', 'max:v', 'mean:v'])
        assert result.features.tolist() == [[3, 100, 51.5]]


@pytest.mark.usefixtures('each_backend')
class TestResult:
    POINTS = ((0, 0, 0), (0.6, 0, 0), (-1.9, 0, 0), (0, 0, 0.7), (0, 0, 0.7))

    def test_sparse_voxels_come_in_index_order(self):
        result = ops.voxelize_sparse(*packed(self.POINTS), GRID, ['count'])
        assert result.coords.tolist() == [[1, 4, 0], [1, 4, 4], [1, 4, 5], [2, 4, 4]]
        assert result.counts.tolist() == [1, 1, 1, 2]
        assert (result.coords.dtype, result.features.dtype, result.counts.dtype) == (
            torch.int32, torch.float32, torch.int32,
        )  # fmt: skip

    def test_a_full_table_cuts_the_last_voxels_and_counts_their_points(self):
        result = ops.voxelize_sparse(*packed(self.POINTS), GRID, ['count'], max_voxels=2)
        assert result.coords.tolist() == [[1, 4, 0], [1, 4, 4]]
        assert result.dropped['table_full'] == 3

    def test_a_table_that_is_just_large_enough(self):
        result = ops.voxelize_sparse(*packed(self.POINTS), GRID, ['count'], max_voxels=4)
        assert len(result.counts) == 4
        assert result.dropped['table_full'] == 0

    @pytest.mark.parametrize('points', [[], [[NAN] * 3] * 5], ids=['empty', 'nothing finite'])
    def test_nothing_gives_empty_results(self, points):
        data, layout = packed(points)
        sparse = ops.voxelize_sparse(data, layout, GRID, CHANNELS)
        assert (sparse.coords.shape, sparse.features.shape, sparse.counts.shape) == ((0, 3), (0, 8), (0,))
        dense = ops.voxelize_dense(data, layout, GRID, CHANNELS)
        assert dense.tensor.shape == (8, 3, 7, 8)
        assert not dense.tensor.any()
        assert dense.dropped == sparse.dropped
        assert sparse.dropped['non_finite'] == len(points)

    def test_out_is_written_and_viewed(self):
        data, layout = packed(self.POINTS)
        tensor = torch.full((2, 3, 7, 8), NAN)
        dense = ops.voxelize_dense(data, layout, GRID, ['count', 'mean:x'], out=tensor)
        assert dense.tensor is tensor
        assert torch.equal(tensor, ops.voxelize_dense(data, layout, GRID, ['count', 'mean:x']).tensor)

        out = (
            torch.full((6, 3), -1, dtype=torch.int32),
            torch.full((6, 1), NAN),
            torch.full((6,), -1, dtype=torch.int32),
        )
        sparse = ops.voxelize_sparse(data, layout, GRID, ['count'], out=out)
        assert [t.data_ptr() for t in out] == [t.data_ptr() for t in (sparse.coords, sparse.features, sparse.counts)]
        assert out[2].tolist() == [1, 1, 1, 2, -1, -1], 'rows beyond the result are left alone'
        cut = ops.voxelize_sparse(data, layout, GRID, ['count'], max_voxels=3, out=out)
        assert len(cut.counts) == 3

    def test_read_only_bytes_are_read(self):
        data, layout = packed(self.POINTS)
        message = bytes(data.numpy())
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # torch warns that they must not be written
            view = torch.from_numpy(np.frombuffer(message, np.uint8))
        assert len(ops.voxelize_sparse(view, layout, GRID, ['count']).counts) == 4


# --- refusals


def cloud_error(reason: str, layout: CloudLayout, nbytes: int = 64, channels: tuple[str, ...] = ('count',)) -> None:
    data = torch.zeros(nbytes, dtype=torch.uint8)
    for operation in (ops.voxelize_dense, ops.voxelize_sparse):
        with pytest.raises(DataError) as error:
            operation(data, layout, GRID, channels)
        assert error.value.reason == reason


XYZ = tuple(PointField(name, 4 * i, 'float32') for i, name in enumerate('xyz'))


@pytest.mark.parametrize(
    ('reason', 'layout'),
    [
        ('bad_layout', CloudLayout(XYZ, -1, 1, 12, 12)),
        ('bad_layout', CloudLayout(XYZ, 0, 1, 12, 1 << 70)),
        ('bad_layout', CloudLayout((*XYZ[:2], PointField('z', 8, 'int32')), 1, 1, 12, 12)),
        ('field_beyond_point_step', CloudLayout(XYZ, 1, 1, 11, 12)),
        ('field_beyond_point_step', CloudLayout((*XYZ, PointField('i', 12, 'float32', 2)), 1, 1, 16, 16)),
        ('row_step_too_small', CloudLayout(XYZ, 2, 2, 12, 23)),
        ('data_too_short', CloudLayout(XYZ, 5, 2, 12, 60)),
        ('missing_field', CloudLayout(XYZ[:2], 1, 1, 12, 12)),
    ],
)
def test_unusable_clouds(reason, layout):
    cloud_error(reason, layout)


def test_a_channel_of_a_field_that_is_missing_or_of_no_known_type():
    cloud_error('missing_field', CloudLayout(XYZ, 1, 1, 12, 12), channels=('max:intensity',))
    layout = CloudLayout((*XYZ, PointField('v', 12, 'int64')), 1, 1, 20, 20)
    cloud_error('bad_layout', layout, channels=('max:v',))


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        ({'channels': ()}, ValueError, 'channels'),
        ({'channels': ('count',) * 33}, ValueError, 'channels'),
        ({'channels': ('median:x',)}, ValueError, 'median:x'),
        ({'channels': ('mean:',)}, ValueError, 'mean:'),
        ({'channels': ('count:x',)}, ValueError, 'count:x'),
        ({'channels': 'count'}, TypeError, 'channels'),
        ({'min_range': -1.0}, ValueError, 'min_range = -1.0'),
        ({'min_range': 2.0, 'max_range': 2.0}, ValueError, 'max_range = 2.0'),
        ({'max_range': NAN}, ValueError, 'max_range'),
        ({'quantum': 0.0}, ValueError, 'quantum'),
        ({'quantum': INF}, ValueError, 'quantum'),
        ({'grid': dataclasses.replace(GRID, size=(0.5, 0.0, 0.5))}, ValueError, 'grid.size'),
        ({'grid': dataclasses.replace(GRID, lower=(0, INF, 0))}, ValueError, 'grid.lower'),
        ({'grid': dataclasses.replace(GRID, shape=(0, 1, 1))}, ValueError, 'grid.shape'),
        ({'grid': dataclasses.replace(GRID, shape=(2048, 2048, 2048))}, ValueError, 'grid.shape'),
        ({'transform': torch.eye(3)}, ValueError, 'transform'),
        ({'transform': torch.eye(4) * 2}, ValueError, 'transform'),
        ({'transform': torch.full((4, 4), NAN)}, ValueError, 'transform'),
        ({'transform': torch.eye(4, dtype=torch.float64)}, TypeError, 'transform is torch.float64'),
        ({'transform': np.eye(4)}, TypeError, 'transform is ndarray'),
        ({'transform': torch.eye(4), 'deskew': PoseTable('x', shifts(0.0), 0.0, 1.0)}, ValueError, 'only one'),
        ({'deskew': PoseTable('t', shifts(0.0), 0.0, 1.0)}, DataError, "no field 't'"),
        ({'deskew': PoseTable('x', shifts(0.0)[:0], 0.0, 1.0)}, ValueError, 'deskew.poses has shape'),
        ({'deskew': PoseTable('x', shifts(0.0)[0], 0.0, 1.0)}, ValueError, 'deskew.poses has shape'),
        ({'deskew': PoseTable('x', torch.eye(4)[None], 0.0, 1.0)}, ValueError, 'deskew.poses has shape'),
        ({'deskew': PoseTable('x', shifts(NAN), 0.0, 1.0)}, ValueError, 'deskew.poses'),
        ({'deskew': PoseTable('x', shifts(0.0).double(), 0.0, 1.0)}, TypeError, 'deskew.poses is'),
        ({'deskew': PoseTable('x', shifts(0.0), NAN, 1.0)}, ValueError, 'deskew.first'),
        ({'deskew': PoseTable('x', shifts(0.0), 0.0, INF)}, ValueError, 'deskew.inverse_step'),
        ({'data': torch.zeros(24)}, TypeError, 'data is torch.float32'),
        ({'data': torch.zeros(2, 24, dtype=torch.uint8)}, ValueError, 'data has shape'),
        ({'data': torch.zeros(48, dtype=torch.uint8)[::2]}, ValueError, 'data has stride 2'),
        ({'data': torch.zeros(24, dtype=torch.uint8, device='meta')}, ValueError, 'data is on meta'),
    ],
)
@pytest.mark.parametrize('operation', [ops.voxelize_dense, ops.voxelize_sparse])
def test_arguments_that_are_not_allowed(operation, arguments, error, message):
    data, layout = packed([[0, 0, 0], [1, 1, 1]])
    arguments = {'data': data, 'layout': layout, 'grid': GRID, 'channels': ('count',), **arguments}
    with pytest.raises(error, match=message):
        operation(**arguments)


def test_out_that_does_not_fit():
    data, layout = packed([[0, 0, 0], [1, 1, 1]])
    int32 = torch.int32
    for out, error in [
        (torch.empty(1, 3, 7, 9), ValueError),
        (torch.empty(3, 7, 8), ValueError),
        (torch.empty(1, 3, 7, 8, dtype=torch.float64), TypeError),
        (torch.empty(1, 3, 8, 7).transpose(2, 3), ValueError),
    ]:
        with pytest.raises(error, match='out'):
            ops.voxelize_dense(data, layout, GRID, ['count'], out=out)
    fits = torch.empty(4, 3, dtype=int32), torch.empty(4, 1), torch.empty(4, dtype=int32)
    for out, error in [
        (fits[:2], ValueError),
        ((fits[0], torch.empty(4, 2), fits[2]), ValueError),
        ((fits[0][:3], fits[1], fits[2]), ValueError),
        ((fits[0], fits[1], torch.empty(4)), TypeError),
    ]:
        with pytest.raises(error, match='out'):
            ops.voxelize_sparse(data, layout, GRID, ['count'], out=out)
    with pytest.raises(ValueError, match='must have at least 5'):
        ops.voxelize_sparse(data, layout, GRID, ['count'], max_voxels=5, out=fits)
    with pytest.raises(ValueError, match='max_voxels = 0'):
        ops.voxelize_sparse(data, layout, GRID, ['count'], max_voxels=0)
