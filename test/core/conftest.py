# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from robocache_core import backend


def _skip_without(name: str) -> None:
    if name == 'cpu':
        try:
            with backend.use('cpu'):
                pass
        except RuntimeError as error:
            pytest.skip(str(error))


@pytest.fixture(params=backend.NAMES)
def each_backend(request):
    """Runs the test on every backend."""
    _skip_without(request.param)
    with backend.use(request.param) as chosen:
        yield chosen


def _bits(result: Any) -> Any:
    """A result with its tensors as bits, so that NaN equals NaN and 0 does not equal -0."""
    if isinstance(result, torch.Tensor):
        sizes = {2: torch.int16, 4: torch.int32}
        bits = result.view(sizes[result.element_size()]) if result.is_floating_point() else result
        return str(result.dtype), tuple(result.shape), bits.tolist()
    if isinstance(result, tuple):
        return tuple(map(_bits, result))
    return {name: _bits(value) if name != 'dropped' else value for name, value in vars(result).items()}


@pytest.fixture(scope='session')
def assert_parity() -> Callable[..., Any]:
    """Calls a function on both backends, demands the same bits, returns the result."""
    _skip_without('cpu')

    def check(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with backend.use('reference'):
            expected = function(*args, **kwargs)
        with backend.use('cpu'):
            result = function(*args, **kwargs)
        assert _bits(result) == _bits(expected)
        return result

    return check
