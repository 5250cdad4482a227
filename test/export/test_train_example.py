# SPDX-License-Identifier: Apache-2.0
"""The example of a training loop: a set and the bags that it is of teach the same, to the bit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from support import exports, hard_bag

from robocache_ros.tools.export import run

pytest.importorskip('webdataset', reason='webdataset is not installed: requirements/export.txt')
from robocache_ros.examples import train


def test_where_there_is_no_frame_it_ends(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r'nowhere has no \.tar file: name the folder webdataset of an export$'):
        train.batches_of_set(tmp_path / 'nowhere', 0)
    with pytest.raises(ValueError, match='no frame comes'):
        train.train([], 'lidar', 'imu')


def test_ten_steps_on_a_set_are_those_on_its_bags(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    bags = [hard_bag.write(tmp_path / name) for name in ('one', 'two')]
    config = dataclasses.replace(exports.CONFIG, cameras=())
    run.export(bags, exports.configuration(config), tmp_path / 'out', ('webdataset',))
    folder = tmp_path / 'out' / 'webdataset'
    losses = train.train(train.batches_of_set(folder, 0), 'lidar', 'imu')
    assert len(losses) == 10
    assert losses == train.train(train.batches_of_bags(bags, config, 0), 'lidar', 'imu')
    assert losses[-1] < losses[0]
    assert train.main(['--lidar', 'lidar', '--vector', 'imu', '--set', str(folder)]) == 0
    assert capsys.readouterr().out.count('step ') == 10
