# SPDX-License-Identifier: Apache-2.0
"""A sensor's part of a grid of several: its points at their places at the target time, as rows of floats."""

from __future__ import annotations

import math
from abc import abstractmethod

import numpy as np
import torch

from robocache_core import ops
from robocache_core.device import Device
from robocache_core.ledger import Reason
from robocache_core.samples import DataError
from robocache_core.streams.base import Job
from robocache_core.streams.placed_cloud import PlacedCloud


class PointsJob(Job):
    """Writes the points of one sample; one that is too far from the target has none.

    Attributes:
        placed: the sample, once it is uploaded; None: there is none that can be used.
    """

    placed: PlacedCloud | None = None
    _counted: int | torch.Tensor | None = None

    @property
    def has_samples(self) -> bool:
        return super().has_samples and self.pick.valid

    @property
    def limits(self) -> dict[str, float]:
        """The ranges that ``ops.deskew_points`` takes."""
        return {}

    @property
    def num_points(self) -> int:
        """Rows that ``write`` fills, after ``upload``."""
        return 0 if self.placed is None else self.placed.layout.num_points

    @property
    def num_valid(self) -> int:
        """Points that may be in the grid, once the device has finished."""
        return 0 if self._counted is None else int(self._counted)

    def write(self, device: Device, rows: torch.Tensor, fields: tuple[str, ...]) -> None:
        """Write ``rows [num_points, 3 + F]`` float32: x, y, z in the target frame, then ``fields``.

        x, y, z of a point that is not valid are NaN; of a sample that cannot be read none is valid.
        """
        self._run(device, lambda device: self._write(rows, fields))
        if self._counted is None:
            rows.fill_(math.nan)

    def refuse(self, device: Device, error: DataError) -> None:
        """End the sample as one that cannot be used."""

        def fail(device: Device) -> None:
            raise error

        self._run(device, fail)

    def _write(self, rows: torch.Tensor, fields: tuple[str, ...]) -> None:
        placed = self.placed
        if placed is None:
            return
        valid = torch.empty(len(rows), dtype=torch.bool, device=rows.device)
        ops.deskew_points(
            placed.data,
            placed.layout,
            fields,
            transform=placed.transform,
            deskew=placed.deskew,
            **self.limits,
            out=(rows, valid),
        )
        # torch's own count on the CPU waits for its threads, for a thousand times as long as counting takes.
        self._counted = int(np.count_nonzero(valid.numpy())) if valid.is_cpu else valid.sum()

    def _collect(self, device: Device) -> None:
        name, num_points, num_valid = self.stream.name, self.num_points, self.num_valid
        if num_points and not num_valid and self._is_known_to_have_measured():
            self.draft.without_voxels.append(name)
        self.draft.points_dropped[name] = {'invalid': num_points - num_valid}
        if self.placed is not None:
            self.draft.motion += self.placed.readings

    def _is_known_to_have_measured(self) -> bool:
        try:
            return self._has_measured()
        except DataError as error:
            if error.reason is not Reason.GPU_MEMORY_LOST:
                raise
            return False  # its points have been written, and are not lost with its bytes

    @abstractmethod
    def _has_measured(self) -> bool:
        """Whether the sample has a point, though none that is valid.

        Raises:
            DataError: it cannot be used.
        """
