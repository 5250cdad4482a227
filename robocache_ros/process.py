# SPDX-License-Identifier: Apache-2.0
"""The process of the node: how SIGINT, SIGTERM and SIGHUP end it, from its first line to its last.

Exit status: 0 where everything was released; 128 + the signal's number (129, 130, 143) where a step that did not end
was cut off; 1 where the configuration was refused at the start, or another node has the name;
2 where the arguments were, or something that it needs is not installed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: From the signal to the end of the process, at the most.
GRACE_S = 1.5


class Signals:
    """Takes SIGINT, SIGTERM and SIGHUP on a thread of its own, so that no other thread is ever interrupted by one.

    The first signal ends the process: at once, or as ``end_by`` states. Later ones change nothing. Make it before any
    other thread, on the main thread. A SIGHUP that is ignored, as by ``nohup``, stays so.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._end: Callable[[], None] | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)  # a shell may have it ignored, and Python raises KeyboardInterrupt
        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        self._numbers = [number for number in _SIGNALS if number != signal.SIGHUP or not ignored]
        signal.pthread_sigmask(signal.SIG_BLOCK, self._numbers)  # in the threads to come too
        threading.Thread(target=self._watch, name='signals', daemon=True).start()

    def end_by(self, end: Callable[[], None]) -> None:
        """Have a signal call ``end``, on a thread of its own; what still runs ``GRACE_S`` later is cut off.

        What it called before is not called any more once this returns.
        """
        with self._lock:
            self._end = end

    def _watch(self) -> None:
        number = signal.sigwait(self._numbers)
        with self._lock:
            if self._end is None:  # nothing is held yet
                os._exit(0)
            self._end()
        time.sleep(GRACE_S)
        try:
            print(
                f'preprocess: ended by {signal.Signals(number).name} within a step that took longer than {GRACE_S} s: '
                'the step is lost, and its memory and the publishers are left to the operating system',
                file=sys.stderr,
                flush=True,
            )
        finally:  # stderr may be a terminal that is gone
            os._exit(128 + number)


def main() -> int:
    """Run the node until a signal ends it; returns the exit status."""
    signals = Signals()
    try:
        from robocache_ros import node  # after the signals are taken: it imports for seconds
    except ModuleNotFoundError as error:
        from robocache_ros.tools import entry

        return entry.name_missing('preprocess', error)
    return node.run(signals)


if __name__ == '__main__':
    sys.exit(main())
