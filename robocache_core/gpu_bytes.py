# SPDX-License-Identifier: Apache-2.0
"""Bytes of a sample that are in the memory of a GPU, where somebody else has put them."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, ExitStack

import torch


class GpuBytes(ABC):
    """Bytes that are lent: a GPU reads them where they are, and of all else they are copied to the host.

    Args:
        nbytes: how many there are, one at least.
    """

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes

    @abstractmethod
    def lend(self, stream: int) -> AbstractContextManager[int]:
        """Return a context that gives their address; what is enqueued on a CUDA stream within it may read them.

        Args:
            stream: the stream, as a pointer; 0: the default one.

        Raises:
            DataError: ``gpu_memory_lost``, as the context is entered.
        """

    @abstractmethod
    def copy(self) -> torch.Tensor:
        """Return a copy ``[nbytes] uint8`` on the host.

        Raises:
            DataError: ``gpu_memory_lost``.
        """

    def borrow(self, device: torch.device, stream: int) -> torch.Tensor:
        """View them as ``[nbytes] uint8`` on a GPU; they are lent, on ``stream``, until the last view of them is gone.

        Those of another GPU than ``device`` are copied there.

        Raises:
            DataError: ``gpu_memory_lost``.
        """
        lent = ExitStack()
        return _view(_Memory(lent.enter_context(self.lend(stream)), self.nbytes, lent), device)

    @functools.cached_property
    def on_host(self) -> torch.Tensor:
        """A ``copy``, made once."""
        return self.copy()


class _Memory:
    """Memory of a GPU, as torch takes it; nothing writes there, though torch takes none that is read-only.

    Args:
        address, nbytes: of it.
        lent: closed with the last tensor that views it.
    """

    def __init__(self, address: int, nbytes: int, lent: ExitStack) -> None:
        self.__cuda_array_interface__ = {'version': 3, 'typestr': '|u1', 'shape': (nbytes,), 'data': (address, False)}
        self._lent = lent

    def __del__(self) -> None:
        self._lent.close()


def _view(memory: _Memory, device: torch.device) -> torch.Tensor:
    return torch.as_tensor(memory, device=device)


#: Bytes of a sample: ``[nbytes] uint8``, or those of a GPU.
Data = torch.Tensor | GpuBytes


def bytes_on_host(data: Data) -> torch.Tensor:
    """Return the bytes of a sample on the host: those of a GPU are copied, once.

    Raises:
        DataError: ``gpu_memory_lost``.
    """
    return data.on_host if isinstance(data, GpuBytes) else data
