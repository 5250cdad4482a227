# SPDX-License-Identifier: Apache-2.0
"""Malformed and extreme arguments: every operation gives a result, or an error that its docstring names."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robocache_core import ops
from robocache_core.ops import PoseTable, VoxelGrid
from robocache_core.samples import CloudLayout, PointField

XYZ = tuple(PointField(name, 4 * i, 'float32') for i, name in enumerate('xyz'))
LAYOUT = CloudLayout((*XYZ, PointField('t', 12, 'float32')), 4, 2, 16, 64)
GRID = VoxelGrid((-1.0, -1.0, -1.0), (0.5, 0.5, 0.5), (4, 4, 4))
POSES = torch.eye(4)[None, :3].repeat(3, 1, 1)
CLOUD = {'data': torch.rand(32).sub(0.5).view(torch.uint8), 'layout': LAYOUT, 'min_range': 0.0, 'max_range': 9.0}
MOVED = {'transform': None, 'deskew': PoseTable('t', POSES, 0.0, 2.0)}
VALUES, STAMPS, TARGETS = torch.rand(2, 5, 4), torch.arange(10).view(2, 5), torch.arange(8).view(2, 4)
READ = {'method': 'linear', 'tolerance_ns': 9, 'outside': 'hold', 'unsorted': 'refuse', 'dtype': None, 'out': None}

CALLS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    'voxelize_dense': (
        ops.voxelize_dense,
        {**CLOUD, **MOVED, 'grid': GRID, 'channels': ('count', 'mean:x', 'max:t'), 'quantum': 0.01, 'out': None},
    ),
    'voxelize_sparse': (
        ops.voxelize_sparse,
        {**CLOUD, **MOVED, 'grid': GRID, 'channels': ('mean:t',), 'quantum': 0.01, 'max_voxels': 5, 'out': None},
    ),
    'voxelize_hard': (
        ops.voxelize_hard,
        {**CLOUD, **MOVED, 'grid': GRID, 'fields': ('t',), 'max_points': 2, 'max_voxels': 5, 'out': None},
    ),
    'deskew_points': (ops.deskew_points, {**CLOUD, **MOVED, 'fields': ('t',), 'out': None}),
    'prepare_image': (
        ops.prepare_image,
        {
            'data': torch.arange(96, dtype=torch.uint8),
            'encoding': 'bgr8', 'width': 8, 'height': 4, 'step': 24, 'is_bigendian': False, 'out_width': 4,
            'out_height': 4, 'resize': 'bilinear', 'letterbox': True, 'pad': 1.0, 'scale': 0.1,
            'mean': (0.0, 0.0, 0.0), 'std': (1.0, 1.0, 1.0), 'dtype': torch.float16, 'out': None,
        },
    ),
    'resample': (ops.resample, {'values': VALUES, 'stamps_ns': STAMPS, 'targets_ns': TARGETS, **READ}),
    'fuse': (ops.fuse, {'streams': [(VALUES, STAMPS)] * 2, 'targets_ns': TARGETS, **READ}),
}  # fmt: skip

INTEGERS = st.sampled_from([-(2**63), -1, 0, 1, 3, 5, 24, 65, 2**31, 2**63])
NUMBERS = INTEGERS | st.sampled_from([0.0, -0.5, 1e-300, 1e300, math.inf, math.nan])
WORDS = ['', 'x', 't', 'count', 'mean:t', 'mean:', 'max:q', 'slerp', 'nearest', 'zero', 'extrapolate', 'sort', 'area']
ENCODINGS = ['mono8', 'mono16', '32FC1', 'bayer_rggb8', 'yuv422_yuy2', 'nv12', 'nonsense', 'é\0']
NAMES = st.sampled_from(WORDS + ENCODINGS)
TYPES = st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.uint8, torch.int64])


@st.composite
def tensors(draw, like: torch.Tensor) -> torch.Tensor:
    """``like`` with one thing or two changed."""
    tensor = like
    for how in draw(st.lists(st.sampled_from(['shape', 'type', 'random', 'strides', 'place']), min_size=1, max_size=2)):
        if how == 'shape':
            tensor = torch.zeros(draw(st.lists(st.sampled_from([0, 1, 2, 4, 5]), max_size=4)), dtype=tensor.dtype)
        elif how == 'type':
            tensor = tensor.to(draw(TYPES))
        elif how == 'random' and not tensor.is_sparse:
            values = np.random.default_rng(draw(st.integers(0, 99))).integers(-9, 9, tuple(tensor.shape))
            tensor = torch.from_numpy(values).to(tensor.dtype)
        elif how == 'strides' and not tensor.is_sparse and tensor.dim():
            axis = draw(st.integers(0, tensor.dim() - 1))
            tensor = (
                tensor.transpose(0, axis) if tensor.shape[axis] == 0 else tensor.narrow(axis, 0, 1).expand_as(tensor)
            )
        elif how == 'place' and not tensor.is_sparse and tensor.is_cpu:
            tensor = draw(st.sampled_from([tensor.to('meta'), tensor.to_sparse()]))
    return tensor


def several(*likes: torch.Tensor) -> st.SearchStrategy[Any]:
    return st.none() | tensors(likes[0]) | st.tuples(*map(tensors, likes)) | st.tuples(tensors(likes[0]))


COORDS, COUNTS = torch.zeros(5, 3, dtype=torch.int32), torch.zeros(5, dtype=torch.int32)
STREAM = st.tuples(tensors(VALUES), tensors(STAMPS) | st.just(STAMPS))
#: What an argument may become: something of its kind.
KINDS: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(('encoding', 'resize', 'unsorted'), NAMES),
    **dict.fromkeys(('method', 'outside'), NAMES | st.lists(NAMES, max_size=3)),
    **dict.fromkeys(('channels', 'fields'), NAMES | st.lists(NAMES, max_size=40)),
    **dict.fromkeys(('mean', 'std'), st.lists(NUMBERS, max_size=4)),
    **dict.fromkeys(('min_range', 'max_range', 'quantum', 'pad', 'scale'), NUMBERS),
    **dict.fromkeys(('width', 'height', 'step', 'out_width', 'out_height', 'max_points', 'max_voxels'), INTEGERS),
    **dict.fromkeys(('is_bigendian', 'letterbox'), st.booleans()),
    'tolerance_ns': NUMBERS | st.lists(NUMBERS, max_size=3),
    'layout': st.builds(CloudLayout, st.just(LAYOUT.fields), *[INTEGERS] * 4),
    'grid': st.builds(VoxelGrid, *[st.tuples(NUMBERS, NUMBERS, NUMBERS)] * 2, st.tuples(INTEGERS, INTEGERS, INTEGERS)),
    'transform': tensors(torch.eye(4)),
    'deskew': st.builds(PoseTable, NAMES, tensors(POSES) | st.just(POSES), NUMBERS, NUMBERS),
    'data': tensors(torch.zeros(128, dtype=torch.uint8)),
    'values': tensors(VALUES),
    'stamps_ns': tensors(STAMPS),
    'targets_ns': tensors(TARGETS),
    'streams': st.lists(STREAM, max_size=3),
    'dtype': TYPES,
    'out': several(COORDS, torch.zeros(5, 1), COUNTS) | several(torch.zeros(2, 4, 4), torch.zeros(2, 4).bool()),
}


@pytest.mark.parametrize('name', CALLS)
def test_the_calls_that_are_meddled_with_are_right(each_backend, name):
    operation, arguments = CALLS[name]
    operation(**arguments)


@pytest.mark.parametrize('name', CALLS)
@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_any_argument(name, data):
    operation, arguments = CALLS[name]
    meddled = data.draw(st.lists(st.sampled_from(sorted(arguments)), min_size=1, max_size=2, unique=True))
    with suppress(ValueError, TypeError):  # DataError is a ValueError
        operation(**{**arguments, **{argument: data.draw(KINDS[argument], label=argument) for argument in meddled}})
