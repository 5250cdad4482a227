# SPDX-License-Identifier: Apache-2.0
"""Distances as codes of 12 bits, which LeRobot (0.6 and newer) reads from videos without loss.

Code c is the distance exp(c * step) * shift - shift, where step makes the last code the greatest distance: codes are
denser where it is near. Code 0 is 0 m, which is what a pixel that is not valid has.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

LAST_CODE = 4095
#: Added to distances before their logarithm is taken, m: LeRobot's own.
_SHIFT_M = 3.5
#: What ``info.json`` has of every feature of distances.
DEPTH_INFO = {'is_depth_map': True, 'depth_unit': 'm'}


def codes_of(depth: npt.NDArray[np.float32], max_depth: float) -> npt.NDArray[np.uint16]:
    """Return the nearest codes of distances, m, of the same shape; those beyond ``max_depth`` have the last one."""
    codes = np.rint(np.log1p(depth.astype(np.float64) / _SHIFT_M) / _step(max_depth))
    return np.minimum(codes, LAST_CODE).astype(np.uint16)


def distances(max_depth: float) -> npt.NDArray[np.float64]:
    """Return the distance of every code, m, ``[LAST_CODE + 1]``."""
    found: npt.NDArray[np.float64] = np.expm1(np.arange(LAST_CODE + 1) * _step(max_depth)) * _SHIFT_M
    return found


def _step(max_depth: float) -> float:
    return math.log1p(max_depth / _SHIFT_M) / LAST_CODE


def codes_info(max_depth: float) -> dict[str, Any]:
    """What ``info.json`` has of the codes: by these keys LeRobot makes distances of them."""
    return {
        'video.depth_min': 0.0,
        'video.depth_max': max_depth,
        'video.shift': _SHIFT_M,
        'video.use_log': True,
        **DEPTH_INFO,
    }
