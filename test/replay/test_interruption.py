# SPDX-License-Identifier: Apache-2.0
"""A signal that comes at a bad moment still ends a tool, with one line."""

import signal
import subprocess
import sys
import time

import pytest
from support import bags

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


#: A tool, one of whose imports is interrupted and makes another exception of that, as those of compiled modules do.
IMPORTING = """
import os, sys

class Finder:
    def find_spec(name, path=None, target=None):
        if name == 'torch':
            try:
                os.kill(os.getpid(), int(sys.argv[1]))
                sum(range(1000))  # so that the handler runs here
            except BaseException as error:
                raise ImportError('cannot load module') from error

sys.meta_path.insert(0, Finder)
from robocache_ros.tools.{module} import main
sys.modules[main.__module__]._enter_environment = lambda *_: None  # it would replace this process
sys.exit(main(['/nowhere']))
"""


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize(
    ('tool', 'module'),
    [('replay', 'replay.cli'), ('inspect', 'inspect.cli'), ('simulate', 'simulate'), ('faults', 'faults.cli')],
)
def test_an_interrupt_within_an_import(tool: str, module: str, number: signal.Signals) -> None:
    command = [sys.executable, '-c', IMPORTING.format(module=module), str(int(number))]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stderr) == (130, f'{tool}: interrupted\n')


#: Tools that write a bag to ``out``, for an hour.
RECORDING = {
    'simulate': lambda out, bag: [str(out), '--seconds', '3600'],
    'faults': lambda out, bag: [str(bag), str(out), '--fault', 'loop:times=1000000'],
}


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize('tool', RECORDING)
def test_an_interrupt_of_a_recording(tmp_path, tmp_path_factory, tool: str, number: signal.Signals) -> None:
    bag = bags.write(tmp_path_factory.mktemp('given') / 'bag', bags.every(100, '/imu', bags.imu))
    out = tmp_path / 'bag'
    command = [sys.executable, '-m', f'robocache_ros.tools.{tool}', *RECORDING[tool](out, bag)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            while not list(tmp_path.rglob('*.mcap')):
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.01)
            process.send_signal(number)
            _, text = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert text.splitlines()[-1] == f'{tool}: interrupted'
    assert 'Traceback' not in text
    assert not out.exists()
