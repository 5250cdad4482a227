# SPDX-License-Identifier: Apache-2.0
"""Resampling in NumPy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from robocache_core.backends.reference.arrays import Array, round_to
from robocache_core.ops.resampling import FusePlan


def fuse(
    plan: FusePlan,
    streams: Sequence[tuple[torch.Tensor, torch.Tensor]],
    targets_ns: torch.Tensor,
    out: torch.Tensor,
    valid: torch.Tensor,
) -> tuple[int, int, int] | None:
    """Write ``out [B, T, sum of D]`` and ``valid [B, T, N] bool`` of N streams at ``targets_ns [B, T] int64``.

    ``streams`` holds values ``[B, S, D]`` and stamps ``[B, S] int64``.

    Returns:
        None; or, with nothing written, of the first stamp that descends and may not: stream, batch, sample.
    """
    if not plan.sort:
        for n, (_, stamps_ns) in enumerate(streams):
            stamps = stamps_ns.numpy()
            descents = np.argwhere(stamps[:, 1:] < stamps[:, :-1])
            if len(descents):
                return n, int(descents[0, 0]), int(descents[0, 1]) + 1
    column = 0
    for n, (values, stamps_ns) in enumerate(streams):
        width = values.shape[2]
        reading = plan.methods[n], plan.outsides[n], plan.tolerances_ns[n]
        for b in range(targets_ns.shape[0]):
            rows, ok = _resample(values[b], stamps_ns[b].numpy(), targets_ns[b].numpy(), *reading, out.dtype)
            out[b, :, column : column + width] = rows
            valid.view(*targets_ns.shape, len(streams))[b, :, n] = torch.from_numpy(ok)
        column += width
    return None


class _Picks(NamedTuple):
    """What each of T targets reads, ``[T]`` each: samples ``lower`` and ``upper`` where it is mixed, else ``held``."""

    held: Array
    lower: Array
    upper: Array
    alpha: Array  # of the way from lower to upper, float32
    mixed: Array
    valid: Array


def _resample(
    values: torch.Tensor,
    stamps: Array,
    targets: Array,
    method: str,
    outside: str,
    tolerance_ns: int,
    dtype: torch.dtype,
) -> tuple[torch.Tensor, Array]:
    """Rows ``[T, D]`` of ``dtype`` and validity ``[T]`` of one stream in one batch."""
    order = np.argsort(stamps, kind='stable')
    order = order[np.append(stamps[order][1:] != stamps[order][:-1], True)] if len(order) else order
    values, stamps = values[torch.from_numpy(order)], stamps[order]  # of equal stamps the last
    if len(stamps) == 0:
        return torch.zeros(len(targets), values.shape[1], dtype=dtype), np.zeros(len(targets), dtype=bool)
    picks = _pick_samples(stamps, targets, method, outside, np.uint64(tolerance_ns))
    result, has_direction = _mix(values, picks, method)
    mixed, valid = picks.mixed & has_direction, picks.valid & (has_direction | ~picks.mixed)

    rows = torch.empty(len(targets), values.shape[1], dtype=dtype)
    held = values[torch.from_numpy(picks.held)]
    if dtype == values.dtype:
        rows.copy_(held)
    else:
        round_to(held.to(torch.float32).numpy(), rows)
    if outside == 'zero':
        rows[torch.from_numpy(~valid)] = 0
    mixed_rows = torch.empty_like(rows)
    round_to(result, mixed_rows)
    return torch.where(torch.from_numpy(mixed)[:, None], mixed_rows, rows), valid


@np.errstate(all='ignore')
def _pick_samples(stamps: Array, targets: Array, method: str, outside: str, tolerance: np.uint64) -> _Picks:
    """Which samples each target reads; ``stamps`` ascend, none twice, at least one."""
    upper = np.searchsorted(stamps, targets, side='right')
    has_lower, has_upper = upper > 0, upper < len(stamps)
    lower, upper = np.maximum(upper - 1, 0), np.minimum(upper, len(stamps) - 1)
    before, after = _distance(targets, stamps[lower]), _distance(stamps[upper], targets)
    lower_valid, upper_valid = has_lower & (before <= tolerance), has_upper & (after <= tolerance)
    lower_is_nearest = ~has_upper | (has_lower & (before <= after))
    nearest = np.where(lower_is_nearest, lower, upper)
    exact = has_lower & (before == 0)
    alpha = (before.astype(np.float64) / (before + after).astype(np.float64)).astype(np.float32)
    none = np.zeros(len(targets), dtype=bool)
    if method == 'previous':
        return _Picks(np.where(lower_valid, lower, nearest), lower, upper, alpha, none, lower_valid)
    if method == 'nearest':
        return _Picks(nearest, lower, upper, alpha, none, np.where(lower_is_nearest, lower_valid, upper_valid))
    mixed = lower_valid & upper_valid & ~exact
    if outside == 'extrapolate' and len(stamps) > 1:
        # On the line through the two samples at the end that the target is beyond.
        other = np.where(has_lower, len(stamps) - 2, 1)
        beyond = np.where(has_lower, before, after)
        span = np.where(has_lower, _distance(stamps[-1], stamps[-2]), _distance(stamps[1], stamps[0]))
        on_line = (has_lower != has_upper) & ~exact & (beyond <= tolerance) & (span <= tolerance - beyond)
        line_alpha = -(beyond.astype(np.float64) / span.astype(np.float64)).astype(np.float32)
        lower, upper = np.where(on_line, nearest, lower), np.where(on_line, other, upper)
        alpha, mixed = np.where(on_line, line_alpha, alpha), mixed | on_line
    return _Picks(nearest, lower, upper, alpha, mixed, exact | mixed)


@np.errstate(all='ignore')
def _mix(values: torch.Tensor, picks: _Picks, method: str) -> tuple[Array, Array]:
    """The samples mixed for every target, ``[T, D]``, and where that has a direction, ``[T]``.

    In float32, but in float64 where the values are.
    """
    precision = values.dtype if values.dtype == torch.float64 else torch.float32
    a = values[torch.from_numpy(picks.lower)].to(precision).numpy()
    b = values[torch.from_numpy(picks.upper)].to(precision).numpy()
    alpha = picks.alpha[:, None]
    if method != 'slerp':
        return a + (b - a) * alpha, np.ones(len(a), dtype=bool)
    result, has_direction = _slerp(a.astype(np.float64), b.astype(np.float64), alpha.astype(np.float64))
    return result.astype(a.dtype), has_direction


def _distance(later: Array, earlier: Array) -> Array:
    """Of two int64 stamps, as uint64: it need not fit int64."""
    distance: Array = later.astype(np.uint64) - earlier.astype(np.uint64)
    return distance


def _slerp(a: Array, b: Array, alpha: Array) -> tuple[Array, Array]:
    """Unit quaternions ``[T, 4]`` at ``alpha`` of the shortest way from ``a`` to ``b``; which have a direction."""
    norm2_a, norm2_b = _dot(a, a), _dot(b, b)
    has_direction = (norm2_a > 0) & (norm2_a < np.inf) & (norm2_b > 0) & (norm2_b < np.inf)
    a, b = a / np.sqrt(norm2_a), b / np.sqrt(norm2_b)
    b = np.where(_dot(a, b) < 0, -b, b)
    # The chords give u = tan^2(angle / 2) <= 1; two halvings of the angle make u <= tan^2(pi / 16).
    u = _dot(b - a, b - a) / _dot(b + a, b + a)
    for _ in range(2):
        divisor = 1 + np.sqrt(1 + u)
        u = u / (divisor * divisor)
    ratio = _atan_ratio(u)
    angle2 = 64 * u * (ratio * ratio)
    beta = 1 - alpha
    sine = _sin_ratio(angle2)
    weight_a = beta * _sin_ratio(beta * beta * angle2) / sine
    weight_b = alpha * _sin_ratio(alpha * alpha * angle2) / sine
    result = weight_a * a + weight_b * b
    return result / np.sqrt(_dot(result, result)), has_direction[:, 0]


def _dot(a: Array, b: Array) -> Array:
    x, y, z, w = (a * b).T
    total: Array = ((x + y) + z) + w
    return total[:, None]


def _atan_ratio(u: Array) -> Array:
    """atan(t) / t of u = t² <= 0.04."""
    total = np.full_like(u, 1 / 23)
    for k in range(10, -1, -1):
        total = 1 / (2 * k + 1) - u * total
    return total


def _sin_ratio(u: Array) -> Array:
    """sin(t) / t of u = t² <= (pi/2)²."""
    total = np.full_like(u, 1 / math.factorial(21))
    for k in range(9, -1, -1):
        total = 1 / math.factorial(2 * k + 1) - u * total
    return total
