# SPDX-License-Identifier: Apache-2.0
"""A stand-in of ``rosidl_buffer`` and ``cuda_buffer``, which come with ROS 2 Lyrical, by what their sources say.

It stands for a buffer of their first versions, or on Python before 3.12: without the buffer protocol. Its memory is a
tensor: on a GPU, or on the CPU for the GPU that ``played_gpu`` plays. A driver fills it late, on a stream of its own,
and overwrites it as soon as nobody may read it: who does not keep to the interface reads something else. As in the
package, a handle that is closed while another GPU is current does not say so, and does not hold its buffer any more.
"""

from __future__ import annotations

import torch

from robocache_ros import message_data

#: What is in memory that nobody may read, or not yet.
GARBAGE = 0xA5
#: How long a driver's stream is busy before it fills a buffer, clocks of the GPU: some milliseconds.
LATE = 10_000_000


class Buffer:
    """Memory of a GPU, as Python sees it.

    Attributes:
        copies: how often it was copied to the host.
        streams: those on which it was read, as pointers.
        devices: those that were current when a handle was opened.
        is_lost: whether its memory is gone.
        is_unguarded: whether somebody read it of whose end it does not know.
    """

    backend_type = 'cuda'

    def __init__(self, memory: torch.Tensor) -> None:
        self.memory = memory
        self.copies = 0
        self.streams: list[int] = []
        self.devices: list[int | torch.device] = []
        self.is_lost = False
        self.is_unguarded = False
        self.open: list[ReadHandle] = []
        self.events: list[torch.cuda.Event] = []  # of those who wrote it, and who have read it

    def __len__(self) -> int:
        return len(self.memory)

    def to_bytes(self) -> bytes:
        self.check()
        self.copies += 1
        self.settle()
        return self.memory.cpu().numpy().tobytes()

    def check(self) -> None:
        if self.is_lost:
            raise RuntimeError('an illegal memory access was encountered')

    def settle(self) -> None:
        """Wait for all who write it or have read it."""
        for event in self.events:
            event.synchronize()

    def recycle(self) -> None:
        """Overwrite it, as who allocated it may once nobody reads it."""
        assert not self.open
        assert not self.is_unguarded, 'it was given back on another GPU than that on which it was read'
        self.settle()
        self.memory.fill_(GARBAGE)


class _Handle:
    """Access to a buffer within a context, on a stream of the GPU that is current."""

    def __init__(self, buffer: Buffer, stream: int) -> None:
        self.buffer = buffer
        self.closed = False
        self._device = torch.cuda.current_device()
        buffer.devices.append(self._device)
        self._stream = _stream(stream, self._device) if buffer.memory.is_cuda else None
        for event in buffer.events if self._stream else ():
            self._stream.wait_event(event)

    @property
    def device_ptr(self) -> int:
        if self.closed:
            raise RuntimeError('the handle is closed')
        return self.buffer.memory.data_ptr()

    def __enter__(self):
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        if torch.cuda.current_device() != self._device:
            self.buffer.is_unguarded = True  # its event is of the current GPU, and cannot be recorded on the stream
        elif self._stream:
            self.buffer.events.append(self._stream.record_event())


class ReadHandle(_Handle):
    """To read."""

    def __init__(self, buffer: Buffer, stream: int) -> None:
        super().__init__(buffer, stream)
        buffer.streams.append(stream)
        buffer.open.append(self)

    def close(self) -> None:
        if not self.closed:
            self.buffer.open.remove(self)
        super().close()


class CudaBuffer:
    """The factories of the package ``cuda_buffer``; those of tensors are the stand-in's own."""

    @staticmethod
    def from_input_buffer(buffer: Buffer, stream: int) -> ReadHandle:
        buffer.check()
        if not len(buffer):
            raise RuntimeError('from_input_buffer called on empty buffer')
        return ReadHandle(buffer, stream)


def install(monkeypatch) -> None:
    """Let the product find the package until ``monkeypatch`` is undone."""
    monkeypatch.setattr(message_data, 'CudaBuffer', CudaBuffer)


def filled(data, device: str = 'cpu') -> Buffer:
    """A buffer with ``data``, bytes, which a driver writes late, on a stream of its own."""
    source = torch.frombuffer(bytearray(data), dtype=torch.uint8).to(device)
    buffer = Buffer(torch.full_like(source, GARBAGE))
    if not source.is_cuda:
        buffer.memory.copy_(source)
        return buffer
    driver = torch.cuda.Stream(device)
    driver.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(driver):
        torch.cuda._sleep(LATE)
        buffer.memory.copy_(source)
        buffer.events.append(driver.record_event())
    for tensor in (source, buffer.memory):
        tensor.record_stream(driver)
    return buffer


def _stream(pointer: int, device: int):
    """The stream of a pointer; 1 is CUDA's handle of the default one of the current GPU, ``device``."""
    if pointer == 1:
        return torch.cuda.default_stream(device)
    assert pointer, '0 can mean several streams'
    return torch.cuda.ExternalStream(pointer, device=device)
