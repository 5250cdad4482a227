# SPDX-License-Identifier: Apache-2.0
"""What dtypes of torch do not say of themselves in every version."""

from __future__ import annotations

import functools

import torch


@functools.cache
def itemsize(dtype: torch.dtype) -> int:
    """Return the bytes of an element; ``torch.dtype.itemsize`` is newer than the torch 1.13 of Debian 12."""
    return torch.empty(0, dtype=dtype).element_size()
