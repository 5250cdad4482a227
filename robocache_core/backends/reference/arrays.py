# SPDX-License-Identifier: Apache-2.0
"""What several operations do to arrays: integers in the order of floats, and rounding to the dtype of a result."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Array = npt.NDArray[Any]


def ordered_int(values: Array) -> Array:
    """Integers ordered as the float32 ``values`` are, -0 below +0."""
    bits: Array = values.view(np.int32)
    ordered: Array = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return ordered


def ordered_float(ordered: Array) -> Array:
    """Float32 values of ``ordered_int``."""
    bits: Array = ordered.astype(np.int32)
    values: Array = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).view(np.float32)
    return values


def round_to(values: Array, out: torch.Tensor) -> None:
    """Write float32 ``values`` to ``out``, rounded to nearest even; every NaN becomes the one quiet NaN.

    Of uint8 they are clamped to 0..255, and NaN is 0.
    """
    if out.dtype == torch.uint8:
        out.copy_(torch.from_numpy(np.rint(np.clip(np.nan_to_num(values), 0, 255)).astype(np.uint8)))
        return
    out.copy_(torch.from_numpy(values))
    out.masked_fill_(out.isnan(), math.nan)
