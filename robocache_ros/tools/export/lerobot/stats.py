# SPDX-License-Identifier: Apache-2.0
"""Statistics of features, as LeRobot has them of each episode and of the set: of numbers, and of the pixels of images.

Those of several episodes are computed of all their values, not of the statistics of each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_QUANTILES = {'q01': 0.01, 'q10': 0.10, 'q50': 0.50, 'q90': 0.90, 'q99': 0.99}
#: Least pixels along an axis of the image that is looked at.
_LEAST_PIXELS = 150


def of_numbers(values: Array) -> dict[str, list[float]]:
    """Statistics over the first axis of ``values [N, ...]``."""
    values = values.astype(np.float64)
    return {
        'min': values.min(axis=0).tolist(),
        'max': values.max(axis=0).tolist(),
        'mean': values.mean(axis=0).tolist(),
        'std': values.std(axis=0).tolist(),
        'count': [len(values)],
        **{name: np.quantile(values, q, axis=0).tolist() for name, q in _QUANTILES.items()},
    }


def histogram(image: Array, num_levels: int) -> Array:
    """Counts ``[C, num_levels]`` of the levels of each channel, of every few pixels of an image ``[H, W(, C)]``."""
    step = max(1, min(image.shape[:2]) // _LEAST_PIXELS)
    pixels = image[::step, ::step].reshape(-1, *image.shape[2:])
    return np.stack([np.bincount(channel, minlength=num_levels) for channel in np.atleast_2d(pixels.T)])


def of_pixels(counts: Array, levels: Array, num_images: int) -> dict[str, list[Any]]:
    """Statistics of each channel, shape ``[C, 1, 1]``, from the sum of the histograms of some images.

    ``levels [L]`` are the values that are counted, from the least to the greatest.
    """
    total = counts.sum(axis=1, keepdims=True)
    mean = (counts * levels).sum(axis=1, keepdims=True) / total
    deviation = np.sqrt((counts * (levels - mean) ** 2).sum(axis=1, keepdims=True) / total)
    present = counts > 0
    below = counts.cumsum(axis=1)
    found = {
        'min': levels[present.argmax(axis=1)],
        'max': levels[len(levels) - 1 - present[:, ::-1].argmax(axis=1)],
        'mean': mean,
        'std': deviation,
        **{name: levels[(below >= q * total).argmax(axis=1)] for name, q in _QUANTILES.items()},
    }
    return {**{name: np.reshape(each, (-1, 1, 1)).tolist() for name, each in found.items()}, 'count': [num_images]}
