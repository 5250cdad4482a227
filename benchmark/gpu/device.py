# SPDX-License-Identifier: Apache-2.0
"""The GPU as a stopwatch: what is timed by its events, what is captured in a graph, and what its copies reach.

The tests have a device with the same methods that needs no GPU, so what can go wrong elsewhere is found without one.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmark.runner import Call

_MIB = 1 << 20


class Replay:
    """A captured graph as a call; ``launches`` of the work are in it."""

    def __init__(self, replay: Callable[[], object], launches: int) -> None:
        self._replay = replay
        self.launches = launches

    def __call__(self, number: int) -> object:
        return self._replay()


class Cuda:
    """GPU ``index``. Its methods are called by one thread, on the current stream."""

    def __init__(self, index: int = 0) -> None:
        import _robocache_core

        self.device = torch.device('cuda', index)
        torch.cuda.set_device(self.device)
        self._uploader = _robocache_core.Uploader(index)
        # All captures are on one stream: operations keep scratch memory for every stream that they have seen.
        self._stream = torch.cuda.Stream(self.device)
        self._begin, self._end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        properties = torch.cuda.get_device_properties(self.device)
        self.cache_bytes: int = getattr(properties, 'L2_cache_size', 50 * _MIB)

    def wait(self) -> None:
        torch.cuda.synchronize(self.device)

    def time_call(self, call: Call, number: int) -> float:
        """Milliseconds of one call on an idle GPU: what Python takes before its first launch counts."""
        self.wait()
        self._begin.record()
        result = call(number)
        self._end.record()
        self._end.synchronize()
        del result  # kept until here, so that giving back its memory is in no time
        return self._begin.elapsed_time(self._end)

    def time_replay(self, replay: Call, number: int) -> float:
        """Milliseconds a launch. A replay before it keeps the GPU busy while the host hands over this one."""
        assert isinstance(replay, Replay)
        replay(number)
        self._begin.record()
        replay(number)
        self._end.record()
        self._end.synchronize()
        return self._begin.elapsed_time(self._end) / replay.launches

    def capture(self, work: Callable[[], object], launches: int) -> Replay:
        """A graph of ``work``, which launches so often; it runs once before, on the same stream."""
        self._stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._stream):
            work()
        self.wait()
        graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self.device)
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                work()
        finally:
            torch.cuda.set_stream(before)  # a capture that fails may leave its own
        self.wait()
        return Replay(graph.replay, launches)

    def pin(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.pin_memory()

    def upload(self, source: torch.Tensor, target: torch.Tensor) -> None:
        """Our way of bytes to the GPU."""
        stream = torch.cuda.current_stream(self.device).cuda_stream
        self._uploader.upload(source.data_ptr(), source.numel() * source.element_size(), target.data_ptr(), stream)

    def forget(self) -> None:
        """Give back what the allocator holds."""
        torch.cuda.empty_cache()

    def copy_bandwidth(self, nbytes: int = 512 * _MIB) -> float:
        """Bytes a second, read and written ones together, of a copy on the GPU that fits no cache; the best."""
        source = torch.ones(nbytes, dtype=torch.uint8, device=self.device)
        target = torch.empty_like(source)
        return 2 * nbytes / self._fastest(lambda number: target.copy_(source))

    def upload_bandwidth(self, nbytes: int = 64 * _MIB) -> float:
        """Bytes a second from pinned memory to the GPU; the best of several."""
        source = torch.ones(nbytes, dtype=torch.uint8).pin_memory()
        target = torch.empty(nbytes, dtype=torch.uint8, device=self.device)
        return nbytes / self._fastest(lambda number: target.copy_(source, non_blocking=True))

    def _fastest(self, call: Call) -> float:
        """Seconds."""
        call(0)
        return min(self.time_call(call, number) for number in range(20)) * 1e-3

    def facts(self) -> dict[str, Any]:
        """What stands above the rows beside what is known of the host."""
        import _robocache_core

        properties = torch.cuda.get_device_properties(self.device)
        return {
            'gpu': f'{properties.name}, {properties.total_memory / (1 << 30):.0f} GiB, '
            f'{properties.multi_processor_count} multiprocessors, {self.cache_bytes / _MIB:.0f} MiB of L2',
            'gpu_state': _nvidia_smi(self.device.index),
            'cuda': torch.version.cuda,
            'nvcc': f'{" ".join(nvcc_flags())}, for {_robocache_core.cuda_archs}',
        }


def _nvidia_smi(index: int | None) -> str:
    """Driver, clocks and power limit; ``unknown`` where they cannot be asked for."""
    asked = 'driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.limit,mig.mode.current'
    command = ['nvidia-smi', f'--id={index or 0}', f'--query-gpu={asked}', '--format=csv,noheader']
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return 'unknown'
    return ', '.join(
        f'{name} {value.strip()}' for name, value in zip(asked.split(','), answer.split(','), strict=False)
    )


def nvcc_flags() -> list[str]:
    """As in setup.py, which is where they stand."""
    import ast

    tree = ast.parse((Path(__file__).parents[2] / 'setup.py').read_text())
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == 'CUDA_FLAGS':
            return [str(node.value) for node in ast.walk(statement.value) if isinstance(node, ast.Constant)]
    return []
