# SPDX-License-Identifier: Apache-2.0
"""Interrupts that are not lost: Python drops a KeyboardInterrupt that is raised while it finalises an object."""

from __future__ import annotations

import threading

_requested = threading.Event()


def on_signal(signum: int, frame: object) -> None:
    """Handle SIGINT or SIGTERM: raise KeyboardInterrupt, and remember it for ``check``."""
    _requested.set()
    raise KeyboardInterrupt


def check() -> None:
    """Raise KeyboardInterrupt where a signal has come."""
    if _requested.is_set():
        raise KeyboardInterrupt
