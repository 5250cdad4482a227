# SPDX-License-Identifier: Apache-2.0
"""What a set says of its bags: what is wrong with each, under its own name, and each once."""

from __future__ import annotations

import dataclasses
import functools
import json
import operator
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support import bags, depths, exports, hard_bag

from robocache_core.config import (
    CameraConfig,
    DepthConfig,
    GridConfig,
    ImuConfig,
    LidarConfig,
    PipelineConfig,
    SyncConfig,
    VoxelConfig,
)
from robocache_core.units import MS
from robocache_ros.bags import BagError, open_bag
from robocache_ros.shards import shards_of
from robocache_ros.tools.export import cli, run


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hard_bag.write(tmp_path_factory.mktemp('manifest') / 'bag')


def cut(bag: Path, copy: Path) -> Path:
    """A copy of a bag that ends early, as where the recorder was killed."""
    shutil.copytree(bag, copy)
    (file,) = copy.glob('*.mcap')
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 7 // 10])
    return copy


def test_what_is_wrong_with_a_bag_is_in_the_manifest_by_any_number_of_processes(bag: Path, tmp_path: Path) -> None:
    damaged = cut(bag, tmp_path / 'damaged')
    configuration = exports.configuration(
        dataclasses.replace(hard_bag.config(deskew=False), target_frame='')
    )  # /tf_static comes last
    for jobs in (1, 2):
        run.export([damaged], configuration, tmp_path / f'{jobs}', ('webdataset',), jobs=jobs)
    assert exports.contents(tmp_path / '1') == exports.contents(tmp_path / '2')
    (found,) = json.loads((tmp_path / '1' / 'manifest.json').read_text())['bags']
    assert found['defects'][0].startswith('bag.mcap is cut off or damaged at ')
    assert any(line.startswith('the stamps jumped, ') for line in found['warnings'])


POSE = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)


def lacking_bag(path: Path) -> Path:
    """At 10 Hz, 2 s: clouds; images of distances, of nothing from 0.5 s, none from 1 to 1.5 s; an IMU until 0.7 s.

    Much later a message of a topic that nobody reads, so that shards have none of the others.
    """
    images = [
        (ms, '/depth', depths.depth_image(ms, np.full((8, 12), 1000 * (ms < 500 or ms >= 1500), np.uint16)))
        for ms in range(0, 2000, 100)
        if not 1000 <= ms < 1500
    ]
    return bags.write(
        path,
        [
            (0, '/camera_info', depths.camera_info(0, 12, 8, 6.0)),
            *images,
            *bags.every(100, '/points', bags.cloud),
            *bags.every(100, '/imu', bags.imu, 700),
            (9000, '/other_imu', bags.imu(9000)),
        ],
    )


def test_what_frames_lack_is_counted_by_stream_in_one_pass_and_in_shards(tmp_path: Path) -> None:
    bag, of = lacking_bag(tmp_path / 'bag'), {'extrinsics': POSE, 'required': False, 'tolerance_ns': 20 * MS}
    config = PipelineConfig(
        lidars=(LidarConfig('lidar', topic='/points', extrinsics=POSE),),
        depths=(DepthConfig('depth', topic='/depth', width=12, height=8, camera_info_topic='/camera_info', **of),),
        imus=(ImuConfig('imu', topic='/imu', window_size=2, window_period_ns=10 * MS, required=False),),
        grids=(GridConfig('all', ('lidar', 'depth'), VoxelConfig(channels=('count',))),),
        target_frame='base_link',
        sync=SyncConfig(trigger='lidar', max_wait_ns=150 * MS),
    )
    frames = exports.frames_of(bag, config)
    whole = run.export([bag], exports.configuration(config), tmp_path / 'out', ('webdataset',))
    (found,) = whole['bags']
    not_valid = Counter(name for frame in frames for name, is_valid in frame.valid.items() if not is_valid)
    given_up = Counter(name for frame in frames for name in frame.given_up)
    blind = sum(bool(frame.valid['depth'] and not frame.tensors['depth.valid'].any()) for frame in frames)
    assert not_valid.keys() == {'depth', 'imu'}
    expected = {
        'not_valid': not_valid,
        'given_up': given_up,
        'left_out': {'depth': not_valid['depth']},
        'without_depth': {'depth': blind},
        'without_voxels': {},
    }
    assert {what: found[what] for what in expected} == expected
    assert (blind, not_valid['depth'], len(frames)) == (5, 5, 20)
    printed = cli._outcome(whole, tmp_path)
    assert 'bag: 5 of 20 frames have no valid distance in the image of depth' in printed
    assert 'bag: 5 of 20 frames have no points in their grid of depth' in printed
    outcomes = []
    for shard in shards_of(open_bag(bag), 3):
        with shard.frames(config) as part:
            list(part)
            outcomes.append(part.outcome)
    assert functools.reduce(operator.add, outcomes).lacking == expected


