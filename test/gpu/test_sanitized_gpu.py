# SPDX-License-Identifier: Apache-2.0
"""The kernels of the operations on small inputs of odd sizes: what `make sanitize-gpu` runs under tools that are slow.

Tensors go to the GPU by copies and come back by copies, so hardly a kernel of torch runs beside ours. A copy has the
offset and the strides of the original, and ends where its storage ends.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from support import whole_robot
from support.clouds_on_gpu import CHANNELS, FIELDS, GRID, as_bytes, assert_same_bits, layout, points
from support.on_gpu import on_gpu

from robocache_core import ops, payload
from robocache_core.device import CudaDevice, choose_device
from robocache_core.ops import PoseTable, VoxelGrid
from robocache_core.pipeline import Pipeline
from robocache_core.samples import CloudLayout, PointField

SANITIZED = os.environ.get('ROBOCACHE_SANITIZED_GPU')

#: Not a multiple of a warp nor of a block; one point; none.
SIZES = (1031, 257, 1, 0)
#: Voxels that are not a multiple of 4, and those that are: the dense tensor is stored by vectors or one by one.
GRIDS = (VoxelGrid((-2.0, -2.0, -1.0), (0.25, 0.25, 0.25), (17, 13, 7)), GRID)


@pytest.mark.skipif(SANITIZED is None, reason='only make sanitize-gpu says which module it means')
def test_the_module_that_is_meant_is_the_one_that_runs():
    import _robocache_core

    assert Path(_robocache_core.__file__).parent == Path(str(SANITIZED))


def check(operation, *args, **kwargs):
    assert_same_bits(on_gpu(operation)(*args, **kwargs), operation(*args, **kwargs))


@pytest.mark.parametrize('num', SIZES)
@pytest.mark.parametrize('grid', GRIDS, ids=['odd', 'even'])
def test_voxels(num, grid):
    data = as_bytes(points(num, num))
    check(ops.voxelize_dense, data, layout(num), grid, (*CHANNELS, 'occupancy', 'density'))
    check(ops.voxelize_dense, data, layout(num), grid, ('count', 'occupancy'))
    check(ops.voxelize_sparse, data, layout(num), grid, CHANNELS)
    check(ops.voxelize_sparse, data, layout(num), grid, (*CHANNELS, *(f'min:{name}' for name in FIELDS[:3]), 'density'))
    check(ops.voxelize_sparse, data, layout(num), grid, ('count',), max_voxels=5)
    check(ops.voxelize_hard, data, layout(num), grid, FIELDS, max_points=3)
    check(ops.voxelize_hard, data, layout(num), grid, FIELDS, max_points=3, max_voxels=5)


@pytest.mark.parametrize('big', [False, True], ids=['little', 'big'])
def test_a_cloud_whose_fields_lie_anywhere(big):
    """Fields across words, gaps after points and rows, nothing after the last; an offset into the storage."""
    fields = (
        PointField('t', 1, 'uint32'), PointField('x', 6, 'float32'), PointField('y', 11, 'float64'),
        PointField('z', 20, 'float32'), PointField('a', 25, 'int16'), PointField('b', 28, 'uint8'),
    )  # fmt: skip
    width, height, step = 37, 5, 29
    row_step = width * step + 3
    generator = torch.Generator().manual_seed(0)
    storage = torch.randint(0, 256, (7 + row_step * height,), dtype=torch.uint8, generator=generator)
    data, scan = storage[7:], CloudLayout(fields, width, height, step, row_step, big)
    angle = torch.linspace(0, 0.3, 5)
    poses = torch.eye(4)[None, :3].repeat(5, 1, 1)
    poses[:, 0, 0], poses[:, 0, 3] = angle.cos(), angle
    table = PoseTable('t', poses.contiguous(), 0.0, 1e-9)
    huge = VoxelGrid((-1e30, -1e30, -1e30), (1e29,) * 3, (20, 20, 20))
    check(ops.voxelize_sparse, data, scan, huge, ('count', 'mean:a', 'max:b'), deskew=table)
    check(ops.voxelize_dense, data, scan, huge, ('count', 'min:a'), deskew=table)
    check(ops.voxelize_hard, data, scan, huge, ('x', 'b'), max_points=2, deskew=table)
    check(ops.deskew_points, data, scan, ('a', 'b'), deskew=table, min_range=0.5)
    check(ops.deskew_points, data, scan)


@pytest.mark.parametrize('step', [16, 20, 36, 80, 84, 300])
@pytest.mark.parametrize('begin', [0, 4, 16])
def test_a_cloud_whose_points_are_near_and_far(step, begin):
    """Some go through shared memory; what is between fields may be anything, and a tensor begins anywhere."""
    num = 1031
    data = torch.full((begin + step * num,), 0xFF, dtype=torch.uint8)[begin:]
    data.view(num, step)[:, :16] = as_bytes(points(num, step)).view(num, 16)
    fields = CloudLayout.packed(FIELDS, num).fields
    scan = CloudLayout(fields, num, 1, step, step * num)
    check(ops.voxelize_dense, data, scan, GRID, ('count', 'occupancy'))
    check(ops.voxelize_dense, data, scan, GRID, CHANNELS)
    check(ops.voxelize_sparse, data, scan, GRID, CHANNELS)
    check(ops.deskew_points, data, scan, ('intensity',))


IMAGES = {
    'rgb8': 3, 'bgra8': 4, 'mono8': 1, 'mono16': 2, '32FC1': 4, 'bayer_grbg8': 1, 'bayer_rggb16': 2,
    'uyvy': 2, 'yuyv': 2, 'nv12': 1,
}  # fmt: skip


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize('encoding', IMAGES)
def test_images(encoding, dtype):
    width, height = (38, 26) if encoding in ('uyvy', 'yuyv', 'nv12') else (37, 25)
    step = width * IMAGES[encoding] + 4
    rows = height * 3 // 2 if encoding == 'nv12' else height
    generator = torch.Generator().manual_seed(1)
    data = torch.randint(0, 256, (step * rows,), dtype=torch.uint8, generator=generator)
    place = {'encoding': encoding, 'width': width, 'height': height, 'step': step, 'dtype': dtype}
    for resize in ('bilinear', 'nearest', 'area'):
        check(ops.prepare_image, data, **place, out_width=19, out_height=11, resize=resize)
    check(ops.prepare_image, data, **place, out_width=61, out_height=43, letterbox=True, is_bigendian=True)
    where = torch.rand(11, 19, 2, generator=generator) * 50 - 6
    where[3, 4] = torch.nan
    check(ops.prepare_image, data, **place, out_width=19, out_height=11, rectify=where.contiguous())


def streams(dtype: torch.dtype, expanded: bool, unsorted: bool = False):
    """Three of odd widths; values that are a view, stamps that the batch shares."""
    generator = torch.Generator().manual_seed(2)
    made = []
    for samples, width in ((31, 5), (1, 8), (17, 4)):
        values = torch.randn(3, samples, width + 1, generator=generator).to(dtype)[:, :, 1:]
        if width == 8:
            values = values.contiguous()
        stamps = torch.randint(1, 1000, (1 if expanded else 3, samples), generator=generator).cumsum(1)
        if unsorted:
            stamps = stamps.flip(1)
        made.append((values, stamps.expand(3, samples)))
    return made, torch.randint(-100, 20_000, (1, 23), generator=generator).expand(3, 23)


@pytest.mark.parametrize('out_dtype', [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize('expanded', [False, True], ids=['contiguous', 'expanded'])
def test_streams(dtype, out_dtype, expanded):
    made, targets = streams(dtype, expanded)
    settings = {'tolerance_ns': 300, 'dtype': out_dtype, 'unsorted': 'trust'}
    check(ops.fuse, made, targets, method=('linear', 'nearest', 'slerp'), outside='hold', **settings)
    check(ops.resample, *made[0], targets, method='linear', outside='extrapolate', **settings)
    check(ops.resample, *made[1], targets, method='previous', outside='zero', **settings)


def test_many_streams_are_more_than_one_launch():
    made, targets = streams(torch.float32, True)
    check(ops.fuse, [made[0]] * 19, targets, method='linear', tolerance_ns=300, unsorted='trust')


def test_stamps_are_searched_for_a_descent():
    made, targets = streams(torch.float32, False)
    check(ops.fuse, made, targets, method='linear', tolerance_ns=300, unsorted='refuse')
    made[2][1][1, 9] = 0
    with pytest.raises(ValueError, match=r'streams\[2\] stamps_ns\[1, 9\] = 0 follows'):
        on_gpu(ops.fuse)(made, targets, method='linear', tolerance_ns=300, unsorted='refuse')


def test_stamps_that_are_sorted():
    made, targets = streams(torch.float16, True, unsorted=True)
    check(ops.fuse, made, targets, method='linear', tolerance_ns=300, unsorted='sort')


@pytest.mark.parametrize('pinned', [False, True], ids=['pageable', 'pinned'])
def test_bytes_that_are_uploaded(pinned):
    """Of less than a piece, of pieces and a rest, of chunks and a rest; each frame in memory that the last one left."""
    device, _ = choose_device('cuda')
    assert isinstance(device, CudaDevice)
    generator = torch.Generator().manual_seed(3)
    for _ in range(3):
        device.begin_frame()
        sent = [torch.randint(0, 256, (num,), dtype=torch.uint8, generator=generator) for num in (1, 1031, 0, 700_001)]
        sent.append(torch.arange((33 << 20) + 7, dtype=torch.uint8))
        if pinned:
            sent = [tensor.pin_memory() for tensor in sent]
        there = [device.upload(tensor) for tensor in sent]
        device.synchronize()
        assert all(torch.equal(found.cpu(), expected) for found, expected in zip(there, sent, strict=True))


def test_frames_of_a_whole_robot():
    digests = []
    for device in ('cpu', 'cuda'):
        pipeline = Pipeline(whole_robot.config(device))
        digests.append([payload.digest(frame) for frame in whole_robot.frames(pipeline, 4)])
        assert pipeline.device_fault is None
    assert digests[0]
    assert digests[0] == digests[1]
