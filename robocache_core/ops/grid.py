# SPDX-License-Identifier: Apache-2.0
"""A grid of voxels, and what the voxelizations to channels and to points have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from robocache_core.channels import MAX_VOXELS
from robocache_core.ops.depth_layout import DepthLayout
from robocache_core.ops.points import POINT_DROP_REASONS
from robocache_core.samples import CloudLayout
from robocache_core.validation import (
    as_floats,
    as_int,
    as_ints,
    check_kind,
    check_number_of,
    check_rows,
    check_tensor,
    float32,
)

_MAX_AXIS_VOXELS = 1 << 24  # a float32 holds every index below it


@dataclass(frozen=True)
class VoxelGrid:
    """A box of voxels, axes x y z, metres: voxel ``i`` covers ``[lower + i*size, lower + (i+1)*size)``.

    Attributes:
        lower: lower corner of the box (x, y, z), m.
        size: edge lengths of a voxel (x, y, z), m.
        shape: voxels along (x, y, z).
    """

    lower: tuple[float, float, float]
    size: tuple[float, float, float]
    shape: tuple[int, int, int]

    @property
    def upper(self) -> tuple[float, ...]:
        """Upper corner of the box, m: points at it and beyond are outside."""
        return tuple(low + size * num for low, size, num in zip(self.lower, self.size, self.shape, strict=True))

    @property
    def num_voxels(self) -> int:
        """Voxels in the box."""
        x, y, z = map(int, self.shape)  # integers of NumPy would wrap around
        return x * y * z


class VoxelResult:
    """The numbers of a voxelization, beside the tensors of its subclasses: rows written, then points dropped.

    On a GPU the numbers stay there until someone asks for them and so waits for the GPU; they are read once. Where a
    CUDA graph rewrites the result, use ``numbers_on_gpu`` alone, which every replay writes, and cut the rows by its
    first number.

    Args:
        numbers: ``[1 + len(POINT_DROP_REASONS)]``: rows written (0 of a dense result), then the points dropped, by
            reason; a list, or int64 on a GPU.
    """

    def __init__(self, numbers: Sequence[int] | torch.Tensor) -> None:
        self._known = numbers

    def __repr__(self) -> str:
        numbers = 'on the GPU' if isinstance(self._known, torch.Tensor) else list(self._known)
        return f'{type(self).__name__}(numbers={numbers})'

    @property
    def numbers_on_gpu(self) -> torch.Tensor | None:
        """The numbers, int64, while they are on a GPU and were not read yet; else None."""
        return self._known if isinstance(self._known, torch.Tensor) else None

    def set_numbers(self, numbers: Sequence[int]) -> None:
        """Set the numbers, copied from the GPU by a caller that waited for it."""
        self._known = numbers

    @property
    def _numbers(self) -> Sequence[int]:
        if isinstance(self._known, torch.Tensor):
            self._known = self._known.tolist()
        return self._known

    @property
    def dropped(self) -> dict[str, int]:
        """Points that are in no voxel, by reason."""
        return dict(zip(POINT_DROP_REASONS, self._numbers[1:], strict=True))


@dataclass(frozen=True)
class BoxPlan:
    """A box of voxels.

    Attributes:
        shape: voxels along x y z.
        lower: lower corner, m (float32).
        inverse_size: 1 / size, 1/m (float32).
        size: edges of a voxel, m (double).
    """

    shape: tuple[int, int, int]
    lower: tuple[float, ...]
    inverse_size: tuple[float, ...]
    size: tuple[float, ...]


def box_plan(grid: VoxelGrid) -> BoxPlan:
    """Check a grid and compute its constants.

    Raises:
        ValueError: a number is not allowed.
        TypeError: it does not hold numbers.
    """
    lower, size = as_floats('grid.lower', grid.lower), as_floats('grid.size', grid.size)
    shape = as_ints('grid.shape', grid.shape)
    for name in ('lower', 'size', 'shape'):
        if len(getattr(grid, name)) != 3:
            raise ValueError(f'grid.{name} = {getattr(grid, name)}: needs three numbers, of x, y and z')
    if not all(0 < edge < math.inf and float32(1 / edge) < math.inf for edge in size):
        raise ValueError(f'grid.size = {size}: must be positive and finite')
    if not all(math.isfinite(float32(value)) for value in lower):
        raise ValueError(f'grid.lower = {lower}: must be finite')
    if not all(1 <= voxels <= _MAX_AXIS_VOXELS for voxels in shape):
        raise ValueError(f'grid.shape = {shape}: needs 1 to {_MAX_AXIS_VOXELS} voxels along an axis')
    if math.prod(shape) > MAX_VOXELS:
        raise ValueError(f'grid.shape = {shape}: needs at most {MAX_VOXELS} voxels')
    return BoxPlan(
        shape=(shape[0], shape[1], shape[2]),
        lower=tuple(float32(value) for value in lower),
        inverse_size=tuple(float32(1 / edge) for edge in size),
        size=size,
    )


def checked_grid(grid: VoxelGrid) -> VoxelGrid:
    """Return ``grid``, which can be a key.

    Raises:
        TypeError: it cannot, or is no grid.
    """
    check_kind('grid', grid, VoxelGrid)
    try:
        hash(grid)  # plans are kept by it
    except TypeError:
        raise TypeError(f'grid = {grid}: must hold tuples of numbers') from None
    return grid


def checked_max_voxels(max_voxels: int | None) -> int | None:
    """Return ``max_voxels`` as an integer, or None.

    Raises:
        ValueError, TypeError: it is not allowed.
    """
    if max_voxels is None:
        return None
    max_voxels = as_int('max_voxels', max_voxels)
    if max_voxels < 1:
        raise ValueError(f'max_voxels = {max_voxels}: must be at least 1')
    return max_voxels


@dataclass(frozen=True)
class Rows:
    """What a voxelization writes by rows.

    Attributes:
        num: rows, at most.
        parts: shape of a row and dtype of each tensor.
    """

    num: int
    parts: tuple[tuple[tuple[int, ...], torch.dtype], ...]

    def of(self, out: Sequence[torch.Tensor] | None, device: torch.device) -> list[torch.Tensor]:
        """Return new tensors, or the first rows of those in ``out``."""
        if out is None:
            return [torch.empty(self.num, *row, dtype=dtype, device=device) for row, dtype in self.parts]
        return [given if given.shape[0] == self.num else given[: self.num] for given in out]


def checked_rows_of(
    parts: tuple[tuple[str, tuple[int, ...], torch.dtype], ...],
    out: Sequence[torch.Tensor] | None,
    layout: CloudLayout | DepthLayout,
    grid: VoxelGrid,
    max_voxels: int | None,
    device: torch.device,
) -> Rows:
    """Return what a voxelization writes by rows: new tensors, or the first rows of those in ``out``.

    Args:
        parts: name, shape of a row and dtype of each; the last has one number a row.
        out: as the caller gave it.
        layout: of the cloud, whose points no result exceeds.
        grid: its voxels, which no result exceeds.
        max_voxels: as the caller gave it; None: the rows of the last tensor in ``out``.
        device: where they must be.

    Raises:
        ValueError, TypeError: ``out`` is not allowed.
    """
    rows = tuple((row, dtype) for _, row, dtype in parts)
    if out is None:
        return Rows(min(layout.num_points, grid.num_voxels, MAX_VOXELS if max_voxels is None else max_voxels), rows)
    check_number_of('out', out, [name for name, _, _ in parts])
    names = [f'out[{i}] ({name})' for i, (name, _, _) in enumerate(parts)]
    check_tensor(names[-1], out[-1], 1, (torch.int32,), device)
    num = out[-1].shape[0] if max_voxels is None else max_voxels
    for name, given, (row, dtype) in zip(names, out, rows, strict=True):
        check_rows(name, given, num, row, dtype, device)
    return Rows(num, rows)
