# SPDX-License-Identifier: Apache-2.0
"""An operation checks a call in full unless it is the same, in all that is checked, as one that has passed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from robocache_core import backends, ops
from robocache_core.samples import CloudLayout, DataError

LAYOUT = CloudLayout.packed(('x', 'y', 'z'), 4)
GRID = ops.VoxelGrid((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (2, 2, 2))


@dataclass
class Changeable:
    """Settings that are not frozen."""

    number: int = 1


def tensor(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.zeros(*shape, dtype=dtype)


def imaginary(shape: tuple[int, ...] = (2, 3)) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.complex64).imag


ALIKE = {
    'other memory': ((tensor(2, 3),), (tensor(2, 3),), (), ()),
    'none': ((None,), (None,), (), ()),
    'list for a tuple of tensors': (([(tensor(2), None)],), (((tensor(2), None),),), (), ()),
    'equal settings': ((), (), ('a' * 3, 1000, 0.5, [1, (2,)], None), ('aaa', 10**3, 0.5, [1, (2,)], None)),
    'nan': ((), (), (math.nan,), (float('nan'),)),
    'equal frozen dataclasses': ((), (), (GRID,), (ops.VoxelGrid((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (2, 2, 2)),)),
    'dtype': ((), (), (torch.float16,), (torch.float16,)),
}

UNLIKE = {
    'shape': ((tensor(2, 3),), (tensor(3, 2),), (), ()),
    'dimensions': ((tensor(6),), (tensor(6, 1),), (), ()),
    'strides': ((tensor(3, 3),), (tensor(3, 3).T,), (), ()),
    'dtype of a tensor': ((tensor(2),), (tensor(2, dtype=torch.int32),), (), ()),
    'bool for uint8': ((tensor(2, dtype=torch.bool),), (tensor(2, dtype=torch.uint8),), (), ()),
    'gradient': ((tensor(2),), (tensor(2).requires_grad_(),), (), ()),
    'negated': ((imaginary(),), (torch.zeros(2, 3, dtype=torch.complex64).conj().imag,), (), ()),
    'subclass': ((tensor(2),), (torch.nn.Parameter(tensor(2), requires_grad=False),), (), ()),
    'sparse': ((tensor(2, 2),), (tensor(2, 2).to_sparse(),), (), ()),
    'no tensor': ((tensor(2),), (np.zeros(2, np.float32),), (), ()),
    'none for a tensor': ((tensor(2),), (None,), (), ()),
    'more in a sequence': (([tensor(2)],), ([tensor(2), tensor(2)],), (), ()),
    'other nesting': (([tensor(2)], tensor(2)), ([tensor(2), tensor(2)],), (), ()),
    'five dimensions': ((tensor(1, 1, 1, 1, 1),), (tensor(1, 1, 1, 1, 1),), (), ()),
    'number': ((), (), (1,), (2,)),
    'bool for an integer': ((), (), (1,), (True,)),
    'float for an integer': ((), (), ((1, 2),), ((1, 2.0),)),
    'sign of zero': ((), (), (0.0,), (-0.0,)),
    'list for a tuple': ((), (), ((1,),), ([1],)),
    'another grid': ((), (), (GRID,), (ops.VoxelGrid((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (2, 2, 3)),)),
    'what could change': ((), (), (np.ones(1),), (np.ones(1),)),
    'a dataclass that could change': ((), (), (Changeable(),), (Changeable(),)),
}


def times_checked(*calls: tuple[tuple[Any, ...], tuple[Any, ...]]) -> int:
    checks = []

    def check(*arguments: Any) -> int:
        checks.append(arguments)
        return len(checks)

    for tensors, settings in calls:
        backends.checked_once(check, tensors, settings)
    return len(checks)


@pytest.fixture(autouse=True)
def _compiled() -> None:
    if not hasattr(torch.Tensor, '__dlpack_c_exchange_api__'):
        pytest.skip(f'torch {torch.__version__} has no exchange API of DLPack: every call is checked')
    if backends.active().name == 'reference':
        pytest.skip('the compiled module is not loaded: every call is checked')


@pytest.mark.parametrize(('tensors', 'others', 'settings', 'other_settings'), UNLIKE.values(), ids=UNLIKE)
def test_what_differs_is_checked_again(tensors, others, settings, other_settings):
    assert times_checked((tensors, settings), (others, other_settings)) == 2


@pytest.mark.parametrize(('tensors', 'others', 'settings', 'other_settings'), ALIKE.values(), ids=ALIKE)
def test_what_is_the_same_is_checked_once(tensors, others, settings, other_settings):
    assert times_checked((tensors, settings), (others, other_settings), (tensors, settings)) == 1


def test_a_list_that_changed_where_it_is_is_checked_again():
    channels = ['count', ['mean:x']]
    check_calls = ((), (channels,)), ((), (['count', ['mean:x']],))
    assert times_checked(*check_calls) == 1
    checks = []

    def check(given: list[Any]) -> int:
        checks.append(given)
        return len(checks)

    backends.checked_once(check, (), (channels,))
    channels[1][0] = 'bogus'
    assert backends.checked_once(check, (), (channels,)) == 2


def test_calls_are_kept_within_bounds_and_the_last_ones_longest():
    many = [((), (i,)) for i in range(100)]
    assert times_checked(*many, *many[-32:], *many[:1]) == 101


def test_a_check_that_fails_fails_again():
    for _ in range(2):
        with pytest.raises(ValueError, match='channels has'):
            ops.voxelize_dense(tensor(48, dtype=torch.uint8), LAYOUT, GRID, ['bogus'])


def test_contents_are_checked_in_every_call():
    data, transform = tensor(48, dtype=torch.uint8), torch.eye(4)
    ops.voxelize_dense(data, LAYOUT, GRID, ('count',), transform=transform)
    for row, value in ((0, math.nan), (1, math.inf), (3, 1.0)):
        bad = transform.clone()
        bad[row, 1] = value
        with pytest.raises(ValueError, match='transform'):
            ops.voxelize_dense(data, LAYOUT, GRID, ('count',), transform=bad)
    with pytest.raises(DataError):
        ops.voxelize_dense(data[:47], LAYOUT, GRID, ('count',))


def test_where_torch_has_no_exchange_api_every_call_is_checked():
    compiled = backends.active().module
    calls = compiled.core.CheckedCalls(object)
    calls.remember((tensor(2),), (), 'made')
    assert calls.find((tensor(2),), ()) is None
