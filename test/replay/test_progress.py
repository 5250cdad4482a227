# SPDX-License-Identifier: Apache-2.0
"""The progress bar, on a terminal and elsewhere."""

import io
import signal

import pytest

from robocache_ros.tools import interruption
from robocache_ros.tools.progress import ProgressBar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_log_gets_a_line_at_every_quarter():
    log = io.StringIO()
    bar = ProgressBar(4.0, log)
    for tenth in range(-2, 45):
        bar.show(tenth / 10, f'{tenth} done')
    bar.close()
    assert log.getvalue().splitlines() == [f'{n}.0 / 4.0 s  {10 * n} done' for n in (1, 2, 3, 4)]


def test_a_terminal_gets_one_line_that_ends_full():
    terminal = Terminal()
    bar = ProgressBar(4.0, terminal)
    bar.show(-1.0, 'none')  # before the start
    bar.show(4.0, 'all')
    bar.close()
    text = terminal.getvalue()
    first, last = text.rstrip('\n').split('\r')[1:]
    assert (first.count('█'), last.count('░')) == (0, 0)
    assert (text.count('\n'), first.count('░')) == (1, last.count('█'))


def test_a_signal_that_was_dropped_ends_what_is_shown():
    bar = ProgressBar(4.0, io.StringIO())
    with pytest.raises(KeyboardInterrupt):
        interruption.on_signal(signal.SIGINT, None)  # where Python finalises an object, nothing more comes of it
    try:
        with pytest.raises(KeyboardInterrupt):
            bar.show(1.0, 'none')
    finally:
        interruption._requested.clear()
