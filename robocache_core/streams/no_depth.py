# SPDX-License-Identifier: Apache-2.0
"""What a depth image has of which no pixel is valid: no distance at all, or distances beyond the limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch

from robocache_core.gpu_bytes import to_host
from robocache_core.ops.depth import depth_values
from robocache_core.samples import CameraFrame, DataError


class WithoutDepth:
    """Counts frames with a depth image in which no pixel is valid.

    Attributes:
        counts: by stream.
        distances: by stream that has such a frame, what ``describe_distances`` says of the last one.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.counts = dict.fromkeys(names, 0)
        self.distances: dict[str, str] = {}

    def take(self, distances: Mapping[str, str]) -> None:
        """Count a frame, by the streams that have such an image for it, and the distances of that."""
        for name in distances:
            self.counts[name] += 1
        self.distances.update(distances)


def has_valid(valid: torch.Tensor) -> bool | torch.Tensor:
    """Return whether any of ``valid`` is true, on a GPU as a tensor that is read once it has finished."""
    return bool(valid.numpy().any()) if valid.is_cpu else valid.any()


def describe_distances(image: CameraFrame, unit: float) -> str:
    """Say which distances the pixels of an image have, whatever the limits are; of one that a GPU has lost, that.

    Args:
        image: of a depth encoding.
        unit: metres of a count; 0: that of the encoding.
    """
    try:
        data = to_host(image.data)
    except DataError as error:  # the image has been prepared, and is not lost with its bytes
        return f'what it has is not known: {error}'
    values = depth_values(image.encoding, image.is_bigendian, unit, 0.0, float('inf'))
    dtype = np.dtype(values.dtype).newbyteorder('>' if image.is_bigendian else '<')
    shape, strides = (image.height, image.width), (image.step, dtype.itemsize)
    pixels = np.ndarray(shape, dtype, data.numpy().data, strides=strides)
    distances = pixels[np.isfinite(pixels) & (pixels > 0)]
    if not distances.size:
        return f'none of {pixels.size} pixels has a distance'
    nearest, farthest = (float(each) * values.unit for each in (distances.min(), distances.max()))
    return f'{distances.size} of {pixels.size} pixels have one, {nearest:.3g} to {farthest:.3g} m'
