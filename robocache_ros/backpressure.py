# SPDX-License-Identifier: Apache-2.0
"""Back-pressure: thins the trigger while targets pile up, and takes it back step by step."""

from __future__ import annotations

from robocache_core.config import BackpressureConfig


class Backpressure:
    """Hysteresis over the number of targets that wait: at the high mark half as many are kept, at the low mark twice.

    Args:
        config: the marks and the limit.
    """

    def __init__(self, config: BackpressureConfig) -> None:
        self._config = config
        #: One target in this many is kept.
        self.keep_every = 1
        self._worst = 0

    def update(self, depth: int) -> int:
        """Update by ``depth``, the number of targets that wait after a frame was computed; return ``keep_every``.

        Thinning goes a step further only when the depth has grown past the last step's: a backlog that is shrinking
        needs no more of it.
        """
        grew = depth > self._worst
        if depth >= self._config.high_watermark and (grew or self.keep_every == 1):
            self.keep_every = min(self.keep_every * 2, self._config.max_keep_every)
            self._worst = depth
        elif depth <= self._config.low_watermark:
            self.keep_every = max(1, self.keep_every // 2)
            self._worst = 0
        return self.keep_every

    @property
    def state(self) -> str:
        """``normal`` or ``thinning``."""
        return 'normal' if self.keep_every == 1 else 'thinning'
