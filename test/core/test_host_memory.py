# SPDX-License-Identifier: Apache-2.0
"""Memory of the host: ordinary, and of the compiled module once a pipeline computes on a GPU."""

import types

import numpy as np
import pytest

from robocache_core import host_memory


class Module:
    """Plays the compiled one: its blocks are ordinary memory, and counted."""

    block_functions = (1, 2, 3, 4)

    def __init__(self):
        self.gpus, self.sizes = [], []

    def pin_blocks(self, gpu):
        self.gpus.append(gpu)

    def Block(self, size):  # a class there
        self.sizes.append(size)
        return bytearray(size)

    def pinned_bytes(self):
        return sum(self.sizes)


@pytest.fixture
def ordinary(monkeypatch):
    monkeypatch.setattr(host_memory, '_module', None)


def test_without_a_gpu_memory_is_ordinary(ordinary):
    found = host_memory.empty(10)
    assert (found.dtype, found.shape, found.flags.writeable) == (np.uint8, (10,), True)
    assert host_memory.functions() is None
    assert host_memory.pinned_bytes() == 0


def test_with_a_gpu_it_is_of_the_module(ordinary):
    module = Module()
    host_memory.pin(module, 3)
    found = host_memory.empty(10)
    assert (found.dtype, found.shape, found.flags.writeable) == (np.uint8, (10,), True)
    assert host_memory.empty(0).shape == (0,)
    assert (module.gpus, module.sizes, host_memory.pinned_bytes()) == ([3], [10], 10)
    assert host_memory.functions() == host_memory.Functions(1, 2, 3, 4)


def test_an_error_while_it_is_pinned_leaves_it_ordinary(ordinary):
    def fail(gpu):
        raise RuntimeError('no GPU')

    with pytest.raises(RuntimeError):
        host_memory.pin(types.SimpleNamespace(pin_blocks=fail), 0)
    assert host_memory.functions() is None
