# SPDX-License-Identifier: Apache-2.0
"""Which backend computes the operations, and why.

Where tensors are decides first: those on a GPU go to ``cuda``. Of tensors on the CPU, ``cpu`` is the compiled module
``_robocache_core``; ``reference`` is the plain NumPy statement, which always runs and gives the same bits.
``ROBOCACHE_BACKEND=cpu|reference`` demands one; without it the compiled module is taken where it can be loaded.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import torch

import robocache_core

#: Those for tensors on the CPU.
NAMES = ('cpu', 'reference')

_CPU = torch.device('cpu')


@dataclass(frozen=True)
class Backend:
    """A backend.

    Attributes:
        name: cpu, reference or cuda.
        reason: why it is the one that runs.
        version: of robocache_core, whose arithmetic it states.
        compiler_flags: compiler and flags of the compiled module; of the reference, the NumPy that it runs on.
        module: has the operations: ``voxelize_dense``, ``voxelize_sparse``, ``voxelize_hard``, ``deskew_points``,
            ``prepare_image``, ``fuse``.
    """

    name: str
    reason: str
    version: str
    compiler_flags: str
    module: ModuleType


def active() -> Backend:
    """The backend that operations run on: that of an enclosing ``use``, else what the environment and the build give.

    Raises:
        RuntimeError: ``ROBOCACHE_BACKEND=cpu``, and the compiled module cannot be loaded.
        ValueError: ``ROBOCACHE_BACKEND`` names no backend.
    """
    return _used.get() or _default()


def for_device(device: torch.device) -> ModuleType:
    """The module that has the operations for tensors on ``device``, which is a tensor's: the CPU has no number.

    Raises:
        RuntimeError: there is none; the message says why.
    """
    return active().module if device == _CPU else cuda().module


@functools.cache
def cuda() -> Backend:
    """The backend of tensors on a GPU.

    Raises:
        RuntimeError: this build has none.
    """
    try:
        module = importlib.import_module('robocache_core.backends.compiled_cuda')
    except ImportError as error:
        raise RuntimeError(f'there is no CUDA backend: {error}') from error
    reason = f'the tensors are on a GPU; compiled for {module.ARCHS}'
    return Backend('cuda', reason, robocache_core.__version__, _compiled().COMPILER_FLAGS, module)


def is_gpu_error(error: Exception) -> bool:
    """Whether a launch, a copy or an allocation of the compiled module failed on a GPU."""
    try:
        return isinstance(error, cuda().module.GpuError)
    except RuntimeError:
        return False  # there is no CUDA backend to raise it


@contextmanager
def use(name: str) -> Iterator[Backend]:
    """Run the operations called inside, in this thread, on backend ``name``.

    Raises:
        RuntimeError: the compiled module cannot be loaded.
        ValueError: ``name`` is no backend.
    """
    backend = _demand(name, f"use('{name}')")
    token = _used.set(backend)
    try:
        yield backend
    finally:
        _used.reset(token)


_used: ContextVar[Backend | None] = ContextVar('robocache_backend', default=None)


@functools.cache
def _default() -> Backend:
    demanded = os.environ.get('ROBOCACHE_BACKEND', '')
    if demanded:
        return _demand(demanded, f'ROBOCACHE_BACKEND={demanded}')
    native, why = _load_native()
    if native is None:
        return _reference(f'the compiled module cannot be loaded: {why}')
    return _cpu(native, f'the compiled module was loaded: {why}')


def _demand(name: str, by: str) -> Backend:
    if name not in NAMES:
        raise ValueError(f'{by}: must be one of {", ".join(NAMES)}')
    if name == 'reference':
        return _reference(by)
    native, why = _load_native()
    if native is None:
        raise RuntimeError(f'{by}, but the compiled module cannot be loaded: {why}')
    return _cpu(native, f'{by}: {why}')


@functools.cache
def _load_native() -> tuple[ModuleType | None, str]:
    """The compiled backend and the file it is in, or None and why it cannot be had."""
    try:
        native = importlib.import_module('robocache_core.backends.native')
    except ImportError as error:
        return None, str(error)
    return native, _compiled().FILE


def _compiled() -> ModuleType:
    return importlib.import_module('robocache_core.backends.compiled')


def _cpu(native: ModuleType, reason: str) -> Backend:
    return Backend('cpu', reason, robocache_core.__version__, _compiled().COMPILER_FLAGS, native)


def _reference(reason: str) -> Backend:
    reference = importlib.import_module('robocache_core.backends.reference')
    return Backend('reference', reason, robocache_core.__version__, f'numpy {np.__version__}', reference)
