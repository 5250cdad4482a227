# SPDX-License-Identifier: Apache-2.0
"""Depth images that are compressed by RVL."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from robocache_core import backends
from robocache_core.ledger import Reason
from robocache_core.samples import DataError


def decode_rvl(data: npt.NDArray[np.uint8], width: int, height: int) -> npt.NDArray[np.uint16]:
    """Return the pixels ``[height, width]`` of RVL data ``[nbytes]``, whatever follows their end.

    Raises:
        DataError: ``decode_failed``: it is cut short or damaged.
    """
    pixels = np.empty(width * height, dtype=np.uint16)
    if not backends.active().module.decode_rvl(np.ascontiguousarray(data), pixels):
        raise DataError(
            Reason.DECODE_FAILED,
            f'the RVL image of {data.size} bytes is damaged, or less than {width} x {height} pixels',
        )
    return pixels.reshape(height, width)
