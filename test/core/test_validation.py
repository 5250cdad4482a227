# SPDX-License-Identifier: Apache-2.0
"""Every argument of every operation refuses what is of the wrong kind, and says which argument it was."""

import dataclasses
import functools
import inspect

import numpy as np
import pytest
import torch
from support.cameras import straight_info

from benchmark.gpu.workload import differences
from robocache_core import ops
from robocache_core.camera_model import camera_model_of
from robocache_core.ops import PoseTable, VoxelGrid
from robocache_core.samples import CloudLayout, DataError, PointField

DATA, PIXELS = torch.zeros(64, dtype=torch.uint8), torch.zeros(48, dtype=torch.uint8)
LAYOUT = CloudLayout.packed(('x', 'y', 'z', 't'), 4)
GRID = VoxelGrid((-1.0, -1.0, -1.0), (0.5, 0.5, 0.5), (4, 4, 4))
POSES = PoseTable('t', torch.eye(4)[None, :3].contiguous(), 0.0, 1.0)
STREAM = torch.zeros(1, 3, 4), torch.arange(3)[None]
TARGETS = torch.arange(2)[None]

#: By operation: a call that is allowed.
CALLS = {
    'voxelize_dense': {'data': DATA, 'layout': LAYOUT, 'grid': GRID, 'channels': ('count',)},
    'voxelize_sparse': {'data': DATA, 'layout': LAYOUT, 'grid': GRID, 'channels': ('count',)},
    'voxelize_hard': {'data': DATA, 'layout': LAYOUT, 'grid': GRID, 'fields': ('x',), 'max_points': 2},
    'deskew_points': {'data': DATA, 'layout': LAYOUT},
    'prepare_image': {
        'data': PIXELS, 'encoding': 'rgb8', 'width': 4, 'height': 4, 'step': 12, 'out_width': 2, 'out_height': 2,
    },
    'prepare_depth': {
        'data': PIXELS[:32], 'encoding': '16UC1', 'width': 4, 'height': 4, 'step': 8, 'out_width': 2, 'out_height': 2,
    },
    'register_depth': {
        'data': PIXELS[:32], 'encoding': '16UC1', 'width': 4, 'height': 4, 'step': 8, 'corners': torch.zeros(3, 5, 5),
        'transform': torch.eye(4), 'camera_model': camera_model_of(straight_info(4, 4, 4.0), out_width=2, out_height=2),
    },
    'resample': {
        'values': STREAM[0], 'stamps_ns': STREAM[1], 'targets_ns': TARGETS, 'method': 'linear', 'tolerance_ns': 5,
    },
    'fuse': {'streams': [STREAM], 'targets_ns': TARGETS, 'method': 'linear', 'tolerance_ns': 5},
    'set_num_threads': {'num_threads': 1},
}  # fmt: skip

KINDS = {
    'None': None,
    'bool': True,
    'int': 5,
    'negative': -1,
    'huge': 1 << 70,
    'float': 2.5,
    'nan': float('nan'),
    'text': 'text',
    'bytes': b'bytes',
    'list of None': [None],
    'list of lists': [[1.0]],
    'tuple of ints': (1, 2),
    'dict': {'text': 1},
    'object': object(),
    'dtype': torch.float64,
    'array': np.zeros(2),
    'tensor': torch.zeros(2),
    'tensors': [torch.zeros(2)] * 2,
    'more tensors': [torch.zeros(2)] * 3,
}

#: By argument, or member of an argument: the kinds that it takes.
TAKEN = {
    'transform': {'None'},
    'rectify': {'None'},
    'deskew': {'None'},
    'out': {'None'},
    'dtype': {'None'},
    'max_voxels': {'None', 'int', 'huge'},
    'num_threads': {'int'},
    'max_points': {'int'},
    'out_width': {'int'},
    'out_height': {'int'},
    'tolerance_ns': {'bool', 'int'},
    'is_bigendian': {'bool', 'int', 'negative', 'huge'},
    'letterbox': {'bool', 'int', 'negative', 'huge'},
    'min_range': {'bool', 'int', 'float', 'huge'},
    'max_range': {'bool', 'int', 'float', 'huge'},
    'quantum': {'bool', 'int', 'float', 'huge'},
    'pad': {'bool', 'int', 'float', 'huge', 'negative'},
    'scale': {'bool', 'int', 'float', 'huge', 'negative'},
    'first': {'bool', 'int', 'float', 'huge', 'negative'},
    'unit': {'bool', 'int', 'float', 'huge'},
    'min_depth': {'bool', 'int', 'float', 'huge'},
    'max_depth': {'bool', 'int', 'float', 'huge'},
    'inverse_step': {'bool', 'int', 'float', 'huge', 'negative'},
}


