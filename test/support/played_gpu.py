# SPDX-License-Identifier: Apache-2.0
"""A GPU whose memory is the CPU's, for the logic of ``CudaDevice`` where there is none."""

import ctypes

import torch

from robocache_core import gpu_bytes
from robocache_core.device import CudaDevice


class Uploader:
    """Copies as the compiled one does, and looks at what it is given."""

    def __init__(self):
        self.calls = 0

    def upload(self, source, size, place, stream):
        assert stream == 77
        assert size == 0 or place
        ctypes.memmove(place, source, size)
        self.calls += 1


class Stream:
    cuda_stream = 77
    device = torch.device('cpu')
    waits = 0

    def synchronize(self):
        Stream.waits += 1


class CurrentDevice:
    """In the stead of ``torch.cuda.device``; outside of it another GPU than the played one is current."""

    device = torch.device('cuda', 7)

    def __init__(self, device):
        self._device = device

    def __enter__(self):
        self._before, CurrentDevice.device = CurrentDevice.device, self._device

    def __exit__(self, *exception):
        CurrentDevice.device = self._before


class Event:
    def __init__(self, enable_timing):
        self.at = None

    def record(self, stream):
        Event.clock = getattr(Event, 'clock', 0) + 1
        self.at = Event.clock

    def elapsed_time(self, end):
        return float(end.at - self.at)


def view(memory, device):
    """What is in memory that plays that of a GPU."""
    interface = memory.__cuda_array_interface__
    (nbytes,), (address, _) = interface['shape'], interface['data']
    viewed = (ctypes.c_uint8 * nbytes).from_address(address)
    viewed.owner = memory
    return torch.frombuffer(viewed, dtype=torch.uint8)


def play(monkeypatch):
    """The device, and torch's streams and events in its stead until ``monkeypatch`` is undone."""
    monkeypatch.setattr(torch.cuda, 'current_stream', lambda device=None: Stream())
    monkeypatch.setattr(torch.cuda, 'current_device', lambda: CurrentDevice.device)
    monkeypatch.setattr(torch.cuda, 'device', CurrentDevice)
    monkeypatch.setattr(torch.cuda, 'Event', Event)
    monkeypatch.setattr(Stream, 'waits', 0)
    monkeypatch.setattr(gpu_bytes, '_view', view)
    return CudaDevice(torch.device('cpu'), Uploader(), 'plays a GPU')
