# SPDX-License-Identifier: Apache-2.0
"""Which backend computes the operations, and why.

Tensors on a GPU go to ``cuda``, the compiled operations. Tensors on the CPU go to ``cpu``, the compiled operations too,
or to ``reference``, the same operations in plain NumPy, which always run and give the same bits.
``ROBOCACHE_BACKEND=cpu|reference`` demands one; without it the compiled module is taken where it can be loaded.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import torch

import robocache_core

#: Those for tensors on the CPU.
NAMES = ('cpu', 'reference')

_CPU = torch.device('cpu')

T = TypeVar('T')


@dataclass(frozen=True)
class Backend:
    """A backend.

    Attributes:
        name: cpu, reference or cuda.
        reason: why it is the one that runs.
        version: of robocache_core, whose arithmetic it has.
        compiler_flags: compiler and flags of the compiled module; the version of NumPy where it is the reference.
        module: has the operations: ``voxelize_dense``, ``voxelize_sparse``, ``voxelize_hard``, ``deskew_points``,
            ``prepare_image``, ``prepare_depth``, ``register_depth``, ``fuse``, ``jpeg_damage``, ``jpeg_planes``,
            ``decode_rvl``.
    """

    name: str
    reason: str
    version: str
    compiler_flags: str
    module: ModuleType


def active() -> Backend:
    """The backend of tensors on the CPU: that of an enclosing ``use``, else what the environment and the build give.

    Raises:
        RuntimeError: ``ROBOCACHE_BACKEND=cpu``, and the compiled module cannot be loaded.
        ValueError: ``ROBOCACHE_BACKEND`` names no backend.
    """
    return _used.get() or _default()


def for_device(device: torch.device) -> ModuleType:
    """Return the module that has the operations for tensors on ``device``.

    Raises:
        RuntimeError: there is none; the message says why.
    """
    return active().module if device == _CPU else cuda().module


def reference_module() -> ModuleType:
    """Return the module that has the operations in NumPy, whatever is active."""
    return _reference('asked for').module


@functools.cache
def cuda() -> Backend:
    """The backend of tensors on a GPU.

    Raises:
        RuntimeError: this build has none.
    """
    compiled, why = _load_compiled()
    if compiled is None:
        raise RuntimeError(f'there is no CUDA backend: {why}')
    if not compiled.ARCHS:
        raise RuntimeError(f'there is no CUDA backend: {why} was built without CUDA: no nvcc, or ROBOCACHE_CUDA=0')
    return _of_compiled('cuda', compiled, f'the tensors are on a GPU; compiled for {compiled.ARCHS}')


def checked_once(check: Callable[..., T], tensors: tuple[Any, ...], settings: tuple[Any, ...]) -> T:
    """Return ``check(*tensors, *settings)``, which is called only where no call like it was checked of late.

    Calls are alike where their settings are the same, and their tensors have the same dtypes, devices, shapes and
    strides: what ``check`` returns may depend on nothing else, and what tensors hold is not its business.

    Args:
        check: checks the arguments of an operation, and returns what is made of them once.
        tensors: tensors, None, or lists and tuples of them.
        settings: all other arguments.

    Raises:
        Exception: whatever ``check`` raises.
    """
    calls = _checked_calls(check)
    made: T | None = calls.find(tensors, settings)
    if made is None:
        made = check(*tensors, *settings)
        calls.remember(tensors, settings, made)
    return made


@functools.cache
def _checked_calls(check: Callable[..., Any]) -> Any:
    """What ``check`` was called with of late; without the compiled module nothing is kept."""
    compiled, _ = _load_compiled()
    return _NoCalls() if compiled is None else compiled.core.CheckedCalls(torch.Tensor)


class _NoCalls:
    """As the compiled module's ``CheckedCalls``, and keeps nothing."""

    def find(self, tensors: tuple[Any, ...], settings: tuple[Any, ...]) -> None:
        """Find nothing."""

    def remember(self, tensors: tuple[Any, ...], settings: tuple[Any, ...], made: Any) -> None:
        """Keep nothing."""


def is_gpu_error(error: Exception) -> bool:
    """Whether a launch, a copy or an allocation of the compiled module failed on a GPU."""
    compiled, _ = _load_compiled()
    return compiled is not None and isinstance(error, compiled.GpuError)


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
    compiled, why = _load_compiled()
    if compiled is None:
        return _reference(f'the compiled module cannot be loaded: {why}')
    return _of_compiled('cpu', compiled, f'the compiled module was loaded: {why}')


def _demand(name: str, by: str) -> Backend:
    if name not in NAMES:
        raise ValueError(f'{by}: must be one of {", ".join(NAMES)}')
    if name == 'reference':
        return _reference(by)
    compiled, why = _load_compiled()
    if compiled is None:
        raise RuntimeError(f'{by}, but the compiled module cannot be loaded: {why}')
    return _of_compiled('cpu', compiled, f'{by}: {why}')


@functools.cache
def _load_compiled() -> tuple[ModuleType | None, str]:
    """The compiled operations and the file that they are in, or None and why they cannot be loaded."""
    try:
        compiled = importlib.import_module('robocache_core.backends.compiled')
    except ImportError as error:
        return None, str(error)
    return compiled, compiled.FILE


def _of_compiled(name: str, compiled: ModuleType, reason: str) -> Backend:
    return Backend(name, reason, robocache_core.__version__, compiled.COMPILER_FLAGS, compiled)


def _reference(reason: str) -> Backend:
    reference = importlib.import_module('robocache_core.backends.reference')
    return Backend('reference', reason, robocache_core.__version__, f'numpy {np.__version__}', reference)
