# SPDX-License-Identifier: Apache-2.0
"""What tools write: on a full disk, to nobody, and over what they read.

A tool whose disk is full ends with exit status 1 and a line that names the file; a reader that ends is no error.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from support import bags, full_disk
from support.flight import drive, robot

from robocache_ros.tools import security_policy, simulate
from robocache_ros.tools.export import cli as export
from robocache_ros.tools.faults import cli as faults
from robocache_ros.tools.inspect import cli as inspect
from robocache_ros.tools.replay import cli as replay
from robocache_ros.tools.view import cli as view


@pytest.fixture(scope='module')
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bag, a configuration for it, and a flight record."""
    folder = tmp_path_factory.mktemp('given')
    bags.write(folder / 'bag', bags.every(100, '/image', bags.image, 1000))
    parameters = {'cameras': ['image'], 'image': {'topic': '/image'}}
    (folder / 'robot.yaml').write_text(yaml.safe_dump({'preprocess': {'ros__parameters': parameters}}))
    bench = robot(folder)
    drive(bench, 1000)
    bench.runtime.dumps.write('test').rename(folder / 'record.jsonl')
    return folder


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """A tool that runs in this process leaves its handlers of signals."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


#: Tools that print, and the status with which they end where they can.
PRINTING = {
    'init': (['{given}/bag'], 0),
    'inspect': (['{given}/bag'], 0),
    'export': (['{given}/bag', '--format', 'webdataset', '--out', '{out}/set'], 0),
    'explain': (['{given}/record.jsonl'], 1),
    'security_policy': (['{given}/robot.yaml'], 0),
    'simulate': (['{out}/bag', '--seconds', '0.2', '--lidar-rings', '2'], 0),
    'faults': (['{given}/bag', '{out}/bag', '--fault', 'drop:topic=/image'], 0),
    'doctor': ([], 0),
}


def run(tool: str, given: Path, out: Path, stdout: int) -> tuple[int, list[str]]:
    """Exit status of a tool, and what it has on stderr but for progress and notes."""
    arguments = [each.format(given=given, out=out) for each in PRINTING[tool][0]]
    command = [sys.executable, '-m', f'robocache_ros.tools.{tool}', *arguments]
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=120)
    other = [line for line in done.stderr.splitlines() if ' s  ' not in line and not line.startswith('note: ')]
    return done.returncode, other


@pytest.mark.parametrize('tool', PRINTING)
def test_standard_output_on_a_full_disk(tool: str, given: Path, tmp_path: Path) -> None:
    with open('/dev/full', 'wb') as full:
        found = run(tool, given, tmp_path, full.fileno())
    assert found == (1, [f'{tool}: standard output: No space left on device'])


#: A tool that ends amid its output by what it runs, with standard output on a full disk.
ENDING = """
import sys
from pathlib import Path
from robocache_ros.tools.entry import run_tool
from robocache_ros.tools.writing import write

def body():
    print('begun')
    {ends}

