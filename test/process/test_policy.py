# SPDX-License-Identifier: Apache-2.0
"""The example of a policy as a process: a signal ends it while it configures, as while it drives."""

import signal
import subprocess
import sys

import pytest

#: It ends itself by a signal when it has come so far.
CODE = """
import os, sys
from robocache_ros.examples import policy
from robocache_ros.node import PreprocessNode

method = getattr(PreprocessNode, sys.argv.pop(1))


def interrupted(self, state):
    os.kill(os.getpid(), int(number))
    return method(self, state)


number = sys.argv.pop(1)
setattr(PreprocessNode, method.__name__, interrupted)
sys.exit(policy.main())
"""
ARGUMENTS = ['--ros-args', '-p', 'lidars:=[lidar]', '-p', 'imus:=[imu]', '-p', 'lidar.topic:=/p', '-p', 'imu.topic:=/i']


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize('method', ['on_configure', 'on_activate'])
def test_a_signal_ends_the_policy_without_a_traceback(method: str, number: signal.Signals) -> None:
    command = [sys.executable, '-c', CODE, method, str(int(number)), *ARGUMENTS]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert 'Traceback' not in run.stderr
    assert run.returncode == 0, run.stderr
