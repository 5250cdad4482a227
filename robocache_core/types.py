# SPDX-License-Identifier: Apache-2.0
"""The values that operations take and give beside tensors."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch

#: Why a point is in no voxel, in order of test.
DROP_REASONS = ('non_finite', 'range', 'outside', 'overflow', 'table_full', 'voxel_full')


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
    def num_voxels(self) -> int:
        """Voxels in the box."""
        x, y, z = map(int, self.shape)  # integers of NumPy would wrap around
        return x * y * z


@dataclass(frozen=True)
class PoseTable:
    """Poses of the sensor while it scanned, to be looked up by the time of a point.

    The pose of a point is ``poses[clamp(floor((t - first) * inverse_step + 0.5), 0, P - 1)]`` with ``t`` the raw value
    of the field as a double; a point whose ``t`` is not finite is dropped ``non_finite``.

    Attributes:
        field: name of the cloud's field that holds the time of a point.
        poses: ``[P, 3, 4]`` float32, contiguous: rows of the sensor's pose at a point's time in the target frame at the
            target time; P at least 1.
        first: raw value of the field at ``poses[0]``.
        inverse_step: poses a raw unit; negative where the field runs backwards.
    """

    field: str
    poses: torch.Tensor
    first: float
    inverse_step: float


class _Voxels:
    """What a voxelization tells beside its tensors: rows written (dense may leave that out), then points dropped.

    On a GPU the numbers lie there until someone asks, who then waits for the GPU; they are read once. Of a result that
    a CUDA graph writes anew, ask ``numbers_on_gpu`` alone, which every replay writes, and cut the rows by its first.
    """

    def __init__(self, numbers: Sequence[int] | torch.Tensor) -> None:
        self._told = numbers

    def __repr__(self) -> str:
        told = 'on the GPU' if isinstance(self._told, torch.Tensor) else list(self._told)
        return f'{type(self).__name__}(numbers={told})'

    @property
    def numbers_on_gpu(self) -> torch.Tensor | None:
        """The numbers, ``[R] int64``, where they lie on a GPU and nobody has asked."""
        return self._told if isinstance(self._told, torch.Tensor) else None

    def set_numbers(self, numbers: Sequence[int]) -> None:
        """State the numbers, which were copied from the GPU by whoever waited for it."""
        self._told = numbers

    @property
    def _numbers(self) -> Sequence[int]:
        if isinstance(self._told, torch.Tensor):
            self.set_numbers(self._told.tolist())
        assert not isinstance(self._told, torch.Tensor)
        return self._told

    @property
    def dropped(self) -> dict[str, int]:
        """Points that no voxel took, by reason."""
        return dict(zip(DROP_REASONS, self._numbers[-len(DROP_REASONS) :], strict=True))


class DenseVoxels(_Voxels):
    """``tensor [C, Z, Y, X] float32``, zero where no point fell; ``dropped``: points by reason."""

    def __init__(self, tensor: torch.Tensor, numbers: Sequence[int] | torch.Tensor) -> None:
        super().__init__(numbers)
        self.tensor = tensor


class SparseVoxels(_Voxels):
    """Occupied voxels in index order (z, then y, then x).

    ``coords [V, 3] int32`` (z, y, x), ``features [V, C] float32``, ``counts [V] int32``; ``dropped``: points by reason.
    They view the first rows of the tensors that were written; on a GPU the first to ask for one waits, to know V.
    """

    def __init__(
        self,
        coords: torch.Tensor,
        features: torch.Tensor,
        counts: torch.Tensor,
        numbers: Sequence[int] | torch.Tensor,
    ) -> None:
        super().__init__(numbers)
        self._rows = coords, features, counts

    @functools.cached_property
    def coords(self) -> torch.Tensor:
        """``[V, 3]`` int32: z, y, x."""
        return self._rows[0][: self._numbers[0]]

    @functools.cached_property
    def features(self) -> torch.Tensor:
        """``[V, C]`` float32."""
        return self._rows[1][: self._numbers[0]]

    @functools.cached_property
    def counts(self) -> torch.Tensor:
        """``[V]`` int32: points of each voxel."""
        return self._rows[2][: self._numbers[0]]


class HardVoxels(_Voxels):
    """Occupied voxels in index order (z, then y, then x), with points as they are.

    ``voxels [V, K, F] float32`` (zeros after a voxel's points), ``coords [V, 3] int32`` (z, y, x), ``num_points [V]
    int32``; ``dropped``: points by reason. They view the first rows of the tensors that were written; on a GPU the
    first to ask for one waits, to know V.
    """

    def __init__(
        self,
        voxels: torch.Tensor,
        coords: torch.Tensor,
        num_points: torch.Tensor,
        numbers: Sequence[int] | torch.Tensor,
    ) -> None:
        super().__init__(numbers)
        self._rows = voxels, coords, num_points

    @functools.cached_property
    def voxels(self) -> torch.Tensor:
        """``[V, K, F]`` float32."""
        return self._rows[0][: self._numbers[0]]

    @functools.cached_property
    def coords(self) -> torch.Tensor:
        """``[V, 3]`` int32: z, y, x."""
        return self._rows[1][: self._numbers[0]]

    @functools.cached_property
    def num_points(self) -> torch.Tensor:
        """``[V]`` int32: points of each voxel that are kept."""
        return self._rows[2][: self._numbers[0]]
