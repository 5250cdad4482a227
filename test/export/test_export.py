# SPDX-License-Identifier: Apache-2.0
"""A training set: the frames of one pass by any number of processes, and nothing that looks whole and is not."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import multiprocessing
import os
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import bags, exports, full_disk, hard_bag

import robocache_ros
from robocache_core import payload
from robocache_core.config import MessageVectorConfig
from robocache_ros.bags import Bag
from robocache_ros.export_config import ExportConfig, LeRobotConfig
from robocache_ros.offline import fused_frames
from robocache_ros.parameters import NodeConfig
from robocache_ros.shards import Shard
from robocache_ros.tools.export import cli, formats, run, shards
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
        assert (bag['frames'], bag['name']) == (len(digests), path.name)
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


def test_an_export_that_wrote_no_bag_is_no_obstacle(both: list[Path], whole: Path, tmp_path: Path) -> None:
    """As one that was refused for its configuration."""
    out = tmp_path / 'out'
    with pytest.raises(ExportError, match='names no stream'):
        run.export(both, exports.configuration(hard_bag.config(rate_hz=5.0)), out, ('webdataset', 'lerobot'))
    run.export(both, exports.configuration(), out, FORMATS)
    assert exports.contents(out) == exports.contents(whole)


def test_a_set_that_only_lacks_its_name_is_not_computed_again(
    both: list[Path], whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / 'out'

    def take_name(done_s: float, frames: int) -> None:
        out.touch()

    with pytest.raises(OSError, match='Not a directory'):
        run.export(both, exports.configuration(), out, FORMATS, progress=take_name)
    out.unlink()
    monkeypatch.setattr(run, 'fused_frames', None)
    run.export(both, exports.configuration(), out, FORMATS)
    assert exports.contents(out) == exports.contents(whole)


_EXPORT = """
import os, sys
from pathlib import Path
from support import exports
from robocache_ros.tools.export import run

def show(done_s, frames):
    print(Path('/proc/self/task', str(os.getpid()), 'children').read_text(), flush=True)
    sys.stdin.read()

if __name__ == '__main__':
    run.export([Path(sys.argv[1])], exports.configuration(), Path(sys.argv[2]), ['webdataset'], jobs=2, progress=show)
"""


def test_processes_that_compute_end_with_the_one_that_started_them(both: list[Path], tmp_path: Path) -> None:
    """It is killed, as where memory is short; another export must not meet those that it left."""
    script = tmp_path / 'export.py'
    script.write_text(_EXPORT)
    pipes = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE, 'text': True}
    paths = os.pathsep.join([str(Path(bags.__file__).parents[1]), os.environ.get('PYTHONPATH', '')])
    arguments = [sys.executable, str(script), str(both[0]), str(tmp_path / 'out')]
    with subprocess.Popen(arguments, env={**os.environ, 'PYTHONPATH': paths}, **pipes) as process:
        workers = [os.pidfd_open(int(child)) for child in process.stdout.readline().split()]
        process.kill()
    assert len(workers) >= 2
    for worker in workers:
        assert select.select([worker], [], [], 60)[0], 'a process is left'
        os.close(worker)


def test_a_shard_that_is_still_passed_over_ends_too(
    both: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Or an interrupted export waits until it has read the bag."""
    read = []
    messages = Bag.messages
    monkeypatch.setattr(Bag, 'messages', lambda *args: (read.append(each) or each for each in messages(*args)))
    stopped = multiprocessing.Event()
    stopped.set()
    monkeypatch.setattr(shards, '_stopped', stopped)
    with pytest.raises(shards._StoppedError):
        shards._compute(Shard(both[0], start_ns=1 << 62), exports.CONFIG, tmp_path / 'spool')
    assert not caplog.messages  # nothing is said of what the bag lacks
    assert len({record_ns for topic, record_ns, _ in read if topic != '/tf_static'}) == 1


