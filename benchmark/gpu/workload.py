# SPDX-License-Identifier: Apache-2.0
"""A workload that runs wherever its inputs are: by us, and by torch on the same tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from robocache_core.ops import DenseVoxels, HardVoxels, SparseVoxels

#: The tensors of one call, all on one device.
Inputs = Sequence[torch.Tensor]
Out = tuple[torch.Tensor, ...]

#: How a workload is timed, and what is in the time.
CALL = 'call'  # one call from Python with its allocations, by events around it on an idle GPU
GRAPH = 'graph'  # a launch among many in a CUDA graph: the kernels alone
PINNED = 'from pinned bytes'  # upload of the inputs, call, wait: by the clock on the wall
PAGEABLE = 'from pageable bytes'  # the same from memory that the GPU cannot read


@dataclass(frozen=True)
class Workload:
    """The same work by us and by torch.

    Attributes:
        inputs: sets of inputs on the CPU that differ.
        ours: ``ours(inputs, out)``, out None: the result is allocated. It must not wait for the GPU.
        out: ``out(device)``: the buffers that ``ours`` takes.
        peers: by name, the ways of torch.
        nbytes: least that must move on the GPU: inputs read once, results written once.
        goals: by way of timing, the longest time, µs.
        sent: how many of a set's tensors, from the first on, come from the host; 0: none, it is not timed from there.
        waiting: peers that wait for the GPU inside, so that no graph can hold them.
        about: what else is to be known of the inputs.
    """

    inputs: Sequence[Inputs]
    ours: Callable[[Inputs, Out | None], Any]
    out: Callable[[torch.device], Out]
    peers: Mapping[str, Callable[[Inputs], object]]
    nbytes: int
    goals: Mapping[str, float] = field(default_factory=dict)
    sent: int = 0
    waiting: frozenset[str] = frozenset()
    about: str = ''


def copied(inputs: Inputs, device: torch.device) -> Inputs:
    """A copy on ``device``; what is expanded stays so."""
    return [
        t[:1].to(device, copy=True).expand(t.shape) if t.dim() and t.stride(0) == 0 else t.to(device, copy=True)
        for t in inputs
    ]


def poison(tensors: Inputs) -> None:
    """Fill with NaN in every float, -1 in every integer, and what no bool is."""
    for tensor in tensors:
        tensor.view(torch.uint8).fill_(0xFF)


def unpacked(result: Any) -> Iterator[torch.Tensor | dict[str, int]]:
    """The tensors and drop counts of a result, which waits for a GPU."""
    if isinstance(result, torch.Tensor):
        yield result
    elif isinstance(result, DenseVoxels):
        yield from (result.tensor, result.dropped)
    elif isinstance(result, SparseVoxels):
        yield from (result.coords, result.features, result.counts, result.dropped)
    elif isinstance(result, HardVoxels):
        yield from (result.voxels, result.coords, result.num_points, result.dropped)
    else:
        for part in result:
            yield from unpacked(part)


def differences(found: Any, expected: Any) -> str:
    """Where two results do not have the same bits, in words; empty where they have."""
    pairs = list(zip(unpacked(found), unpacked(expected), strict=True))
    for number, (left, right) in enumerate(pairs):
        if isinstance(left, dict) or isinstance(right, dict):
            if left != right:
                return f'dropped {left}, not {right}'
            continue
        if left.dtype != right.dtype or left.shape != right.shape:
            return f'result {number} is {left.dtype} {tuple(left.shape)}, not {right.dtype} {tuple(right.shape)}'
        wrong = int((_bits(left.cpu()) != _bits(right.cpu())).sum())
        if wrong:
            return f'result {number}: {wrong} of {right.numel()} elements differ'
    return ''


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """Integers, for NaN equals nothing and 0 equals -0."""
    return tensor.view({1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()])
