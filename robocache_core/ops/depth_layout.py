# SPDX-License-Identifier: Apache-2.0
"""A depth image as a cloud: its pixels are points, which no list holds."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch

from robocache_core.encodings import encoding_of
from robocache_core.ops.depth import DepthValues, check_depth_encoding, depth_values
from robocache_core.samples import PointField
from robocache_core.validation import as_bool, as_float, as_int, check_tensor


@dataclass(frozen=True)
class PixelField(PointField):
    """A coordinate of the points of a depth image; ``values``: how its pixels are read."""

    values: DepthValues | None = None


@dataclass(frozen=True, eq=False)
class DepthLayout:
    """How the bytes of a depth image hold points, one a pixel: its distance times its ray.

    A pixel whose value is 0, negative or not finite is dropped ``non_finite``, as one whose ray is not finite; one that
    is not from ``min_depth`` to ``max_depth`` is dropped ``range``. Points have x, y, z and no other field.

    Attributes:
        encoding, width, height, step, is_bigendian, unit, min_depth, max_depth: as ``prepare_depth`` takes them.
        rays: ``[height, width, 3]`` float32, contiguous, where the image is: x, y, z of a pixel whose distance is 1 m
            (``robocache_core.rays`` makes them).
    """

    encoding: str
    width: int
    height: int
    step: int
    rays: torch.Tensor
    is_bigendian: bool = False
    unit: float = 0.0
    min_depth: float = 0.0
    max_depth: float = math.inf

    @property
    def num_points(self) -> int:
        """Pixels of the image, those without a distance among them."""
        return int(self.width) * int(self.height)

    @property
    def row_step(self) -> int:
        """Bytes from a row to the next."""
        return self.step

    @functools.cached_property
    def point_step(self) -> int:
        """Bytes of a pixel."""
        return np.dtype(encoding_of(self.encoding).dtype).itemsize

    @functools.cached_property
    def fields(self) -> tuple[PixelField, ...]:
        """The coordinates of a point.

        Raises:
            ValueError: a number is not allowed.
        """
        values = depth_values(
            self.encoding,
            as_bool('layout.is_bigendian', self.is_bigendian),
            as_float('layout.unit', self.unit),
            as_float('layout.min_depth', self.min_depth),
            as_float('layout.max_depth', self.max_depth),
        )
        return tuple(PixelField(axis, 0, values.dtype, values=values) for axis in 'xyz')

    def validate(self, nbytes: int) -> None:
        """Check that the image is inside ``nbytes`` bytes of data, and that each of its pixels has a ray.

        Raises:
            DataError: ``unknown_encoding``, ``empty_image``, ``bad_image_size``, ``step_too_small``,
                ``data_too_short``.
            ValueError, TypeError: something else is wrong.
        """
        width, height = as_int('layout.width', self.width), as_int('layout.height', self.height)
        check_depth_encoding(self.encoding)
        encoding_of(self.encoding).check(self.encoding, width, height, as_int('layout.step', self.step), nbytes)
        check_tensor('layout.rays', self.rays, 3, (torch.float32,), None)
        if self.rays.shape != (height, width, 3) or not self.rays.is_contiguous():
            raise ValueError(
                f'layout.rays has shape {tuple(self.rays.shape)}: must be {(height, width, 3)}, contiguous'
            )