@pytest.mark.parametrize('jobs', [1, 2])
def test_a_full_disk_leaves_nothing_that_looks_whole(tmp_path: Path, capsys: pytest.CaptureFixture, jobs: int) -> None:
    bag = bags.write(tmp_path / 'bag', bags.every(100, '/image', bags.image, 1000))
    out = tmp_path / 'out'
    arguments = [str(bag), '--out', str(out), '--format', 'webdataset', '--jobs', str(jobs)]
    with full_disk.files_of_at_most(400_000):  # less than a frame
        assert cli.main(arguments) == 1
    assert not out.exists()
    assert not list(tmp_path.rglob('manifest.json'))
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith('export: ')]
    assert 'File too large' in line
    assert f'{out}.part' in line


def test_a_disk_that_is_full_just_before_the_end_is_an_error_and_no_other_follows(
    both: list[Path], tmp_path: Path
) -> None:
    """The last bytes are written where a file is closed."""
    run.export(both[:1], exports.configuration(), tmp_path / 'out', ('mcap',))
    (file,) = (tmp_path / 'out').rglob('*.mcap')
    with full_disk.files_of_at_most(file.stat().st_size - 1), pytest.raises(OSError, match='File too large'):
        run.export(both[:1], exports.configuration(), tmp_path / 'again', ('mcap',))
    assert not (tmp_path / 'again').exists()


def test_a_configuration_that_is_not_there_is_not_a_set_that_is_begun(
    tmp_path: Path, both: list[Path], capsys: pytest.CaptureFixture
) -> None:
    config, out = str(tmp_path / 'none.yaml'), str(tmp_path / 'out')
    assert cli.main([str(both[0]), '--config', config, '--out', out, '--format', 'mcap']) == 2
    assert capsys.readouterr().err == f'export: {config}: No such file or directory\n'


def test_what_cannot_be_begun_is_no_set_that_could_not_be_completed(
    tmp_path: Path, both: list[Path], capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / 'out').mkdir()
    (tmp_path / 'new.part').mkdir()
    (tmp_path / 'new.part' / 'notes').touch()
    for arguments, message in (
        (['--out', str(tmp_path / 'out')], f'{tmp_path / "out"} exists: choose another name, or remove it'),
        (['--out', str(tmp_path / 'new')], f'{tmp_path / "new.part"} has files that no export left there: remove it'),
        (['--out', str(tmp_path / 'a'), '--html', str(tmp_path)], 'must be a file, beside'),
        (['--out', str(both[0] / 'metadata.yaml' / 'a')], 'metadata.yaml/a.part/progress'),
        (['--out', str(tmp_path / 'a'), '--html', str(both[0] / 'metadata.yaml' / 'b' / 'a.html')], 'metadata.yaml/b'),
    ):
        assert cli.main([str(both[0]), *arguments, '--format', 'mcap']) == 2
        assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_library_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith('robocache_ros.tools.export.lerobot')]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'pyarrow', None)
    with pytest.raises(ExportError, match=r'^lerobot needs pyarrow: pip install robocache_ros\[export\]$'):
        formats.make_writer('lerobot', tmp_path / 'set', exports.CONFIG, NodeConfig())


def test_ray_that_is_missing_is_named(both: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, 'robocache_ros.tools.export.ray_tasks', raising=False)
    monkeypatch.setitem(sys.modules, 'ray', None)
    with pytest.raises(ExportError, match=r'^--engine ray needs ray: pip install robocache_ros\[ray\]$'):
        run.export(both, exports.configuration(), tmp_path / 'out', ('webdataset',), engine='ray')


def existing(both: list[Path], tmp_path: Path) -> None:
    (tmp_path / 'out').mkdir()
    run.export(both, exports.configuration(), tmp_path / 'out', FORMATS)


def where_a_link_leads_nowhere(both: list[Path], tmp_path: Path) -> None:
    (tmp_path / 'out').symlink_to('nowhere')
    run.export(both, exports.configuration(), tmp_path / 'out', FORMATS)


def where_one_is(both: list[Path], tmp_path: Path) -> None:
    run.export(both, exports.configuration(), Path(), FORMATS)


def beside_files_of_something_else(both: list[Path], tmp_path: Path) -> None:
    stale = tmp_path / 'out.part' / 'webdataset' / '002-00000.tar'
    stale.parent.mkdir(parents=True)
    stale.touch()
    run.export(both, exports.configuration(), tmp_path / 'out', FORMATS)