def arguments():
    """Operation and argument, or member of an argument, of all of them."""
    for operation, call in CALLS.items():
        for name in inspect.signature(getattr(ops, operation)).parameters:
            yield operation, name, None
        members = {'layout': LAYOUT, 'grid': GRID, 'deskew': POSES} if 'layout' in call else {}
        for name in members.keys() & inspect.signature(getattr(ops, operation)).parameters.keys():
            for field in dataclasses.fields(members[name]):
                yield operation, name, field.name


def refused(operation, name, value, said):
    """Call with one wrong argument: a sample that cannot be used has a reason, all else has the argument's name."""
    with pytest.raises((ValueError, TypeError)) as raised:
        getattr(ops, operation)(**{**CALLS[operation], name: value})
    assert isinstance(raised.value, DataError) or said in str(raised.value)


def test_every_operation_is_asked():
    assert CALLS.keys() | {'num_threads'} == {name for name in ops.__all__ if name.islower()}


@pytest.mark.parametrize(('operation', 'name', 'member'), sorted(arguments(), key=str))
def test_what_is_of_the_wrong_kind_is_refused_by_name(operation, name, member):
    whole = {'layout': LAYOUT, 'grid': GRID, 'deskew': POSES}
    for kind, value in KINDS.items():
        if kind not in TAKEN.get(member or name, ()):
            given = dataclasses.replace(whole[name], **{member: value}) if member else value
            refused(operation, name, given, member or name)


@pytest.mark.parametrize(
    ('operation', 'name', 'value', 'said'),
    [
        ('voxelize_dense', 'channels', ['count', 5], 'channels[1]'),
        ('voxelize_dense', 'grid', VoxelGrid((0.0,) * 3, (1.0,) * 3, (4, 4.5, 4)), 'grid.shape[1]'),
        ('voxelize_dense', 'grid', VoxelGrid((0.0,) * 2, (1.0,) * 3, (4, 4, 4)), 'grid.lower'),
        ('voxelize_dense', 'grid', VoxelGrid([0.0] * 3, (1.0,) * 3, (4, 4, 4)), 'lower'),
        ('voxelize_dense', 'grid', VoxelGrid((0.0,) * 3, (1.0, 1.0, '1'), (4, 4, 4)), 'grid.size[2]'),
        ('voxelize_sparse', 'out', (None,) * 3, 'out[2] (counts)'),
        ('voxelize_sparse', 'out', [torch.zeros(4, dtype=torch.int32)] * 3, 'out[0] (coords)'),
        ('voxelize_sparse', 'layout', dataclasses.replace(LAYOUT, fields=(*LAYOUT.fields, None)), 'layout.fields'),
        ('voxelize_sparse', 'layout', dataclasses.replace(LAYOUT, fields=list(LAYOUT.fields)), 'layout.fields'),
        ('voxelize_hard', 'fields', ('x', None), 'fields[1]'),
        ('voxelize_hard', 'out', torch.zeros(3), 'out is Tensor'),
        ('deskew_points', 'out', [torch.zeros(4, 3), 5], 'out[1] (valid)'),
        ('deskew_points', 'min_range', '1', 'min_range is str'),
        ('prepare_image', 'dtype', None, 'dtype is None'),
        ('prepare_image', 'mean', (0.0, 'x', 0.0), 'mean[1]'),
        ('prepare_image', 'std', None, 'std is NoneType'),
        ('fuse', 'streams', [STREAM, STREAM[0]], 'streams[1]'),
        ('fuse', 'streams', [STREAM, (None, None)], 'streams[1] values'),
        ('fuse', 'targets_ns', [[0, 1]], 'targets_ns is list'),
        ('fuse', 'out', [None, None], 'out[0] (values)'),
        ('fuse', 'method', ['linear', 5], 'method'),
    ],
)
def test_what_holds_something_of_the_wrong_kind_is_refused_by_name(operation, name, value, said):
    refused(operation, name, value, said)


