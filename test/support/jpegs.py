# SPDX-License-Identifier: Apache-2.0
"""JPEGs in the ways that encoders write them."""

from __future__ import annotations

import cv2
import numpy as np

#: By their name, how OpenCV calls the samplings of chroma.
SAMPLINGS = {'4:4:4': 0x111111, '4:2:2': 0x211111, '4:2:0': 0x221111, '4:4:0': 0x121111, '4:1:1': 0x411111}


def picture(height: int, width: int, channels: int = 3, noise: float = 8.0) -> np.ndarray:
    """A picture ``[height, width(, channels)]`` of shapes and noise, with the extremes of 8 bits."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:height, 0:width]
    planes = [127 + 100 * np.sin(x / 17 + i) * np.cos(y / 23 * (i + 1)) for i in range(channels)]
    image = np.stack(planes, axis=-1) + rng.normal(0, noise, (height, width, channels))
    image[: height // 3, : width // 4] = 255
    chequered = slice(0, height // 4), slice(width // 4, width // 2)
    image[chequered] = ((x + y)[chequered] // 8 % 2 * 255)[..., None]
    image = np.clip(image, 0, 255).astype(np.uint8)
    return image[..., 0] if channels == 1 else image


def encoded(image: np.ndarray, sampling: str = '4:2:0', *options: int) -> np.ndarray:
    """``image`` as a JPEG ``[nbytes] uint8``; ``options``: OpenCV's, in pairs."""
    return cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SAMPLINGS[sampling], *options])[1].reshape(-1)


def changed(data: np.ndarray, rng: np.random.Generator, first: int = 2) -> np.ndarray:
    """``data`` with bits flipped and bytes changed, taken out or put in, from byte ``first`` on."""
    data = data.copy()
    for _ in range(rng.integers(1, 4)):
        at = rng.integers(first, data.size)
        kind = rng.integers(4)
        if kind == 0:
            data[at] ^= 1 << rng.integers(8)
        elif kind == 1:
            data[at] = rng.choice((0, 0xFF, 0xD0, 0xDA))
        elif kind == 2:
            data = np.delete(data, slice(at, at + rng.integers(1, 9)))
        else:
            data = np.insert(data, at, rng.integers(0, 256, rng.integers(1, 5)).astype(np.uint8))
    return data