def begin(both: list[Path], out: Path, num_frames: int) -> None:
    """An export that is interrupted after some frames; the first bag has 32."""

    def interrupt(done_s: float, frames: int) -> None:
        if frames == num_frames:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.export(both, exports.configuration(), out, FORMATS, progress=interrupt)


def of_another_configuration(both: list[Path], tmp_path: Path) -> None:
    begin(both, tmp_path / 'out', 45)
    run.export(both, exports.configuration(hard_bag.config(rate_hz=5.0)), tmp_path / 'out', FORMATS)


def by_another_version(both: list[Path], tmp_path: Path) -> None:
    begin(both, tmp_path / 'out', 45)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(robocache_ros, '__version__', '0.0.0')
        run.export(both, exports.configuration(), tmp_path / 'out', FORMATS)


def of_a_bag_that_is_being_recorded(both: list[Path], tmp_path: Path) -> None:
    bag = tmp_path / 'bag'
    shutil.copytree(both[0], bag)

    def record(done_s: float, frames: int) -> None:
        with next(bag.glob('*.mcap')).open('ab') as file:
            file.write(b'more')

    run.export([bag], exports.configuration(), tmp_path / 'out', FORMATS, progress=record)


def by_two_at_once(both: list[Path], tmp_path: Path) -> None:
    def again(done_s: float, frames: int) -> None:
        run.export(both, exports.configuration(), tmp_path / 'out', FORMATS)

    run.export(both, exports.configuration(), tmp_path / 'out', FORMATS, progress=again)


def without_a_frame(both: list[Path], tmp_path: Path) -> None:
    pipeline = hard_bag.config(rate_hz=0.001)
    run.export(both, exports.configuration(pipeline), tmp_path / 'out', FORMATS)


def where_every_target_is_dropped(both: list[Path], tmp_path: Path) -> None:
    whole = hard_bag.config()
    cameras = tuple(dataclasses.replace(camera, topic='/none', required=True) for camera in whole.cameras)
    run.export(both, exports.configuration(dataclasses.replace(whole, cameras=cameras)), tmp_path / 'out', FORMATS)


def without_an_episode(both: list[Path], tmp_path: Path) -> None:
    of = {'fields': ('data',), 'stamp': 'arrival', 'interpolation': 'previous', 'required': False}
    silent = MessageVectorConfig('episode', topic='/none', message='std_msgs/msg/Int32', **of)
    whole = hard_bag.config(rate_hz=10.0)
    pipeline = dataclasses.replace(whole, vectors=(*whole.vectors, silent))
    wanted = NodeConfig(export=ExportConfig(LeRobotConfig(state=('imu',), episode='episode')))
    run.export(both[:1], exports.configuration(pipeline, wanted), tmp_path / 'out', ('lerobot',))


@pytest.mark.parametrize(
    ('attempt', 'why'),
    [
        (existing, 'exists: choose another name, or remove it'),
        (where_a_link_leads_nowhere, 'exists: choose another name, or remove it'),
        (where_one_is, r'\. exists: choose another name, or remove it'),
        (beside_files_of_something_else, r'out\.part has files that no export left there: remove it'),
        (of_another_configuration, 'was begun with other bags, formats, versions or another configuration: remove it'),
        (by_another_version, 'was begun with other bags, formats, versions or another configuration: remove it'),
        (of_a_bag_that_is_being_recorded, 'bag was written while it was read: export it once its recording has ended'),
        (by_two_at_once, 'is being written by another process'),
        (without_a_frame, r'no frame came of .*one: 1 targets \(.*two: 1 .*\): `inspect BAG CONFIG` says what to do$'),
        (where_every_target_is_dropped, r'no frame came of .*one: \d+ targets \(dropped: \d+ missing:front.*'),
        (without_an_episode, 'no frame is of an episode: episode is 0 or not valid in all of them'),
    ],
)
def test_what_cannot_be_exported_is_refused(both: list[Path], tmp_path: Path, attempt, why: str) -> None:
    with pytest.raises(ExportError, match=why):
        attempt(both, tmp_path)
    assert not (tmp_path / 'out' / 'manifest.json').exists()
    is_kept = attempt in (beside_files_of_something_else, of_another_configuration, by_another_version)
    assert (tmp_path / 'out.part').exists() == is_kept