def test_numbers_of_numpy_and_torch_are_numbers():
    ops.voxelize_sparse(
        DATA, LAYOUT, GRID, ['count'], min_range=np.float32(0), max_range=torch.tensor(9.0),
        quantum=1, max_voxels=np.int64(3),
    )  # fmt: skip
    ops.prepare_image(
        PIXELS, encoding='rgb8', width=np.int32(4), height=torch.tensor(4), step=12, out_width=2, out_height=2,
        is_bigendian=0, letterbox=np.True_, mean=np.zeros(3), std=torch.ones(3), scale=1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ('operation', 'name', 'value'),
    [
        ('voxelize_dense', 'transform', torch.eye(4)),
        ('voxelize_dense', 'deskew.poses', dataclasses.replace(POSES, poses=POSES.poses.clone())),
        ('prepare_image', 'rectify', torch.zeros(2, 2, 2)),
        ('prepare_image', 'out', torch.zeros(3, 2, 2)),
        ('resample', 'values', STREAM[0].clone()),
        ('fuse', r'streams[0] values', [(STREAM[0].clone(), STREAM[1])]),
        ('resample', 'out[0] (values)', (torch.zeros(1, 2, 4), torch.zeros(1, 2, dtype=torch.bool))),
    ],
)
def test_a_gradient_that_would_be_lost_is_refused(operation, name, value):
    argument = name.split('[')[0].split('.')[0]
    tensor = value.poses if argument == 'deskew' else value
    while not isinstance(tensor, torch.Tensor):
        tensor = tensor[0]
    tensor.requires_grad_()
    try:
        refused(operation, argument, value, f'{name} requires a gradient')
    finally:
        tensor.requires_grad_(False)


@pytest.mark.parametrize('kind', [np.uint8, np.int16, torch.tensor])
def test_sizes_are_numbers_whose_products_do_not_wrap_around(kind):
    """A product of small integers of NumPy wraps around: 16 * 16 of uint8 is 0."""
    points = torch.arange(256 * 3, dtype=torch.float32).view(256, 3) % 7
    data, channels = points.view(torch.uint8).reshape(-1), ('count', 'mean:x')
    packed, small = CloudLayout.packed(('x', 'y', 'z'), 256), VoxelGrid((0.0,) * 3, (0.5,) * 3, (16, 16, 16))
    layout = dataclasses.replace(packed, width=kind(16), height=kind(16), point_step=kind(12), row_step=kind(192))
    grid = dataclasses.replace(small, shape=(kind(16), kind(16), kind(16)))
    assert layout.num_points == 256
    assert grid.num_voxels == 4096
    for voxelize in (ops.voxelize_sparse, ops.voxelize_dense):
        assert differences(voxelize(data, layout, grid, channels), voxelize(data, packed, small, channels)) == ''
    assert torch.equal(ops.deskew_points(data, layout)[0], points)
    with pytest.raises(DataError, match=f'{len(data) - 1} bytes < row_step'):
        ops.deskew_points(data[:-1], layout)
    beyond = dataclasses.replace(packed, fields=(*packed.fields[:2], PointField('z', kind(124), 'float64', kind(16))))
    with pytest.raises(DataError, match='ends at byte 252, point_step is 12'):
        ops.deskew_points(data, beyond)


@pytest.mark.parametrize('value', [None, [1], 1.5, True, np.dtype('float32'), 'flt'], ids=repr)
@pytest.mark.parametrize('member', ['offset', 'dtype', 'count', 'name'])
@pytest.mark.parametrize('validated', [False, True])
def test_members_of_a_field_of_the_wrong_kind_are_refused_by_name(member, value, validated):
    if member == 'name':
        value = value if value != 'flt' else 5
    fields = (*LAYOUT.fields[:3], dataclasses.replace(LAYOUT.fields[3], **{member: value}))
    layout = dataclasses.replace(LAYOUT, fields=fields)
    with pytest.raises(TypeError, match=rf'layout\.fields\[3\]\.{member} '):
        layout.validate(len(DATA)) if validated else ops.deskew_points(DATA, layout)


@pytest.mark.parametrize('operation', sorted(CALLS.keys() - {'set_num_threads'}))
def test_the_default_dtype_of_torch_does_not_matter(request, operation):
    """A process may have float64 as its default: a result is float32 where nothing else was asked for."""
    call = functools.partial(getattr(ops, operation), **CALLS[operation])
    expected = call()
    request.getfixturevalue('float64_by_default')
    assert differences(call(), expected) == ''
