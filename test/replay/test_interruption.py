# SPDX-License-Identifier: Apache-2.0
"""A signal that comes at a bad moment still ends a replay."""

import subprocess
import sys

CODE = """
import os, signal
from robocache_ros.tools import interruption

signal.signal(signal.SIGINT, interruption.on_signal)


class Finalised:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        sum(range(1000))  # so that the handler runs here


interruption.check()
del_me = Finalised()
del del_me
print('lost')
try:
    interruption.check()
except KeyboardInterrupt:
    print('remembered')
"""


def test_an_interrupt_that_python_drops_is_remembered() -> None:
    run = subprocess.run([sys.executable, '-c', CODE], capture_output=True, text=True, timeout=60)
    assert 'Exception ignored in' in run.stderr
    assert run.stdout.split() == ['lost', 'remembered']
