# SPDX-License-Identifier: Apache-2.0
"""RVL in NumPy; see ``csrc/rvl.hpp``."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: Nibbles of the greatest number that can be, and bytes that a pixel and its run take at the most.
_MOST_NIBBLES, _MOST_BYTES = 11, 16


def decode_rvl(data: npt.NDArray[np.uint8], pixels: npt.NDArray[np.uint16]) -> bool:
    """Decode ``data [nbytes]`` to ``pixels [N]``; returns whether it holds as many."""
    numbers = _numbers(data[: _MOST_BYTES * (pixels.size + 1)])
    runs = _runs(numbers, pixels.size)
    if runs is None:
        return False
    pixels[:] = 0
    if not len(runs):
        return True
    first_pixels, first_numbers, sizes = runs.T
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    differences = numbers[np.repeat(first_numbers, sizes) + within]
    values = np.cumsum((differences >> 1) ^ -(differences & 1))
    if differences.min() < 0 or values.min() < 1 or values.max() > 0xFFFF:
        return False
    pixels[np.repeat(first_pixels, sizes) + within] = values
    return True


def _numbers(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """All numbers in ``data``; -1 for one that is too long: what is behind it means nothing."""
    words = np.frombuffer(data[: data.size // 4 * 4].tobytes(), '<u4').astype('>u4').view(np.uint8)
    nibbles = np.stack([words >> 4, words & 0xF], axis=1).reshape(-1)
    last = np.flatnonzero(nibbles < 8)
    first = np.concatenate([[0], last[:-1] + 1]).astype(np.int64)[: len(last)]
    lengths = last - first + 1
    numbers = np.zeros(len(last), dtype=np.int64)
    for i in range(min(_MOST_NIBBLES, int(lengths.max(initial=0)))):
        has = np.flatnonzero(lengths > i)
        numbers[has] |= (nibbles[first[has] + i] & 7).astype(np.int64) << (3 * i)
    numbers[lengths > _MOST_NIBBLES] = -1
    return numbers


def _runs(numbers: npt.NDArray[np.int64], num_pixels: int) -> npt.NDArray[np.int64] | None:
    """Of each run of pixels that are not 0 ``[R, 3]``: its first pixel, the first of its numbers, and its size.

    None where the runs do not fill the image, or the numbers end before it is full.
    """
    runs, pixel, at = [], 0, 0
    while pixel < num_pixels:
        if at + 2 > len(numbers):
            return None
        zeros, others = int(numbers[at]), int(numbers[at + 1])
        at += 2
        if zeros < 0 or others < 0 or zeros + others == 0 or pixel + zeros + others > num_pixels:
            return None
        if at + others > len(numbers):
            return None
        if others:
            runs.append((pixel + zeros, at, others))
        pixel, at = pixel + zeros + others, at + others
    return np.array(runs, dtype=np.int64).reshape(-1, 3)
