# SPDX-License-Identifier: Apache-2.0
"""SIGINT and SIGTERM end a tool with one line and a status, whatever it is at.

While it imports, at once: an exception in the midst of an import becomes another one, or leaves half a module. Then by
KeyboardInterrupt, which is not lost: Python drops one that is raised while it finalises an object.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable

#: Exit status of a tool that was interrupted.
STATUS = 130
_requested = threading.Event()


def end_at_once(tool: str) -> None:
    """Have a signal end the process from now on: it holds nothing yet."""

    def end(signum: int, frame: object) -> None:
        os.write(sys.stderr.fileno(), _line(tool).encode())
        os._exit(STATUS)

    _handle(end)


def raise_from_now_on() -> None:
    """Have a signal raise KeyboardInterrupt from now on, and be remembered for ``check``."""
    _handle(on_signal)


def on_signal(signum: int, frame: object) -> None:
    """Handle SIGINT or SIGTERM: raise KeyboardInterrupt, and remember it for ``check``."""
    _requested.set()
    raise KeyboardInterrupt


def check() -> None:
    """Raise KeyboardInterrupt where a signal has come."""
    if _requested.is_set():
        raise KeyboardInterrupt


def status_of(tool: str) -> int:
    """Print that ``tool`` was interrupted; returns its exit status."""
    sys.stderr.write(_line(tool))
    return STATUS


def _line(tool: str) -> str:
    return f'{tool}: interrupted\n'


def _handle(handler: Callable[[int, object], None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)
