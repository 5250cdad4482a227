# SPDX-License-Identifier: Apache-2.0
"""Bytes of a sample that are in the memory of a GPU, where somebody else has put them."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch

from robocache_core.ledger import Reason
from robocache_core.samples import DataError


class GpuBytes(ABC):
    """Bytes that are lent: a GPU reads them where they are, and ``to_host`` copies them for what the host reads.

    Args:
        nbytes: how many there are.

    Raises:
        ValueError: there are none.
    """

    def __init__(self, nbytes: int) -> None:
        if nbytes < 1:
            raise ValueError(f'nbytes = {nbytes}: must be at least 1')
        self._nbytes = nbytes

    def numel(self) -> int:
        """Return how many bytes there are, as a tensor of them does."""
        return self._nbytes

    @abstractmethod
    def lend(self, stream: int) -> AbstractContextManager[int]:
        """Return a context that gives their address; what is enqueued on a CUDA stream within it may read them.

        The GPU of the stream is the current one as the context is entered, and as it is left.

        Args:
            stream: the stream, as a pointer; 0: the default one of the current GPU.

        Raises:
            DataError: ``gpu_memory_lost``, as the context is entered.
        """

    @abstractmethod
    def _copy(self) -> torch.Tensor:
        """Return a copy ``[nbytes] uint8`` on the host.

        Raises:
            DataError: ``gpu_memory_lost``.
        """

    def borrow(self, device: torch.device, stream: int) -> torch.Tensor:
        """View them as ``[nbytes] uint8`` on a GPU; they are lent, on ``stream``, until the last view of them is gone.

        Those of another GPU than ``device``, that of the stream, are copied there.

        Raises:
            DataError: ``gpu_memory_lost``.
            torch.cuda.OutOfMemoryError: there is no room for the copy.
        """
        lent = ExitStack()
        with torch.cuda.device(device), explained('be read on the GPU'):
            memory = _Memory(lent.enter_context(self.lend(stream)), self._nbytes, lent, device)
            return _view(memory, device)

    @functools.cached_property
    def copied(self) -> torch.Tensor:
        """A copy ``[nbytes] uint8`` on the host, made once.

        Raises:
            DataError: ``gpu_memory_lost``.
        """
        return self._copy()


class _Memory:
    """Memory of a GPU, as torch takes it; nothing writes there, though torch takes none that is read-only.

    Args:
        address, nbytes: of it.
        lent: closed with the last tensor that views it.
        device: the GPU on which it was lent.
    """

    def __init__(self, address: int, nbytes: int, lent: ExitStack, device: torch.device) -> None:
        self.__cuda_array_interface__ = {'version': 3, 'typestr': '|u1', 'shape': (nbytes,), 'data': (address, False)}
        self._lent = lent
        self._device = device

    def __del__(self) -> None:
        with torch.cuda.device(self._device):  # whichever is current where the last view goes
            self._lent.close()


def _view(memory: _Memory, device: torch.device) -> torch.Tensor:
    return torch.as_tensor(memory, device=device)


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Take a RuntimeError for ``gpu_memory_lost``: the bytes cannot ``what``.

    That a GPU has no memory left is raised as it is: the bytes are still there.

    Raises:
        DataError: ``gpu_memory_lost``.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise DataError(Reason.GPU_MEMORY_LOST, f'its bytes cannot {what}: {error}') from error


#: Bytes of a sample: ``[nbytes] uint8``, or those of a GPU.
Data = torch.Tensor | GpuBytes


def to_host(data: Data) -> torch.Tensor:
    """Return the bytes of a sample on the host: those of a GPU are copied, once.

    Raises:
        DataError: ``gpu_memory_lost``.
    """
    return data.copied if isinstance(data, GpuBytes) else data
