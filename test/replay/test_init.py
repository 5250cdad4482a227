# SPDX-License-Identifier: Apache-2.0
"""The tool ``init``: a configuration in which each parameter says what it is."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
import yaml
from support import bags, vectors

from robocache_ros import parameters
from robocache_ros.bags import open_bag
from robocache_ros.tools import init
from robocache_ros.tools.config_from_bag import config_from_bag


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    messages = [
        *bags.every(100, '/lidar/points', bags.cloud, 1000),
        *bags.every(100, '/front/image_raw', bags.image, 1000),
        *bags.every(5, '/imu/data', bags.imu, 1000),
        *bags.every(20, '/odom', vectors.odometry, 1000),
        *bags.every(20, '/cmd_vel', vectors.twist_stamped, 1000),
    ]
    return bags.write(tmp_path_factory.mktemp('init') / 'bag', messages)


def test_each_parameter_has_its_meaning_and_the_value_that_was_proposed(
    bag: Path, capsys: pytest.CaptureFixture
) -> None:
    assert init.main([str(bag)]) == 0
    text = capsys.readouterr().out
    made = config_from_bag(open_bag(bag))
    assert yaml.safe_load(text) == {'/**/preprocess': {'ros__parameters': made.parameters}}
    lines = text.splitlines()
    assert max(map(len, lines)) <= 120
    for before, line in itertools.pairwise(lines):
        if re.match(r' *\w+: ', line):
            assert re.search(r'  # \S', line) or before.lstrip().startswith('# '), line


def test_the_features_of_a_lerobot_set_are_proposed_as_a_comment(
    bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    init.main([str(bag)])
    text = capsys.readouterr().out
    file = tmp_path / 'robot.yaml'
    file.write_text(text.replace('# export: ', 'export: '))
    _, node = parameters.from_file(file, warn=pytest.fail)
    wanted = node.export.lerobot
    assert (set(wanted.state), wanted.action, wanted.images) == ({'imu', 'odom'}, ('cmd_vel',), ('front',))


def test_a_bag_that_cannot_be_used_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert init.main([str(tmp_path / 'none')]) == 2
    assert capsys.readouterr().err == f'init: {tmp_path}/none: there is no such bag\n'
