# SPDX-License-Identifier: Apache-2.0
"""Where a pipeline computes: on the CPU, or on a GPU that the bytes of its samples are brought to.

After ``begin_frame``, ``upload`` and ``constant`` queue the copies of what the frame needs, stream by stream;
operations are launched on the device's current stream, and ``record_stage`` marks where one ends and the next begins;
``synchronize`` waits, once. On the CPU there is nothing to copy, to mark or to wait for.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch

from robocache_core import backends, host_memory
from robocache_core.gpu_bytes import Data, GpuBytes, to_host
from robocache_core.ops import DenseVoxels, SparseVoxels

#: Alignment of a tensor in a GPU's memory, bytes: any load of a kernel is aligned then.
ALIGNMENT = 256

# Other errors of a GPU are bare RuntimeErrors in older versions of torch.
_GPU_ERRORS = (torch.cuda.OutOfMemoryError, getattr(torch, 'AcceleratorError', torch.cuda.OutOfMemoryError))


class Device:
    """The CPU, and what any device has.

    Args:
        reason: why it is the one that computes.

    Attributes:
        torch_device: where its tensors are.
        reads_gpu_bytes: whether ``GpuBytes`` are read where they are; else they are copied to the host.
    """

    torch_device = torch.device('cpu')
    reads_gpu_bytes = False

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __str__(self) -> str:
        return str(self.torch_device)

    @property
    def backend(self) -> backends.Backend:
        """What computes the operations."""
        return backends.active()

    def has_failed(self, error: Exception) -> bool:
        """Whether an exception means that the device cannot be relied on any more."""
        return False

    def close(self) -> None:
        """Give up a device that has failed."""

    def begin_frame(self) -> None:
        """Begin a frame; what ``upload`` gave for the one before is no longer valid."""

    def upload(self, data: Data) -> torch.Tensor:
        """Copy ``data`` to the device, if it is not there; the result is valid until the next ``begin_frame``.

        Raises:
            DataError: ``gpu_memory_lost``.
        """
        return to_host(data)

    def keep(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a copy of what ``upload`` gave that stays valid, so that it may leave with the frame."""
        return tensor

    def constant(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return ``tensor``, which never changes, on the device; it is copied once for as long as it lives."""
        return tensor

    def record_stage(self, stage: str) -> None:
        """Mark the end of what was launched for ``stage``, for ``stage_ns``."""

    def synchronize(self, voxels: Sequence[DenseVoxels | SparseVoxels] = ()) -> None:
        """Wait until all that was launched is done; the numbers of ``voxels`` are on the host then."""

    def stage_ns(self) -> dict[str, int]:
        """Return how long each stage took on the device, ns, after the wait; empty where the host's time measures it.

        From mark to mark; of marks of one name all together.
        """
        return {}

    def memory(self) -> dict[str, int]:
        """Return bytes of the device's memory: ``free``, ``total``, and of this process ``allocated`` and ``scratch``.

        ``allocated`` is torch's on this device, ``scratch`` what operations keep on all GPUs, and
        ``pinned`` memory of the host (``host_memory``).
        """
        return {}


class CudaDevice(Device):
    """A GPU. Everything runs on its current stream, uploads beside it, and nothing waits but ``synchronize``.

    Uploads of a frame are in one arena, which grows to what the largest frame needs and is then allocated no more.
    ``GpuBytes`` are not uploaded, but borrowed on that stream.

    Args:
        torch_device: the GPU.
        uploader: its ``_robocache_core.Uploader``.
        reason: why it is the one that computes.
    """

    reads_gpu_bytes = True

    def __init__(self, torch_device: torch.device, uploader: Any, reason: str) -> None:
        super().__init__(reason)
        self.torch_device = torch_device
        self._uploader = uploader
        self._stream: Any = None  # that this frame is computed on, the current one when it began
        self._arena = self._bytes(0)
        self._needed = 0  # bytes of the arena that this frame asked for, whether or not it has them
        self._sent: list[torch.Tensor] = []  # kept until they have arrived: pinned ones are read until then
        self._in_flight = False
        # By the tensor's id, which another may have when it is dead.
        self._constants: dict[int, tuple[weakref.ref[torch.Tensor], torch.Tensor]] = {}
        self._events: list[torch.cuda.Event] = []
        self._stages: list[str] = []  # each has an event in _events

    def _bytes(self, size: int) -> torch.Tensor:
        return torch.empty(size, dtype=torch.uint8, device=self.torch_device)

    @property
    def backend(self) -> backends.Backend:
        return backends.cuda()

    def has_failed(self, error: Exception) -> bool:
        if isinstance(error, _GPU_ERRORS) or backends.is_gpu_error(error):
            return True
        if not isinstance(error, RuntimeError):
            return False
        try:  # the host's memory may have run out as well
            self._bytes(1).fill_(1).tolist()
        except RuntimeError:
            return True
        return False

    def close(self) -> None:
        # First what copies to the arena, on a stream that torch does not know; it waits for what is on its way.
        self._uploader = None
        self._arena = torch.empty(0, dtype=torch.uint8)

    def begin_frame(self) -> None:
        if self._in_flight:  # the frame before was given up half-way
            self.synchronize()
        self._stream = torch.cuda.current_stream(self.torch_device)
        if self._needed > len(self._arena):
            self._arena = self._bytes(0)  # given back before more is asked for
            self._arena = self._bytes(self._needed + self._needed // 2)
            # What was launched before may still read this memory, and uploads do not stand behind it in line.
            self._stream.synchronize()
        self._needed = 0
        self._stages.clear()
        self._in_flight = True
        self.record_stage('begin')

    def upload(self, data: Data) -> torch.Tensor:
        if isinstance(data, GpuBytes):
            return data.borrow(self.torch_device, self._stream.cuda_stream)
        if not data.is_cpu:
            return data
        tensor = data.contiguous()
        size = tensor.numel() * tensor.element_size()
        begin = self._needed
        self._needed += -(-size // ALIGNMENT) * ALIGNMENT
        if self._needed > len(self._arena):
            return tensor.to(self.torch_device)  # which waits; the next frame finds room for as much
        place = self._arena[begin : begin + size]
        self._sent.append(tensor)
        self._uploader.upload(tensor.data_ptr(), size, place.data_ptr(), self._stream.cuda_stream)
        return place.view(tensor.dtype).view(tensor.shape)

    def keep(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.clone()

    def constant(self, tensor: torch.Tensor) -> torch.Tensor:
        known, copy = self._constants.get(id(tensor), (None, None))
        if copy is None or known is None or known() is not tensor:
            self._constants = {key: kept for key, kept in self._constants.items() if kept[0]() is not None}
            copy = tensor.to(self.torch_device)
            self._constants[id(tensor)] = weakref.ref(tensor), copy
        return copy

    def record_stage(self, stage: str) -> None:
        if len(self._stages) == len(self._events):
            event: Any = torch.cuda.Event
            self._events.append(event(enable_timing=True))
        self._events[len(self._stages)].record(self._stream)
        self._stages.append(stage)

    def synchronize(self, voxels: Sequence[DenseVoxels | SparseVoxels] = ()) -> None:
        there = [(result, numbers) for result in voxels if (numbers := result.numbers_on_gpu) is not None]
        if there:
            # A copy to the host comes after all that was launched before, and is the wait.
            counted = torch.stack([numbers for _, numbers in there]).tolist()
            for (result, _), numbers in zip(there, counted, strict=True):
                result.set_numbers(numbers)
        else:
            self._stream.synchronize()
        self._in_flight = False
        self._sent.clear()

    def stage_ns(self) -> dict[str, int]:
        spent: dict[str, int] = {}
        for stage, (begin, end) in zip(self._stages[1:], pairwise(self._events[: len(self._stages)]), strict=True):
            spent[stage] = spent.get(stage, 0) + round(begin.elapsed_time(end) * 1e6)
        return spent

    def memory(self) -> dict[str, int]:
        free, total = torch.cuda.mem_get_info(self.torch_device)
        allocated, scratch = torch.cuda.memory_allocated(self.torch_device), self.backend.module.scratch_bytes()
        pinned = host_memory.pinned_bytes()
        return {'allocated': allocated, 'scratch': scratch, 'pinned': pinned, 'free': free, 'total': total}


def choose_device(wanted: str) -> tuple[Device, str | None]:
    """Return the device for ``compute.device``; where it cannot be had, the CPU, and why that is a fault.

    Args:
        wanted: cpu; cuda (the current one) or cuda:<i>; auto: as cuda where there is one, without fault where not.
    """
    asked = f'compute.device = {wanted}'
    if wanted == 'cpu':
        return Device(asked), None
    missing = _missing(wanted)
    if missing is not None:
        reason = f'{asked}: {missing}'
        return Device(reason), None if wanted == 'auto' else reason
    try:
        index = torch.cuda.current_device() if ':' not in wanted else _index(wanted)
        module = backends.cuda().module
        uploader = module.Uploader(index)
        host_memory.pin(module, index)
        reason = f'{asked}: {torch.cuda.get_device_name(index)}'
        return CudaDevice(torch.device('cuda', index), uploader, reason), None
    except RuntimeError as error:  # it is there and does not work: a fault whatever was asked for
        reason = f'{asked}: {one_line(error)}'
        return Device(reason), reason


def _missing(wanted: str) -> str | None:
    """Why there is no such GPU; None where there is."""
    if not torch.cuda.is_available():
        return 'there is no GPU: torch.cuda.is_available() is False'
    try:
        backends.cuda()
    except RuntimeError as error:
        return str(error)
    count = torch.cuda.device_count()
    return f'there are {count} GPUs, counted from 0' if ':' in wanted and _index(wanted) >= count else None


def _index(wanted: str) -> int:
    return int(wanted.partition(':')[2])


def copy_to_host(tensors: Sequence[torch.Tensor], places: Sequence[torch.Tensor]) -> None:
    """Copy each tensor, wherever it is, to its place on the CPU; a GPU is waited for once, after all of its copies."""
    for tensor, place in zip(tensors, places, strict=True):
        place.copy_(tensor, non_blocking=True)
    for device in {tensor.device for tensor in tensors if tensor.is_cuda}:
        stream: Any = torch.cuda.current_stream(device)
        stream.synchronize()


def on_host(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return the tensors on the CPU: those that are there as they are, of others copies, for which is waited once."""
    # Ordinary memory: torch cannot give back pinned memory once the GPU has failed, and ends the process.
    found = [tensor if tensor.is_cpu else torch.empty_like(tensor, device='cpu') for tensor in tensors]
    moved = [i for i, tensor in enumerate(tensors) if not tensor.is_cpu]
    copy_to_host([tensors[i] for i in moved], [found[i] for i in moved])
    return found


def one_line(error: Exception) -> str:
    """Type and first line of what an exception says: torch adds lines of advice."""
    said = str(error).strip().splitlines()
    return f'{type(error).__name__}: {said[0]}' if said else type(error).__name__