def test_what_is_wrong_with_a_bag_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """A camera of which some messages were not recorded, in a bag whose recorder was killed."""
    messages = [
        *(each for each in bags.every(50, '/image', bags.image, 3000) if each[0] % 200),
        *bags.every(100, '/points', bags.cloud, 3000),
    ]
    damaged = cut(bags.write(tmp_path / 'whole', messages), tmp_path / 'damaged')
    assert cli.main([str(damaged), '--out', str(tmp_path / 'out'), '--format', 'mcap']) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith('damaged: defect: whole.mcap is cut off or damaged at ') for line in lines)
    assert any('warning: ' in line and 'messages of image were not recorded' in line for line in lines)


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_topic_that_was_recorded_and_has_no_message_is_a_defect(tmp_path: Path, storage: str) -> None:
    camera = CameraConfig('front', topic='/image', width=2, height=2, required=False)
    imu = ImuConfig('imu', topic='/imu', window_size=2)
    config = PipelineConfig(cameras=(camera,), imus=(imu,), sync=SyncConfig(rate_hz=10.0))
    messages = bags.every(10, '/imu', bags.imu, 1000)
    bag = bags.write(tmp_path / 'bag', messages, storage, silent=[('/image', 'sensor_msgs/msg/Image')])
    manifest = run.export([bag], exports.configuration(config), tmp_path / 'out', ('webdataset',))
    assert [each['defects'] for each in manifest['bags']] == [['it has no messages on /image']]


def test_a_set_does_not_depend_on_where_it_is_made(bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does any of its files name a path of the machine."""
    there = tmp_path / 'elsewhere' / bag.name
    shutil.copytree(bag, there)
    run.export([bag], exports.configuration(), tmp_path / 'one', ('webdataset', 'mcap'))
    monkeypatch.chdir(there.parent)
    run.export([Path(bag.name)], exports.configuration(), Path('two'), ('webdataset', 'mcap'))
    assert exports.contents(tmp_path / 'one') == exports.contents(there.parent / 'two')
    for file in (tmp_path / 'one').rglob('*'):
        assert file.is_dir() or str(tmp_path.parent).encode() not in file.read_bytes()


def linked(bag: Path, folder: Path) -> Path:
    (folder / 'link').symlink_to(bag)
    return folder / 'link'


SAME: dict[str, Callable[[Path, Path], Path]] = {
    'the same path': lambda bag, folder: bag,
    'another path': lambda bag, folder: bag / '..' / bag.name,
    'a link': linked,
    'a copy': lambda bag, folder: shutil.copytree(bag, folder / 'copy'),
    'its file': lambda bag, folder: next(bag.glob('*.mcap')),
}


@pytest.mark.parametrize('name', SAME)
def test_a_bag_that_is_given_twice_is_refused(bag: Path, tmp_path: Path, name: str) -> None:
    again = SAME[name](bag, tmp_path)
    with pytest.raises(BagError, match=f'^{again}: has the same messages as {bag}: give each bag once$'):
        run.export([bag, again], exports.configuration(), tmp_path / 'out', ('webdataset',))
    assert not list(tmp_path.glob('out*'))
