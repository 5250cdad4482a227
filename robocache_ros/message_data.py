# SPDX-License-Identifier: Apache-2.0
"""The bytes of a ``uint8[]`` field, whatever holds them.

From ROS 2 Lyrical on that can be a ``rosidl_buffer.Buffer``, whose memory may be a GPU's. What is used here of its
interface, and of ``cuda_buffer``'s, was tried with a stand-in alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from robocache_core.byte_views import view_on_host
from robocache_core.config import PipelineConfig
from robocache_core.gpu_bytes import Data, GpuBytes, explained

try:
    from cuda_buffer import CudaBuffer
except ImportError:  # before Lyrical there is none
    CudaBuffer = None

_ARGUMENT = 'acceptable_buffer_backends'
#: By what rclpy is asked for messages whose data may be on a GPU.
ON_GPU = {_ARGUMENT: 'cuda'}
#: CUDA's handle of the default stream, which torch calls 0, where no stream is what 0 could mean.
_DEFAULT_STREAM = 1


def host_bytes(data: Any) -> Any:
    """Return ``data`` as something that has Python's buffer protocol.

    Of a ``Buffer`` this is a copy on the host: it has the protocol in later versions alone, from Python 3.12 on. All
    else is returned as it is.

    Raises:
        DataError: ``gpu_memory_lost``.
    """
    if not hasattr(data, 'to_bytes'):
        return data
    with explained('be copied from the GPU'):
        return data.to_bytes()


def why_not_on_gpu(node: Any) -> str | None:
    """Return why the data of no message that ``node`` subscribes to can be on a GPU; None where they can.

    Args:
        node: or its class; None: there is no rclpy.
    """
    if node is None:
        return 'needs rclpy, which is not installed'
    if _ARGUMENT not in inspect.signature(node.create_subscription).parameters:
        return f'must be cpu before ROS 2 Lyrical: rclpy has no {_ARGUMENT}'
    return 'needs the package cuda_buffer_py, which is not installed' if CudaBuffer is None else None


def refused_on_gpu(node: Any, config: PipelineConfig) -> str:
    """Return which stream asks for data on a GPU, and why ``node``, as of ``why_not_on_gpu``, has none; else empty."""
    asking = next((stream.name for stream in config.streams() if stream.may_be_on_gpu), None)
    why = why_not_on_gpu(node) if asking is not None else None
    return f"{asking}.memory = 'cuda': {why}" if why else ''


def view_bytes(data: Any) -> Data:
    """Return a view of ``data``: of bytes on a GPU ``GpuBytes``, else, and of none, ``[nbytes] uint8``."""
    if CudaBuffer is not None and getattr(data, 'backend_type', '') == 'cuda' and len(data):
        return _CudaBytes(data)
    return view_on_host(host_bytes(data))


class _CudaBytes(GpuBytes):
    """Those of a ``Buffer``, which is kept."""

    def __init__(self, data: Any) -> None:
        super().__init__(len(data))
        self._data = data

    @contextmanager
    def lend(self, stream: int) -> Iterator[int]:
        with ExitStack() as lent:
            with explained('be read on the GPU'):
                handle = CudaBuffer.from_input_buffer(self._data, stream or _DEFAULT_STREAM)
                address = lent.enter_context(handle).device_ptr
            yield address

    def _copy(self) -> torch.Tensor:
        return view_on_host(host_bytes(self._data))
