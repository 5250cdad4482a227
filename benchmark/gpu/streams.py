# SPDX-License-Identifier: Apache-2.0
"""Streams read at given instants: W1, W4, W5 and W6, bfloat16, int64 stamps."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from benchmark.gpu.workload import CALL, GRAPH, Inputs, Out, Workload
from benchmark.streams import ANY_NS, Stream, linear_inputs, linear_settings, moved_bytes, torch_fuse
from robocache_core import ops

#: By the first word of the name, µs.
GOALS = {
    'W1': {CALL: 15.0, GRAPH: 4.0},
    'W4': {CALL: 15.0, GRAPH: 6.0},
    'W5': {CALL: 60.0, GRAPH: 45.0},
    'W6': {CALL: 18.0, GRAPH: 10.0},
}


def workloads(quick: bool) -> dict[str, Callable[[], Workload]]:
    """By name, as on the CPU."""
    return {
        name: functools.partial(_workload, *settings, GOALS[name.split()[0]])
        for name, settings in linear_settings(quick).items()
    }


def _streams(inputs: Inputs) -> tuple[list[Stream], torch.Tensor]:
    """Values and stamps by turns, then the targets."""
    *rest, targets = inputs
    return list(zip(rest[::2], rest[1::2], strict=True)), targets


def _workload(
    batch: int, shapes: tuple[tuple[int, int], ...], num_targets: int, expanded: bool, goals: dict[str, float]
) -> Workload:
    streams, targets = linear_inputs(batch, shapes, num_targets, expanded, 4)
    inputs = [[*(tensor for stream in those for tensor in stream), targets] for those in streams]
    alone = len(shapes) == 1

    def ours(inputs: Inputs, out: Out | None) -> Any:
        those, targets = _streams(inputs)
        if alone:
            return ops.resample(
                *those[0], targets, method='linear', tolerance_ns=ANY_NS, unsorted='trust', out=out  # type: ignore[arg-type]
            )  # fmt: skip
        return ops.fuse(those, targets, method='linear', tolerance_ns=ANY_NS, unsorted='trust', out=out)  # type: ignore[arg-type]

    def out(device: torch.device) -> Out:
        valid = (batch, num_targets) if alone else (batch, num_targets, len(shapes))
        width = sum(width for _, width in shapes)
        return (
            torch.empty(batch, num_targets, width, dtype=torch.bfloat16, device=device),
            torch.empty(valid, dtype=torch.bool, device=device),
        )

    return Workload(
        inputs=inputs,
        ours=ours,
        out=out,
        peers={'torch': lambda inputs: torch_fuse(*_streams(inputs))},
        nbytes=moved_bytes([*inputs[0], *out(torch.device('cpu'))]),
        goals=goals,
    )
