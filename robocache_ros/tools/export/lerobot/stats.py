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
_LEVELS = 256
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


def histogram(image: Array) -> Array:
    """Counts ``[3, 256]`` of the values of each channel of an image ``[H, W, 3] uint8``, of every few pixels."""
    step = max(1, min(image.shape[:2]) // _LEAST_PIXELS)
    pixels = image[::step, ::step].reshape(-1, 3)
    return np.stack([np.bincount(pixels[:, channel], minlength=_LEVELS) for channel in range(3)])


def of_pixels(counts: Array, num_images: int) -> dict[str, list[Any]]:
    """Statistics of each channel, 0 to 1, shape ``[3, 1, 1]``, from the sum of the histograms of some images."""
    levels = np.arange(_LEVELS) / (_LEVELS - 1)
    total = counts.sum(axis=1, keepdims=True)
    mean = (counts * levels).sum(axis=1, keepdims=True) / total
    deviation = np.sqrt((counts * (levels - mean) ** 2).sum(axis=1, keepdims=True) / total)
    present = counts > 0
    below = counts.cumsum(axis=1)
    found = {
        'min': levels[present.argmax(axis=1)],
        'max': levels[_LEVELS - 1 - present[:, ::-1].argmax(axis=1)],
        'mean': mean,
        'std': deviation,
        **{name: levels[(below >= q * total).argmax(axis=1)] for name, q in _QUANTILES.items()},
    }
    return {**{name: np.reshape(each, (3, 1, 1)).tolist() for name, each in found.items()}, 'count': [num_images]}
