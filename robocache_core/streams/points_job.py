# SPDX-License-Identifier: Apache-2.0
"""A lidar's part of a grid of several sensors: its points at their places at the target time, as rows of floats."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from robocache_core import ops
from robocache_core.device import Device
from robocache_core.ledger import Reason
from robocache_core.samples import DataError
from robocache_core.streams.base import FrameDraft, Job
from robocache_core.streams.placed_scan import PlacedScan, scan_of

if TYPE_CHECKING:
    from robocache_core.streams.lidar import LidarStream
    from robocache_core.target import Target


class PointsJob(Job):
    """Writes the points of one scan; one that is too far from the target has none."""

    stream: LidarStream
    _placed: PlacedScan | None = None
    _counted: int | torch.Tensor | None = None

    def __init__(self, stream: LidarStream, target: Target, draft: FrameDraft) -> None:
        super().__init__(stream, target, draft)
        self._around = target.motion.get(stream.name, ())

    @property
    def has_samples(self) -> bool:
        return super().has_samples and self.pick.valid

    @property
    def num_points(self) -> int:
        """Rows that ``write`` fills, after ``upload``."""
        return 0 if self._placed is None else self._placed.layout.num_points

    @property
    def num_valid(self) -> int:
        """Points that may be in the grid, once the device has finished."""
        return 0 if self._counted is None else int(self._counted)

    def _upload(self, device: Device) -> None:
        self.draft.tensors[self.stream.name] = {}
        self._placed = self.stream.placed(scan_of(self.pick), self.target_ns, self._around, device)

    def _launch(self, device: Device) -> None:
        return  # by the grid, once all of its sources are uploaded

    def write(self, device: Device, rows: torch.Tensor, fields: tuple[str, ...]) -> None:
        """Write ``rows [num_points, 3 + F]`` float32: x, y, z in the target frame, then ``fields``.

        x, y, z of a point that is not valid are NaN; of a scan that cannot be read none is valid.
        """
        self._run(device, lambda device: self._write(rows, fields))
        if self._counted is None:
            rows.fill_(math.nan)

    def refuse(self, device: Device, error: DataError) -> None:
        """End the scan as one that cannot be used."""

        def fail(device: Device) -> None:
            raise error

        self._run(device, fail)

    def _write(self, rows: torch.Tensor, fields: tuple[str, ...]) -> None:
        placed, config = self._placed, self.stream.config
        if placed is None:
            return
        valid = torch.empty(len(rows), dtype=torch.bool, device=rows.device)
        ops.deskew_points(
            placed.data,
            placed.layout,
            fields,
            transform=placed.transform,
            deskew=placed.deskew,
            min_range=config.min_range,
            max_range=config.max_range,
            out=(rows, valid),
        )
        # torch's own count on the CPU waits for its threads, for a thousand times as long as counting takes.
        self._counted = int(np.count_nonzero(valid.numpy())) if valid.is_cpu else valid.sum()

    def _collect(self, device: Device) -> None:
        name, num_points, num_valid = self.stream.name, self.num_points, self.num_valid
        scan = scan_of(self.pick)
        if num_points and not num_valid and not ops.deskew_points(scan.data, scan.layout)[1].any():
            raise DataError(Reason.ALL_NON_FINITE, f'none of the {num_points} points is finite')
        self.draft.points_dropped[name] = {'invalid': num_points - num_valid}
        if num_points and not num_valid:
            self.draft.without_voxels.append(name)
        if self._placed is not None:
            self.draft.motion += self._placed.readings
