# SPDX-License-Identifier: Apache-2.0
"""Bytes on the host as tensors, without a copy."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from typing_extensions import Buffer


def view_on_host(buffer: Buffer) -> torch.Tensor:
    """View a buffer as ``[nbytes] uint8``; the view keeps it, and is not to be written to where it is read-only."""
    return torch.from_numpy(np.frombuffer(memoryview(buffer), dtype=np.uint8))


# torch warns of the first array in a process that is read-only, as messages are; nothing writes to a sample.
with warnings.catch_warnings():
    warnings.simplefilter('ignore', UserWarning)
    view_on_host(b'\0')
