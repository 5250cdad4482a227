# SPDX-License-Identifier: Apache-2.0
"""How the examples end: by SIGINT or SIGTERM, in their own time."""

from __future__ import annotations

import signal
import threading


def set_by_signals() -> threading.Event:
    """Return an event that SIGINT and SIGTERM set; init rclpy without handlers, as its own would end it at once."""
    ending = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ending.set())
    return ending