sys.exit(run_tool('tool', body))
"""


@pytest.mark.parametrize(
    ('ends', 'status', 'line'),
    [
        ("write(Path('/dev/full'), 'all of it')", 1, 'tool: /dev/full: No space left on device'),
        ('raise KeyboardInterrupt', 130, 'tool: interrupted'),
    ],
)
def test_what_ends_a_tool_is_said_also_where_its_output_is_on_a_full_disk(ends: str, status: int, line: str) -> None:
    """What is left of the output would fail once more at the end of Python, with a status of its own."""
    with open('/dev/full', 'wb') as full:
        command = [sys.executable, '-c', ENDING.format(ends=ends)]
        environment = {name: value for name, value in os.environ.items() if name != 'PYTHONUNBUFFERED'}
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, env=environment)
    assert (done.returncode, done.stderr) == (status, f'{line}\n')


@pytest.mark.parametrize('tool', ['inspect', 'explain', 'doctor'])
def test_an_output_that_nobody_reads_is_no_error(tool: str, given: Path, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert run(tool, given, tmp_path, writing) == (PRINTING[tool][1], [])
    finally:
        os.close(writing)


def test_a_closed_output_is_no_error(given: Path) -> None:
    command = ['sh', '-c', 'exec "$0" -m robocache_ros.tools.init "$1" >&-', sys.executable, str(given / 'bag')]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, '')


@pytest.mark.parametrize(
    ('tool', 'stderr'),
    [('simulate', 'closed'), ('simulate', 'full'), ('simulate', 'unread'), ('export', 'unread'), ('inspect', 'closed')],
)
def test_a_standard_error_that_takes_nothing_is_no_error(tool: str, stderr: str, given: Path, tmp_path: Path) -> None:
    """Progress is for nobody, as in a cron job."""
    arguments = [each.format(given=given, out=tmp_path) for each in PRINTING[tool][0]]
    closes = '2>&-' if stderr == 'closed' else ''
    shell = ['sh', '-c', f'exec "$0" -m robocache_ros.tools.{tool} "$@" {closes}', sys.executable, *arguments]
    reading, unread = os.pipe()
    os.close(reading)
    with os.fdopen(unread, 'wb') as pipe, open('/dev/full', 'wb') as full:
        goes_to = pipe if stderr == 'unread' else full
        done = subprocess.run(shell, stdout=subprocess.PIPE, stderr=goes_to, text=True, timeout=120)
    assert done.returncode == 0
    assert done.stdout


def test_an_error_that_nobody_is_told_is_not_printed_among_results(tmp_path: Path) -> None:
    shell = 'exec "$0" -m robocache_ros.tools.inspect "$1" 2>&-'
    command = ['sh', '-c', shell, sys.executable, str(tmp_path / 'none')]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, '')


def test_names_that_the_encoding_of_the_output_has_not_are_escaped(tmp_path: Path) -> None:
    command = [sys.executable, '-m', 'robocache_ros.tools.simulate', str(tmp_path / 'é'), '--seconds', '0.1']
    environment = {**os.environ, 'PYTHONIOENCODING': 'ascii'}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=120, env=environment)
    assert done.returncode == 0
    assert '/\\xe9: 0.1 s' in done.stdout


#: Arguments by which a tool would write over what it reads, or one file twice; and that file.
WRITING_OVER: dict[str, tuple[Callable[[list[str]], int], list[str], str]] = {
    'inspect, the bag': (inspect.main, ['{given}/bag', '--json', '{given}/bag/bag.mcap'], 'bag/bag.mcap'),
    'inspect, what describes the bag': (
        inspect.main, ['{given}/bag', '--html', '{given}/bag/metadata.yaml'], 'bag/metadata.yaml'
    ),
    'inspect, the configuration': (
        inspect.main, ['{given}/bag', '{given}/robot.yaml', '--json', '{given}/robot.yaml'], 'robot.yaml'
    ),
    'inspect, one report by the other': (
        inspect.main, ['{given}/bag', '--json', '{given}/x', '--html', '{given}/bag/../x'], 'bag/../x'
    ),
    'export, the bag': (
        export.main,
        ['{given}/bag/bag.mcap', '--format', 'webdataset', '--out', '{out}/set', '--html', '{given}/bag/bag.mcap'],
        'bag/bag.mcap',
    ),
    'export, the configuration': (
        export.main,
        ['{given}/bag', '--config', '{given}/robot.yaml', '--format', 'webdataset', '--out', '{out}/set',
         '--html', '{given}/robot.yaml'],
        'robot.yaml',
    ),
    'view, the bag': (view.main, ['{given}/bag', '--save', '{given}/bag/bag.mcap'], 'bag/bag.mcap'),
    'view, the configuration': (
        view.main, ['{given}/bag', '{given}/robot.yaml', '--save', '{given}/robot.yaml'], 'robot.yaml'
    ),
    'security_policy': (security_policy.main, ['{given}/robot.yaml', '--out', '{given}/robot.yaml'], 'robot.yaml'),
}  # fmt: skip


@pytest.mark.parametrize('case', WRITING_OVER)
def test_a_file_that_is_read_is_not_written_over(
    case: str, given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main, arguments, name = WRITING_OVER[case]
    before = {file: file.read_bytes() for file in given.rglob('*') if file.is_file()}
    assert main([each.format(given=given, out=tmp_path) for each in arguments]) == 2
    tool = case.partition(',')[0]
    error = f'{tool}: {given}/{name} is read, or written already: choose another file to write\n'
    assert capsys.readouterr().err == error
    assert {file: file.read_bytes() for file in given.rglob('*') if file.is_file()} == before


#: Arguments by which a tool writes a file, the largest size that there is, and what its line begins with.
WRITING: dict[str, tuple[Callable[[list[str]], int], list[str], int, str]] = {
    'inspect --json': (inspect.main, ['{given}/bag', '--json', '{out}/a.json'], 100, 'inspect: {out}/a.json: '),
    'inspect --html': (inspect.main, ['{given}/bag', '--html', '{out}/a.html'], 100, 'inspect: {out}/a.html: '),
    'replay': (replay.main, ['{given}/bag', '--out', '{out}'], 100, 'replay: {out}/preprocess.yaml: '),
    'security_policy': (
        security_policy.main, ['{given}/robot.yaml', '--out', '{out}/a.xml'], 100, 'security_policy: {out}/a.xml: '
    ),
    'simulate': (simulate.main, ['{out}/bag', '--seconds', '1'], 10_000, 'simulate: {out}/bag: '),
    'simulate sqlite3': (
        simulate.main, ['{out}/bag', '--seconds', '1', '--storage', 'sqlite3'], 40_000, 'simulate: {out}/bag: '
    ),
    'faults': (
        faults.main, ['{given}/bag', '{out}/bag', '--fault', 'drop:topic=/image'], 100, 'faults: {out}/bag: '
    ),
    'export --html': (
        export.main,
        ['{given}/bag', '--format', 'webdataset', '--out', '{out}/set', '--html', '{out}/a.html'],
        20_000_000,
        'export: {out}/a.html: File too large; {out}/set.part holds ',
    ),
}  # fmt: skip


@pytest.mark.parametrize('tool', WRITING)
def test_a_file_on_a_full_disk(
    tool: str, given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, '_enter_environment', lambda *_: None)  # it would replace this process
    main, arguments, nbytes, beginning = WRITING[tool]
    if tool == 'export --html':
        monkeypatch.setattr('robocache_ros.tools.export.page.render', lambda *_: 'x' * (nbytes + 1))
    with full_disk.files_of_at_most(nbytes):
        assert main([each.format(given=given, out=tmp_path) for each in arguments]) == 1
    lines = capsys.readouterr().err.splitlines()
    (line,) = [line for line in lines if ' s  ' not in line and not line.startswith('note: ')]
    assert line.startswith(beginning.format(out=tmp_path))
