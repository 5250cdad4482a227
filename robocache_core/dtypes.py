# SPDX-License-Identifier: Apache-2.0
"""What dtypes of torch do not say of themselves in every version."""

from __future__ import annotations

import functools

import numpy as np
import torch


@functools.cache
def itemsize(dtype: torch.dtype) -> int:
    """Return the bytes of an element; ``torch.dtype.itemsize`` is newer than the torch 1.13 of Debian 12."""
    return torch.empty(0, dtype=dtype).element_size()


@functools.cache
def numpy_dtype(dtype: torch.dtype) -> np.dtype:
    """Return the dtype that an array of NumPy has for ``dtype``, of those that NumPy has."""
    return torch.empty(0, dtype=dtype).numpy().dtype
