# SPDX-License-Identifier: Apache-2.0
"""A training set: the frames of one pass by any number of processes, and nothing that looks whole and is not."""

from __future__ import annotations

import hashlib
import json
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import bags, exports, hard_bag

from robocache_core import payload
from robocache_ros.offline import fused_frames
from robocache_ros.parameters import NodeConfig
from robocache_ros.tools.export import cli, formats, run
from robocache_ros.tools.export.writer import ExportError

FORMATS = ('webdataset', 'mcap')


@pytest.fixture(scope='module')
def both(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two bags."""
    folder = tmp_path_factory.mktemp('export')
    return [hard_bag.write(folder / 'one'), hard_bag.write(folder / 'two', 'sqlite3')]


@pytest.fixture(scope='module')
def whole(both: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The set of both."""
    out = tmp_path_factory.mktemp('set') / 'out'
    run.export(both, exports.configuration(), out, FORMATS)
    return out


def test_the_manifest_has_the_hash_that_replay_gives_and_accounts_for_every_message(
    both: list[Path], whole: Path
) -> None:
    manifest = json.loads((whole / 'manifest.json').read_text())
    total = []
    for bag, path in zip(manifest['bags'], both, strict=True):
        digests = [payload.digest(frame) for frame in exports.frames_of(path)]
        assert (bag['frames'], bag['path']) == (len(digests), str(path))
        assert bag['sha256'] == hashlib.sha256(''.join(digests).encode()).hexdigest()
        for account in (*bag['streams'].values(), bag['targets']):
            assert account['received'] == account['used'] + account['held'] + sum(account['dropped'].values())
        assert bag['targets']['used'] == len(digests)
        assert bag['files'] == {name: sha for name, sha in exports.contents(path).items() if name in bag['files']}
        total += digests
    assert manifest['sha256'] == hashlib.sha256(''.join(total).encode()).hexdigest()


@pytest.mark.parametrize('num_bags', [1, 2])
def test_the_set_does_not_depend_on_the_number_of_processes(
    both: list[Path], whole: Path, tmp_path: Path, num_bags: int
) -> None:
    """One bag is cut into shards, two are computed side by side."""
    out = tmp_path / 'out'
    run.export(both[:num_bags], exports.configuration(), out, FORMATS, jobs=2)
    if num_bags == 1:
        run.export(both[:1], exports.configuration(), tmp_path / 'alone', FORMATS)
    assert exports.contents(out) == exports.contents(whole if num_bags == 2 else tmp_path / 'alone')


def test_an_export_that_is_interrupted_goes_on_behind_the_last_whole_bag(
    both: list[Path], whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(done_s: float, frames: int) -> None:
        if frames == 45:
            raise KeyboardInterrupt

    out = tmp_path / 'out'
    with pytest.raises(KeyboardInterrupt):
        run.export(both, exports.configuration(), out, FORMATS, progress=interrupt)
    assert not out.exists()
    assert not list(tmp_path.rglob('manifest.json'))
    computed = []
    monkeypatch.setattr(run, 'fused_frames', lambda bag, config: computed.append(bag) or fused_frames(bag, config))
    run.export(both, exports.configuration(), out, FORMATS)
    assert computed == both[1:]
    assert exports.contents(out) == exports.contents(whole)
    assert not out.with_name('out.part').exists()


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file can be larger than 400 kB, less than a frame: a write beyond fails as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize('jobs', [1, 2])
@pytest.mark.usefixtures('small_files')
def test_a_full_disk_leaves_nothing_that_looks_whole(tmp_path: Path, capsys: pytest.CaptureFixture, jobs: int) -> None:
    bag = bags.write(tmp_path / 'bag', bags.every(100, '/image', bags.image, 1000))
    out = tmp_path / 'out'
    arguments = [str(bag), '--out', str(out), '--format', 'webdataset', '--jobs', str(jobs)]
    assert cli.main(arguments) == 1
    assert not out.exists()
    assert not list(tmp_path.rglob('manifest.json'))
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith('export: ')]
    assert 'File too large' in line
    assert f'{out}.part' in line


def test_a_library_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith('robocache_ros.tools.export.lerobot')]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'pyarrow', None)
    with pytest.raises(ExportError, match=r'^lerobot needs pyarrow: pip install robocache_ros\[export\]$'):
        formats.make_writer('lerobot', tmp_path / 'set', exports.CONFIG, NodeConfig())


def existing(both: list[Path], tmp_path: Path) -> None:
    (tmp_path / 'out').mkdir()
    run.export(both, exports.configuration(), tmp_path / 'out', FORMATS)


def of_another_configuration(both: list[Path], tmp_path: Path) -> None:
    def interrupt(done_s: float, frames: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.export(both, exports.configuration(), tmp_path / 'out', FORMATS, progress=interrupt)
    run.export(both, exports.configuration(hard_bag.config(rate_hz=5.0)), tmp_path / 'out', FORMATS)


def by_two_at_once(both: list[Path], tmp_path: Path) -> None:
    def again(done_s: float, frames: int) -> None:
        run.export(both, exports.configuration(), tmp_path / 'out', FORMATS)

    run.export(both, exports.configuration(), tmp_path / 'out', FORMATS, progress=again)


def without_a_frame(both: list[Path], tmp_path: Path) -> None:
    pipeline = hard_bag.config(rate_hz=0.001)
    run.export(both, exports.configuration(pipeline), tmp_path / 'out', FORMATS)


@pytest.mark.parametrize(
    ('attempt', 'why'),
    [
        (existing, 'exists: choose another name, or remove it'),
        (of_another_configuration, 'was begun with other bags, formats or another configuration: remove it'),
        (by_two_at_once, 'is being written by another process'),
        (without_a_frame, 'no frame came of .*: `inspect` says why'),
    ],
)
def test_what_cannot_be_exported_is_refused(both: list[Path], tmp_path: Path, attempt, why: str) -> None:
    with pytest.raises(ExportError, match=why):
        attempt(both, tmp_path)
    assert not (tmp_path / 'out' / 'manifest.json').exists()
