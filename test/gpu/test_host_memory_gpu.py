# SPDX-License-Identifier: Apache-2.0
"""Pinned memory of the host: handed out again, bounded, and with the bytes that were put there."""

import ctypes
import gc
import os

import numpy as np
import pytest
import torch

from robocache_core import host_memory
from robocache_core.device import choose_device

MIB = 1 << 20
MOST = 512 * MIB


@pytest.fixture(scope='module', autouse=True)
def device():
    found, fault = choose_device('cuda')
    assert fault is None
    return found


def is_pinned(array):
    return torch.from_numpy(array).is_pinned()


def test_memory_is_pinned_and_handed_out_again():
    block = host_memory.empty(3 * MIB)
    assert is_pinned(block)
    at, before = block.ctypes.data, host_memory.pinned_bytes()
    view = block[MIB:]
    del block
    other = host_memory.empty(3 * MIB)
    assert other.ctypes.data != at  # a view of it is still there
    del view
    assert host_memory.empty(4 * MIB).ctypes.data == at
    assert host_memory.pinned_bytes() <= before + 4 * MIB
    assert not is_pinned(host_memory.empty(1000))


def test_it_is_bounded_and_ordinary_beyond():
    gc.collect()
    held = [host_memory.empty(32 * MIB) for _ in range(20)]
    assert host_memory.pinned_bytes() <= MOST
    assert is_pinned(held[0])
    assert not is_pinned(held[-1])
    held[-1][:] = 7  # it is memory all the same
    held.clear()
    assert is_pinned(host_memory.empty(32 * MIB))


@pytest.mark.parametrize('size', [1, 4095, 65536, 5 * MIB + 3])
def test_uploads_from_it_are_its_bytes(device, size):
    data = host_memory.empty(size)
    for seed in range(3):
        data[:] = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
        device.begin_frame()
        there = device.upload(torch.from_numpy(data))
        device.synchronize()
        assert there.is_cuda
        assert np.array_equal(there.cpu().numpy(), data)


def test_others_get_memory_by_the_addresses_of_its_functions():
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    types = (
        ctypes.CFUNCTYPE(pointer, size, pointer),
        ctypes.CFUNCTYPE(None, pointer, pointer),
        ctypes.CFUNCTYPE(pointer, pointer, size, pointer),
        ctypes.CFUNCTYPE(pointer, size, size, pointer),
    )
    allocate, free, reallocate, zeros = (t(at) for t, at in zip(types, host_memory.functions(), strict=True))
    for first in (100, MIB):
        block = reallocate(None, first, None)
        ctypes.memset(block, 5, first)
        block = reallocate(block, 9 * MIB, None)
        assert ctypes.string_at(block, first) == b'\5' * first
        free(block, None)
    dirty = allocate(2 * MIB, None)
    ctypes.memset(dirty, 9, 2 * MIB)
    free(dirty, None)
    clean = zeros(2, MIB, None)
    assert clean == dirty
    assert ctypes.string_at(clean, 2 * MIB) == bytes(2 * MIB)
    free(clean, None)
    assert zeros(1 << 40, 1 << 40, None) is None
    assert allocate((1 << 63) + 1, None) is None
    free(None, None)


@pytest.mark.filterwarnings('ignore:.*multi-threaded:DeprecationWarning')
def test_a_forked_child_leaves_the_blocks_to_its_parent():
    held, kept = [host_memory.empty(6 * MIB) for _ in range(2)]
    of_parent = {held.ctypes.data, kept.ctypes.data}
    held[:] = 5
    del kept
    child = os.fork()
    if child == 0:  # no assertion in here, pytest is the parent's
        del held
        found = [host_memory.empty(6 * MIB) for _ in range(3)]
        for each in found:
            each[:] = 9
        os._exit(int(any(each.ctypes.data in of_parent for each in found)))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert (held == 5).all()
    assert is_pinned(host_memory.empty(6 * MIB))
