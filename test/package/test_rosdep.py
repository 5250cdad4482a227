# SPDX-License-Identifier: Apache-2.0
"""What package.xml depends on can be released: every key is a package of ROS, or one of apt wherever ROS is built."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / 'scripts' / 'rosdep_check.py'))
NAMES = SCRIPT['dependencies'](ROOT / 'package.xml')

ROW = {'debian': ['python3-torch'], 'ubuntu': {'*': ['python3-torch'], 'noble': None}}
PIP = {'debian': {'pip': {'packages': ['rosbags']}}, 'ubuntu': {'noble': {'apt': {'packages': ['rosbags']}}}}


def test_every_dependency_is_known_to_be_releasable():
    assert list(SCRIPT['unchecked'](NAMES)) == []
    assert sorted(SCRIPT['CHECKED']) == NAMES
    assert not [name for name in NAMES if name.endswith('-pip')]


def test_a_new_dependency_is_to_be_checked():
    (line,) = SCRIPT['unchecked']([*NAMES, 'rcplpy'])
    assert line == 'rcplpy: is not in CHECKED: run scripts/rosdep_check.py with a checkout of rosdistro, and add it'


@pytest.mark.parametrize(
    ('name', 'said'),
    [
        ('python3-rosbags-pip', 'is a key of pip, which no build farm installs: leave it out of package.xml'),
        ('rcplpy', 'is in no index'),
        ('navigation', 'is not released in lyrical, rolling'),
        ('torch', 'has no package of apt for ubuntu noble'),
    ],
)
def test_what_cannot_be_released_is_named(name, said):
    platforms = {platform: ['x'] for each in SCRIPT['PLATFORMS'].values() for platform in each}
    copy = {
        'released': {'navigation': ['jazzy', 'kilted']},
        'system': {'torch': {**platforms, 'ubuntu noble': []}},
    }
    assert list(SCRIPT['problems']([name], copy)) == [f'{name}: {said}']


@pytest.mark.parametrize(
    ('row', 'platform', 'packages'),
    [
        (ROW, 'debian bookworm', ['python3-torch']),
        (ROW, 'ubuntu resolute', ['python3-torch']),
        (ROW, 'ubuntu noble', []),
        (ROW, 'fedora 43', []),
        (PIP, 'debian trixie', []),
        (PIP, 'ubuntu noble', ['rosbags']),
    ],
)
def test_a_row_of_rosdep(row, platform, packages):
    assert SCRIPT['_packages'](row, *platform.split()) == packages
