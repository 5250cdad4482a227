# SPDX-License-Identifier: Apache-2.0
"""What a ``CudaDevice`` copies, keeps and waits for; a GPU is played by the CPU here."""

import gc

import pytest
import torch
from support import played_gpu
from support.played_gpu import Stream

from robocache_core import ops
from robocache_core.device import ALIGNMENT


@pytest.fixture
def gpu(monkeypatch):
    return played_gpu.play(monkeypatch)


def test_the_arena_grows_to_the_largest_frame_and_is_allocated_no_more(gpu):
    def upload(*sizes):
        gpu.begin_frame()
        sent = [torch.arange(size, dtype=torch.uint8) for size in sizes]
        there = [gpu.upload(tensor) for tensor in sent]
        assert all(torch.equal(a, b) for a, b in zip(sent, there, strict=True))
        inside = [tensor.data_ptr() - gpu._arena.data_ptr() for tensor in there]
        gpu.synchronize()
        return inside

    upload(100, 300, 1)  # finds no room yet
    assert len(gpu._arena) == 0
    assert upload(100, 300, 1) == [0, ALIGNMENT, 3 * ALIGNMENT]
    arena = gpu._arena.data_ptr()
    for sizes in ((100, 300, 1), (1,), (0, 257, 0)):
        upload(*sizes)
        assert gpu._arena.data_ptr() == arena
    assert upload(5000)[0] not in range(len(gpu._arena))  # larger than any before
    assert upload(5000) == [0]


def test_one_wait_a_frame_and_one_more_where_a_frame_was_given_up(gpu):
    for _ in range(3):  # two until the arena has grown
        gpu.begin_frame()
        gpu.upload(torch.zeros(10))
        gpu.synchronize()
    before = Stream.waits
    gpu.begin_frame()
    gpu.upload(torch.zeros(10))
    assert Stream.waits == before
    gpu.begin_frame()
    assert Stream.waits == before + 1


@pytest.mark.parametrize('dtype', [torch.bool, torch.uint8, torch.float16, torch.float32, torch.int64])
def test_put_keeps_type_and_shape(gpu, dtype):
    for shape in ((3, 5), (0, 4), (), (2, 3, 4)):
        tensor = torch.randint(0, 2, shape).to(dtype)
        for _ in range(2):
            gpu.begin_frame()
            there = gpu.upload(tensor)
            assert there.dtype == dtype
            assert torch.equal(there, tensor)
        assert there.untyped_storage().data_ptr() == gpu._arena.untyped_storage().data_ptr()
        assert gpu.keep(there).untyped_storage().data_ptr() != gpu._arena.untyped_storage().data_ptr()


def test_what_is_not_contiguous_is_put_as_it_reads(gpu):
    tensor = torch.arange(12).view(3, 4).T
    for _ in range(2):
        gpu.begin_frame()
        assert torch.equal(gpu.upload(tensor), tensor)


def test_a_constant_is_copied_once_and_forgotten_with_the_tensor(gpu, monkeypatch):
    copies = []
    monkeypatch.setattr(torch.Tensor, 'to', lambda self, device: copies.append(self.clone()) or copies[-1])
    first, second = torch.ones(3), torch.ones(3)
    assert gpu.constant(first) is gpu.constant(first) is copies[0]
    assert gpu.constant(second) is copies[1]
    assert len(copies) == 2
    del first
    gc.collect()
    gpu.constant(torch.ones(4))
    assert gpu.constant(second) is copies[1]
    assert len(gpu._constants) == 2


def test_numbers_of_all_voxelizations_come_by_one_copy(gpu):
    numbers = torch.tensor([[1, 2, 0, 0, 0, 0, 0], [2, 0, 3, 0, 0, 0, 0]])
    rows = torch.zeros(4, 3, dtype=torch.int32), torch.zeros(4, 1), torch.zeros(4, dtype=torch.int32)
    results = [ops.SparseVoxels(*rows, row) for row in numbers]
    results.append(ops.SparseVoxels(*rows, [3, 0, 0, 0, 0, 0, 0]))
    gpu.synchronize(results)
    assert Stream.waits == 0, 'the copy is the wait'
    asked = ops.SparseVoxels(*rows, numbers[0])
    assert asked.dropped['non_finite'] == 2
    assert asked.numbers_on_gpu is None, 'they are read once'
    assert [result.numbers_on_gpu for result in results] == [None] * 3
    assert [len(result.coords) for result in results] == [1, 2, 3]
    assert [result.dropped['non_finite'] for result in results] == [2, 0, 0]
    assert results[1].dropped['range'] == 3
