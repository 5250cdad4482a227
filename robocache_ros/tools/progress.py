# SPDX-License-Identifier: Apache-2.0
"""A progress bar on a terminal; a line at every quarter where the output is no terminal."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from robocache_ros.tools import interruption

_WIDTH = 30
_REDRAW_S = 0.1


class ProgressBar:
    """Shows how much of ``total_s`` is done, and a note beside it."""

    def __init__(self, total_s: float, stream: TextIO | None = None) -> None:
        self._total_s = max(total_s, 1e-9)
        self._stream = stream or sys.stderr
        self._is_terminal = self._stream.isatty()
        self._drawn_at = 0.0
        self._quarter = 0

    def show(self, done_s: float, note: str) -> None:
        """Draw, unless the last drawing is only a moment old.

        Raises:
            KeyboardInterrupt: a signal has come, which Python may have dropped.
        """
        interruption.check()
        done_s = min(max(done_s, 0.0), self._total_s)
        share = done_s / self._total_s
        now = time.monotonic()
        if self._is_terminal:
            if now - self._drawn_at >= _REDRAW_S or share == 1.0:
                self._drawn_at = now
                filled = int(share * _WIDTH)
                bar = '█' * filled + '░' * (_WIDTH - filled)
                self._stream.write(f'\r{bar} {done_s:6.1f} / {self._total_s:.1f} s  {note}\x1b[K')
                self._stream.flush()
        elif int(share * 4) > self._quarter:
            self._quarter = int(share * 4)
            self._stream.write(f'{done_s:.1f} / {self._total_s:.1f} s  {note}\n')
            self._stream.flush()

    def close(self) -> None:
        """End the line."""
        if self._is_terminal:
            self._stream.write('\n')
            self._stream.flush()
