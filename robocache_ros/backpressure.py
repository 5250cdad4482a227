# SPDX-License-Identifier: Apache-2.0
"""Back-pressure: thins the trigger while targets pile up, and takes it back step by step."""

from __future__ import annotations

from robocache_core.config import BackpressureConfig


class Backpressure:
    """Hysteresis over the number of targets that wait.

    At the high mark or above, for ``patience`` without becoming fewer: half as many are kept from then on. At the low
    mark or below: twice as many. So a backlog that is worked off, as after one late wake-up, costs no target, whatever
    its size; one that stands or grows is overload.

    Args:
        config: the marks, the patience and the limit.
    """

    def __init__(self, config: BackpressureConfig) -> None:
        self._config = config
        #: One target in this many is kept.
        self.keep_every = 1
        #: Fewest targets that waited since the high mark was reached or the last step was made, and when they became
        #: so few, ns; None below the mark.
        self._fewest: int | None = None
        self._since_ns = 0

    def update(self, depth: int, now_ns: int) -> int:
        """Update by ``depth``, the number of targets that wait after a frame was computed; return ``keep_every``.

        Args:
            depth: targets that wait.
            now_ns: on a steady clock.
        """
        if depth < self._config.high_watermark:
            self._fewest = None
            if depth <= self._config.low_watermark:
                self.keep_every = max(1, self.keep_every // 2)
        elif self._fewest is None or depth < self._fewest:
            self._fewest, self._since_ns = depth, now_ns
        elif now_ns - self._since_ns >= self._config.patience_ns:
            self.keep_every = min(self.keep_every * 2, self._config.max_keep_every)
            self._fewest, self._since_ns = depth, now_ns
        return self.keep_every

    @property
    def state(self) -> str:
        """``normal`` or ``thinning``."""
        return 'normal' if self.keep_every == 1 else 'thinning'
