# SPDX-License-Identifier: Apache-2.0
"""Streams read at given instants: W1, W4, W5 and W6 of the GPU benchmark on the same inputs, and an IMU's window."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType

import numpy as np
import torch

from benchmark.peers import Peers
from benchmark.row import Goal
from benchmark.runner import Call, Workload, torch_on_threads
from robocache_core import ops

Stream = tuple[torch.Tensor, torch.Tensor]  # values [B, S, D], stamps [B, S] int64

SECOND_NS = 1_000_000_000
ANY_NS = (1 << 62) - 1
START_NS = 1_760_000_000 * SECOND_NS


def workloads(peers: Peers, threads: int, quick: bool) -> dict[str, Callable[[], Workload]]:
    """By name."""
    scipy = peers.get('scipy')
    made: dict[str, Callable[[], Workload]] = {
        name: functools.partial(_linear, *settings, scipy, threads) for name, settings in linear_settings(quick).items()
    }
    made['IMU slerp, 4000 knots to 300'] = functools.partial(_slerp, scipy)
    made['IMU window 400 Hz: 6 linear + slerp, 400 to 20'] = functools.partial(_imu_window, scipy)
    return made


def linear_settings(quick: bool) -> dict[str, tuple[int, tuple[tuple[int, int], ...], int, bool]]:
    """By name: batch, (samples, width) of each stream, targets, whether times are expanded."""
    few = 4 if quick else 1  # divides what is large
    w1 = ((30, 512), (100, 64), (200, 12))
    return {
        'W1 fuse 3 streams, B=4, T=50, expanded': (4, w1, 50, True),
        'W1 fuse 3 streams, B=4, T=50': (4, w1, 50, False),
        'W4 resample 32×500×256 to 256': (32 // few, ((500, 256),), 256, False),
        'W5 fuse 3 streams, B=256, T=128': (256 // few**3, ((100, 512), (200, 128), (300, 64)), 128, False),
        'W6 resample 64×4096×32 to 1024': (64 // few**2, ((4096, 32),), 1024, False),
    }


def _stamps(batch: int, samples: int, expanded: bool) -> torch.Tensor:
    """``[B, S]`` over two seconds; expanded: one row that all of the batch share."""
    row = START_NS + torch.arange(samples) * (2 * SECOND_NS // (samples - 1))
    return row.expand(batch, samples) if expanded else row.repeat(batch, 1)


def linear_inputs(
    batch: int, shapes: tuple[tuple[int, int], ...], num_targets: int, expanded: bool, num: int
) -> tuple[list[list[Stream]], torch.Tensor]:
    """So many sets of streams of (samples, width), in bfloat16, and the targets ``[B, T]`` at which they are read."""
    targets = START_NS + torch.linspace(0.01, 1.99, num_targets, dtype=torch.float64).mul(SECOND_NS).long()
    targets = targets.expand(batch, num_targets) if expanded else targets.repeat(batch, 1)
    generator = torch.Generator().manual_seed(0)
    inputs = [
        [
            (
                torch.randn(batch, samples, width, generator=generator).bfloat16(),
                _stamps(batch, samples, expanded),
            )
            for samples, width in shapes
        ]
        for _ in range(num)
    ]
    return inputs, targets


def moved_bytes(tensors: Iterable[torch.Tensor]) -> int:
    """Of what is expanded its own storage counts, not its shape: it is read once."""
    return sum(min(t.numel() * t.element_size(), t.untyped_storage().nbytes()) for t in tensors)


def _linear(
    batch: int,
    shapes: tuple[tuple[int, int], ...],
    num_targets: int,
    expanded: bool,
    scipy: ModuleType | None,
    threads: int,
) -> Workload:
    inputs, targets = linear_inputs(batch, shapes, num_targets, expanded, 2)
    width = sum(width for _, width in shapes)
    out = (
        torch.empty(batch, num_targets, width, dtype=torch.bfloat16),
        torch.empty(batch, num_targets, len(shapes), dtype=torch.bool),
    )

    def ours(number: int) -> tuple[torch.Tensor, ...]:
        return ops.fuse(inputs[number % 2], targets, method='linear', tolerance_ns=ANY_NS, out=out)

    peers = torch_on_threads(threads, lambda number: torch_fuse(inputs[number % 2], targets))
    if scipy is not None:
        peers['scipy interp1d'] = _scipy_fuse([_as_numpy(streams) for streams in inputs], targets[0].numpy())
    moved = [tensor for stream in inputs[0] for tensor in stream] + [targets, *out]
    return Workload(ours=ours, peers=peers, nbytes=moved_bytes(moved), out=out)


def torch_fuse(streams: Sequence[Stream], targets: torch.Tensor) -> torch.Tensor:
    """What one writes with torch, on any device."""
    targets = targets.contiguous()
    parts = []
    for values, stamps in streams:
        stamps = stamps.contiguous()
        after = torch.searchsorted(stamps, targets, right=True).clamp(1, stamps.shape[1] - 1)
        t0, t1 = stamps.gather(1, after - 1), stamps.gather(1, after)
        alpha = ((targets - t0).double() / (t1 - t0).double()).to(values.dtype).unsqueeze(2)
        rows = torch.arange(len(values), device=values.device).unsqueeze(1)
        parts.append(torch.lerp(values[rows, after - 1], values[rows, after], alpha))
    return torch.cat(parts, dim=2)


def _as_numpy(streams: list[Stream]) -> list[tuple[np.ndarray, np.ndarray]]:
    """In float32, as NumPy has no bfloat16; the stamps of one row, as those of all rows are equal."""
    return [(values.float().numpy(), (stamps[0] - START_NS).double().numpy()) for values, stamps in streams]


def _scipy_fuse(inputs: list[list[tuple[np.ndarray, np.ndarray]]], targets_ns: np.ndarray) -> Call:
    from scipy.interpolate import interp1d

    targets = (targets_ns - START_NS).astype(np.float64)

    def run(number: int) -> np.ndarray:
        streams = inputs[number % len(inputs)]
        return np.concatenate(
            [interp1d(t, values, axis=1, copy=False, assume_sorted=True)(targets) for values, t in streams], axis=2
        )

    return run


def smooth_turns(samples: int, number: int) -> torch.Tensor:
    """``[1, samples, 4]`` unit quaternions of a motion that is smooth."""
    t = torch.linspace(0, 10, samples, dtype=torch.float64) + number
    q = torch.stack([torch.sin(t), torch.cos(0.7 * t), torch.sin(0.3 * t), 1.5 + 0 * t], dim=1)
    return (q / q.norm(dim=1, keepdim=True)).float().unsqueeze(0)


def _slerp(scipy: ModuleType | None) -> Workload:
    knots, queries = 4000, 300
    stamps = START_NS + (torch.arange(knots) * 2_500_000).unsqueeze(0)
    targets = START_NS + (torch.arange(queries) * 33_333_333 + 1).unsqueeze(0)
    inputs = [smooth_turns(knots, number) for number in range(4)]
    out = (torch.empty(1, queries, 4), torch.empty(1, queries, dtype=torch.bool))

    def ours(number: int) -> tuple[torch.Tensor, ...]:
        return ops.resample(inputs[number % 4], stamps, targets, method='slerp', tolerance_ns=ANY_NS, out=out)

    peers: dict[str, Call] = {}
    if scipy is not None:
        from scipy.spatial.transform import Rotation, Slerp

        seconds, at = (t[0].sub(START_NS).numpy() * 1e-9 for t in (stamps, targets))
        arrays = [values[0].double().numpy() for values in inputs]
        peers['scipy Slerp'] = lambda number: Slerp(seconds, Rotation.from_quat(arrays[number % 4]))(at).as_quat()
    return Workload(
        ours=ours,
        peers=peers,
        nbytes=knots * (16 + 8) + queries * (16 + 1 + 8),
        goal=Goal(max_ms=0.05),
        out=out,
    )


def _imu_window(scipy: ModuleType | None) -> Workload:
    """The last second of a 400 Hz IMU at 20 instants: rates and accelerations linear, orientation by slerp."""
    samples, targets_num = 400, 20
    stamps = START_NS + (torch.arange(samples) * 2_500_000).unsqueeze(0)
    targets = START_NS + 500_000_000 + (torch.arange(targets_num) * 20_000_001).unsqueeze(0)
    generator = torch.Generator().manual_seed(0)
    inputs = [
        [
            (torch.randn(1, samples, 6, generator=generator), stamps),
            (smooth_turns(samples, number), stamps),
        ]
        for number in range(4)
    ]
    out = (torch.empty(1, targets_num, 10), torch.empty(1, targets_num, 2, dtype=torch.bool))

    def ours(number: int) -> tuple[torch.Tensor, ...]:
        return ops.fuse(inputs[number % 4], targets, method=('linear', 'slerp'), tolerance_ns=10_000_000, out=out)

    peers: dict[str, Call] = {}
    if scipy is not None:
        from scipy.interpolate import interp1d
        from scipy.spatial.transform import Rotation, Slerp

        seconds, at = (t[0].sub(START_NS).numpy() * 1e-9 for t in (stamps, targets))
        arrays = [(rates[0].numpy(), turns[0].double().numpy()) for (rates, _), (turns, _) in inputs]

        def with_scipy(number: int) -> np.ndarray:
            rates, turns = arrays[number % 4]
            linear = interp1d(seconds, rates, axis=0, copy=False, assume_sorted=True)(at)
            return np.concatenate([linear, Slerp(seconds, Rotation.from_quat(turns))(at).as_quat()], axis=1)

        peers['scipy interp1d + Slerp'] = with_scipy
    return Workload(
        ours=ours,
        peers=peers,
        nbytes=samples * (10 * 4 + 2 * 8) + targets_num * (10 * 4 + 2 + 8),
        out=out,
    )
