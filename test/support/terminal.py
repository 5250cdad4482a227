# SPDX-License-Identifier: Apache-2.0
"""Processes at a terminal, for the tests of how they end."""

import contextlib
import os
import pty
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import rclpy

NODE = [sys.executable, '-m', 'robocache_ros.process']
FRONT = ['-p', 'cameras:=[front]', '-p', 'front.width:=4', '-p', 'front.height:=4']
ACTIVE = [*FRONT, '-p', 'autostart:=true']


class Terminal:
    """A process with a pseudo-terminal of its own, in whose foreground it runs."""

    def __init__(self, command, arguments, **environment):
        ours, its = pty.openpty()
        environment = {**os.environ, 'PYTHONUNBUFFERED': '1', **environment}
        self._process = subprocess.Popen(
            [*command, '--ros-args', *arguments],
            stdin=its, stdout=its, stderr=its, start_new_session=True, env=environment,
        )  # fmt: skip
        os.close(its)
        self._ours = ours
        self.text = ''
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        with contextlib.suppress(OSError):  # the other end is closed
            while data := os.read(self._ours, 65536):
                with self._changed:
                    self.text += data.decode(errors='replace')
                    self._changed.notify_all()
        os.close(self._ours)

    def until(self, text):
        """Wait until ``text`` was printed."""
        with self._changed:
            assert self._changed.wait_for(lambda: text in self.text, 60), f'{text!r} was not printed:\n{self.text}'

    def until_it_takes(self, number):
        """Wait until the main thread blocks a signal, which another takes: it no longer ends the process at once."""
        end = time.monotonic() + 60
        while not int(re.search(r'SigBlk:\s*(\w+)', self._status())[1], 16) >> (number - 1) & 1:
            assert time.monotonic() < end, f'{number!r} is not taken:\n{self.text}'
            time.sleep(0.005)

    def _status(self):
        return Path(f'/proc/{self.pid}/status').read_text(encoding='utf-8')

    @property
    def pid(self):
        return self._process.pid

    def interrupt(self, number):
        os.killpg(self._process.pid, number)

    def ended(self, timeout_s=60.0):
        """Wait for the end; return the exit status."""
        code = self._process.wait(timeout_s)
        self._reader.join()
        return code

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self._process.poll() is None:
            self._process.kill()
        self.ended()


@contextlib.contextmanager
def other_node(name):
    """A node of this process."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node(name, context=context)
    try:
        yield node
    finally:
        node.destroy_node()
        context.shutdown()


def assert_clean(terminal):
    assert 'Traceback' not in terminal.text, terminal.text
    assert 'failed' not in terminal.text, terminal.text
