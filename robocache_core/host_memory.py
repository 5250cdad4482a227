# SPDX-License-Identifier: Apache-2.0
"""Memory of the host for bytes that a pipeline will compute on.

It is ordinary memory until a pipeline of this process computes on a GPU, and pinned from then on: a GPU copies such
bytes as they are, without a copy to pinned memory before. Blocks are kept and handed out again, at most 512 MiB; beyond
that, where no memory can be pinned any more, and in a process that was forked since, they are ordinary.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class Functions(NamedTuple):
    """Addresses of C functions that hand out such memory, each with a last argument that it does not look at."""

    allocate: int
    deallocate: int
    reallocate: int
    zero_allocate: int


_module: Any = None  # the compiled one, once memory is pinned


def pin(module: Any, gpu: int) -> None:
    """Hand out pinned memory from here on, by the compiled ``module``, for the GPU of this number."""
    global _module
    module.pin_blocks(gpu)
    _module = module


def empty(nbytes: int) -> npt.NDArray[np.uint8]:
    """Return ``nbytes`` bytes, whatever is in them."""
    return (
        np.empty(nbytes, np.uint8) if _module is None or not nbytes else np.frombuffer(_module.Block(nbytes), np.uint8)
    )


def functions() -> Functions | None:
    """Return what hands out memory to others; None while that is ordinary."""
    return None if _module is None else Functions(*_module.block_functions)


def pinned_bytes() -> int:
    """Return the bytes of all blocks that are pinned, in use or kept."""
    return 0 if _module is None else int(_module.pinned_bytes())
