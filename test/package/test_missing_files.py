# SPDX-License-Identifier: Apache-2.0
"""A file that is not there: each tool says so in one line, with the same exit status."""

from __future__ import annotations

import importlib
import signal
from pathlib import Path

import pytest
from support import bags

TOOLS = {
    'init': 'robocache_ros.tools.init',
    'inspect': 'robocache_ros.tools.inspect.cli',
    'view': 'robocache_ros.tools.view.cli',
    'export': 'robocache_ros.tools.export.cli',
    'replay': 'robocache_ros.tools.replay.cli',
    'explain': 'robocache_ros.tools.explain',
}


@pytest.mark.parametrize(
    'command',
    [
        'init NONE',
        'inspect NONE',
        'inspect BAG NONE',
        'view NONE',
        'view BAG NONE',
        'export NONE --out OUT --format mcap',
        'export BAG --config NONE --out OUT --format mcap',
        'replay NONE --out OUT',
        'replay BAG --config NONE --out OUT',
        'explain NONE',
    ],
)
def test_a_missing_file_is_status_2_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, command: str
) -> None:
    name, *given = command.split()
    if name == 'view':
        pytest.importorskip('rerun', reason='rerun is not installed: requirements/view.txt')
    bag = bags.write(tmp_path / 'bag', bags.every(100, '/image', bags.image, 500))
    places = {'NONE': str(tmp_path / 'none'), 'BAG': str(bag), 'OUT': str(tmp_path / 'out')}
    tool = importlib.import_module(TOOLS[name])
    if name == 'replay':
        monkeypatch.setattr(tool, '_enter_environment', lambda *_: None)  # it would replace this process
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        assert tool.main([places.get(each, each) for each in given]) == 2
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f'{name}: ')
    assert places['NONE'] in line
