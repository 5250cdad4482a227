# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from support import on_gpu

from robocache_core import backends
from robocache_core.ops import DenseVoxels, HardVoxels, SparseVoxels


def _skip_without(name: str) -> None:
    if name == 'cpu':
        try:
            with backends.use('cpu'):
                pass
        except RuntimeError as error:
            pytest.skip(str(error))
    if name == 'cuda' and (why_not := on_gpu.why_not()) is not None:
        pytest.skip(why_not)


@pytest.fixture(params=[*backends.NAMES, 'cuda'])
def each_backend(request: pytest.FixtureRequest) -> Iterator[backends.Backend]:
    """Runs the test on every backend; for cuda the operations take tensors to the GPU and back."""
    _skip_without(request.param)
    if request.param == 'cuda':
        with on_gpu.operations_on_gpu():
            yield backends.cuda()
    else:
        with backends.use(request.param) as chosen:
            yield chosen


@pytest.fixture
def float64_by_default() -> Iterator[None]:
    """From here on torch makes tensors of float64 where it is not told a dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


_TENSORS = {
    DenseVoxels: ('tensor',),
    SparseVoxels: ('coords', 'features', 'counts'),
    HardVoxels: ('voxels', 'coords', 'num_points'),
}


def _bits(result: Any) -> Any:
    """A result with its tensors as bits, so that NaN equals NaN and 0 does not equal -0."""
    if isinstance(result, torch.Tensor):
        sizes = {2: torch.int16, 4: torch.int32}
        bits = result.view(sizes[result.element_size()]) if result.is_floating_point() else result
        return str(result.dtype), tuple(result.shape), bits.tolist()
    if isinstance(result, tuple):
        return tuple(map(_bits, result))
    return {name: _bits(getattr(result, name)) for name in _TENSORS[type(result)]} | {'dropped': result.dropped}


@pytest.fixture(scope='session')
def assert_parity() -> Callable[..., Any]:
    """Calls a function on all backends, demands the same bits, returns the result."""
    _skip_without('cpu')

    def check(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with backends.use('reference'):
            expected = function(*args, **kwargs)
        with backends.use('cpu'):
            result = function(*args, **kwargs)
        assert _bits(result) == _bits(expected)
        if on_gpu.why_not() is None:
            with on_gpu.operations_on_gpu() as operations:
                found = operations.get(function, function)(*args, **kwargs)
            assert _bits(found) == _bits(expected), 'on the GPU'
        return result

    return check
