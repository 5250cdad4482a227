# SPDX-License-Identifier: Apache-2.0
"""The report of an export: what it says of the bags, however they were computed, and in a browser."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from support import browser, exports, hard_bag

from robocache_core.frame import FusedFrame
from robocache_core.ledger import Counts
from robocache_ros.offline import fused_frames
from robocache_ros.tools.export import run
from robocache_ros.tools.export.timeline import Timeline
from robocache_ros.tools.export.writer import ExportError

SECOND = 10**9


def frame(seconds: float, epoch: int = 0, **ages_ms: float) -> FusedFrame:
    ages = {name: round(age * 1e6) for name, age in ages_ms.items()}
    given_up = ('front',) if 'front' not in ages else ()
    return FusedFrame(round(seconds * SECOND), epoch, 0, 'base_link', {}, {}, ages, given_up=given_up)


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hard_bag.write(tmp_path_factory.mktemp('report') / 'bag')


@pytest.fixture(scope='module')
def pages(bag: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The report of an export of a bag by one process, and by two."""
    folder = tmp_path_factory.mktemp('pages')
    for jobs in (1, 2):
        html = folder / 'reports' / f'{jobs}.html'  # a folder that is not there
        run.export([bag], exports.configuration(), folder / f'set {jobs}', ('webdataset',), jobs=jobs, html=html)
    return [folder / 'reports' / '1.html', folder / 'reports' / '2.html']


def test_a_timeline_has_the_steps_ages_and_drops_of_each_part() -> None:
    timeline = Timeline(10.0)  # parts of 10 ms
    timeline.counted({'front': Counts(1, 0, {'late': 1, 'unselected': 5})})
    timeline.frame(frame(100.0, lidar=0.0, front=-3.0))
    timeline.frame(frame(100.002, lidar=-1.0))  # of the same part
    timeline.frame(frame(100.5, lidar=2.0))
    timeline.counted({'front': Counts(1, 0, {'late': 4, 'unselected': 9}), '(targets)': Counts(1, 0, {'x': 1})})
    timeline.frame(frame(50.0, epoch=1, lidar=0.5))
    timeline.frame(frame(50.1, epoch=1, lidar=0.5))
    assert timeline.summary() == {
        't_s': [0.0, 0.5, 1.5, 1.6],
        'step_ms': [pytest.approx(498.0), None, 100.0, None],
        'age_ms': {'lidar': [-1.0, 2.0, 0.5, 0.5], 'front': [-3.0, None, None, None]},
        'drops': {'front late': [1, 4, 4, 4], '(targets) x': [0, 1, 1, 1]},
        'given_up': {'front': 4},
    }


def test_a_timeline_does_not_grow_with_the_bag() -> None:
    timeline = Timeline(3600.0)
    for number in range(0, 360_000, 7):
        timeline.frame(frame(number / 100, lidar=0.0, front=1.0))
    assert len(timeline.summary()['t_s']) <= 1000


def test_the_report_says_what_came_of_the_bag(bag: Path, pages: list[Path]) -> None:
    text = pages[0].read_text()
    for name in ('ages', 'gaps', 'drops', 'lidar points in the image of front'):
        assert f'alt="{name}" src="data:image/' in text, name
    with fused_frames(bag, exports.CONFIG) as frames:
        num_frames, counts = len(list(frames)), frames.counts
    assert f'<p>{num_frames}</p><small>of {counts["(targets)"].received} targets</small>' in text
    for name in exports.CONFIG.streams():
        for reason, count in counts[name.name].dropped.items():
            assert f'{reason} {count}' in text, (name.name, reason)
    assert text.count('no points: ') == 2  # a bag without calibrations


def test_the_report_does_not_depend_on_the_number_of_processes(pages: list[Path]) -> None:
    """But for when drops are counted: at the end of each part of a bag."""
    one, two = (re.sub(r'<img[^>]* alt="drops"[^>]*>', '', page.read_text()) for page in pages)
    assert one == two


def test_the_report_is_readable_in_a_browser(pages: list[Path], tmp_path: Path) -> None:
    browser.check(pages[0], tmp_path)


@pytest.mark.parametrize('name', ['.', 'out/report.html', 'out/deep/report.html'])
def test_where_it_cannot_be_written_nothing_is_computed(bag: Path, tmp_path: Path, name: str) -> None:
    html, out = tmp_path / name, tmp_path / 'out'
    with pytest.raises(ExportError, match=r'^--html .*: must be a file, beside .*out and not in it$'):
        run.export([bag], exports.configuration(), out, ('webdataset',), html=html)
    assert list(tmp_path.iterdir()) == []


def test_without_its_library_nothing_is_computed(bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'robocache_ros.tools.export.page', None)
    with pytest.raises(ExportError, match=r'a report needs robocache_ros\.tools\.export\.page: pip install'):
        run.export([bag], exports.configuration(), tmp_path / 'out', ('webdataset',), html=tmp_path / 'a.html')
    assert list(tmp_path.iterdir()) == []
