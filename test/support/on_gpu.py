# SPDX-License-Identifier: Apache-2.0
"""The operations on a GPU for tests that speak of tensors on the CPU: inputs go there, results come back."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from robocache_core import backends, ops
from robocache_core.frame import FusedFrame
from robocache_core.ops import DenseVoxels, DepthLayout, HardVoxels, PoseTable, SparseVoxels
from robocache_core.pipeline import Pipeline

OPERATIONS = (
    *('voxelize_dense', 'voxelize_sparse', 'voxelize_hard', 'deskew_points', 'prepare_image', 'prepare_depth'),
    *('register_depth', 'resample', 'fuse'),
)


def why_not() -> str | None:
    """Why there is no GPU to test on; None where there is one.

    Raises:
        RuntimeError: there is none, and ``ROBOCACHE_REQUIRE_GPU=1`` says that tests must not skip for it.
    """
    reason = _why_not()
    if reason is not None and os.environ.get('ROBOCACHE_REQUIRE_GPU') == '1':
        raise RuntimeError(f'ROBOCACHE_REQUIRE_GPU=1, but {reason}')
    return reason


def _why_not() -> str | None:
    if not torch.cuda.is_available():
        return 'no GPU: torch.cuda.is_available() is False'
    try:
        backends.cuda()
    except RuntimeError as error:
        return str(error)
    return None


def to_gpu(tensor: torch.Tensor) -> torch.Tensor:
    """A copy on the GPU that has the same strides and the same offset in its storage."""
    if tensor.layout is not torch.strided or tensor.device.type != 'cpu' or tensor.is_neg():
        return tensor
    storage = tensor.untyped_storage()
    whole = torch.empty(0, dtype=tensor.dtype).set_(storage, 0, (storage.nbytes() // tensor.element_size(),))
    return whole.cuda().as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


class _Call:
    """One call's tensors on the GPU, each with the one on the CPU that it stands for."""

    def __init__(self) -> None:
        self.pairs: list[tuple[torch.Tensor, torch.Tensor]] = []

    def send(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            sent = to_gpu(value)
            self.pairs.append((sent, value))
            return sent
        if isinstance(value, PoseTable):
            return dataclasses.replace(value, poses=self.send(value.poses))
        if isinstance(value, DepthLayout):
            return dataclasses.replace(value, rays=self.send(value.rays))
        if isinstance(value, (tuple, list)):
            return type(value)(map(self.send, value))
        return value

    def fetch(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor on the CPU; where the caller brought it, with the contents that it now has."""
        for sent, given in self.pairs:
            if sent is tensor or (sent.data_ptr() == tensor.data_ptr() != 0 and sent.dtype == tensor.dtype):
                given[: len(tensor)] = tensor.cpu()
                return given[: len(tensor)] if given.shape != tensor.shape else given
        return tensor.cpu()

    def fetch_result(self, result: Any) -> Any:
        if isinstance(result, DenseVoxels):
            return DenseVoxels(self.fetch(result.tensor), [0, *result.dropped.values()])
        if isinstance(result, SparseVoxels | HardVoxels):
            names = {SparseVoxels: ('coords', 'features', 'counts'), HardVoxels: ('voxels', 'coords', 'num_points')}
            rows = [self.fetch(getattr(result, name)) for name in names[type(result)]]
            return type(result)(*rows, [len(rows[0]), *result.dropped.values()])
        if isinstance(result, tuple):
            return tuple(map(self.fetch_result, result))
        assert isinstance(result, torch.Tensor)
        assert result.is_cuda, 'an operation on a GPU gave a tensor that is not there'
        return self.fetch(result)


def on_gpu(operation: Callable[..., Any]) -> Callable[..., Any]:
    """``operation`` for tensors on the CPU, computed on the GPU."""

    @functools.wraps(operation)
    def run(*args: Any, **kwargs: Any) -> Any:
        call = _Call()
        host = {name: kwargs.pop(name) for name in ('transform',) if name in kwargs}
        return call.fetch_result(
            operation(*call.send(args), **{name: call.send(value) for name, value in kwargs.items()}, **host)
        )

    return run


@contextlib.contextmanager
def operations_on_gpu() -> Iterator[dict[Callable[..., Any], Callable[..., Any]]]:
    """Let ``ops`` compute on the GPU; gives what stands for each operation."""
    originals = {name: getattr(ops, name) for name in OPERATIONS}
    with pytest.MonkeyPatch.context() as patch:
        for name, operation in originals.items():
            patch.setattr(ops, name, on_gpu(operation))
        yield {operation: getattr(ops, name) for name, operation in originals.items()}


def poll_without_waits(pipeline: Pipeline) -> list[FusedFrame]:
    """The frames of a pipeline on a GPU; what waits before that is synchronized raises."""
    synchronize = pipeline.device.synchronize

    def checked(voxels: Any = ()) -> None:
        torch.cuda.set_sync_debug_mode('default')
        synchronize(voxels)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.device, 'synchronize', checked)
        torch.cuda.set_sync_debug_mode('error')
        try:
            return pipeline.poll()
        finally:
            torch.cuda.set_sync_debug_mode('default')
