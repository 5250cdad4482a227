# SPDX-License-Identifier: Apache-2.0
"""The environment for large messages."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from robocache_ros import dds_environment

SHARE = Path('/share')
PROFILE = str(SHARE / 'config' / 'fastdds_large_data.xml')


@pytest.mark.parametrize(
    ('distro', 'variable', 'other'),
    [
        ('jazzy', 'FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'),
        ('kilted', 'FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE'),
        ('lyrical', 'FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE'),
    ],
)
def test_profile_by_distro(distro, variable, other):
    environment = dds_environment.environment(distro, SHARE, {})
    assert environment[variable] == PROFILE
    assert other not in environment
    assert set(dds_environment.ALLOCATOR) < set(environment)


@pytest.mark.parametrize('variable', ['FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'])
def test_a_profile_of_the_users_stays(variable):
    assert dds_environment.environment('jazzy', SHARE, {variable: 'mine.xml'}) == dds_environment.ALLOCATOR


def test_thresholds_of_the_users_stay():
    environment = dds_environment.environment('jazzy', SHARE, {'MALLOC_TOP_PAD_': '1'})
    assert set(environment) == {
        'MALLOC_MMAP_THRESHOLD_', 'MALLOC_TRIM_THRESHOLD_', 'FASTRTPS_DEFAULT_PROFILES_FILE'
    }  # fmt: skip


def test_what_is_set_already_is_not_set_again():
    environment = dds_environment.environment('jazzy', SHARE, {})
    assert dds_environment.environment('jazzy', SHARE, environment) == {}


def test_the_environment_here_is_that_of_the_distribution_and_of_this_installation():
    share = dds_environment.share_directory()
    here = dds_environment.environment_here({'ROS_DISTRO': 'kilted', 'MALLOC_TOP_PAD_': '1'})
    assert here == dds_environment.environment('kilted', share, {'MALLOC_TOP_PAD_': '1'})


def test_distro_is_that_of_the_environment():
    assert dds_environment.distro({'ROS_DISTRO': 'kilted'}) == 'kilted'


def test_distro_of_the_wheels(monkeypatch):
    monkeypatch.setattr(dds_environment.metadata, 'version', {'ros-rclpy': '9.1.2'}.__getitem__)
    assert dds_environment.distro({}) == 'kilted'


def test_share_directory_holds_what_launch_files_need():
    share = dds_environment.share_directory()
    root = ElementTree.parse(share / dds_environment.PROFILE).getroot()
    sizes = {element.tag.split('}')[1]: int(element.text) for element in root.iter() if (element.text or '').isdigit()}
    assert sizes['segment_size'] >= 4 * sizes['maxMessageSize'] >= 4 * 6_200_000
    assert (share / 'launch' / 'preprocess.launch.py').is_file()


def test_no_share_directory_names_where_it_looked(monkeypatch):
    monkeypatch.setattr(dds_environment, 'PROFILE', Path('config') / 'absent.xml')
    with pytest.raises(FileNotFoundError, match=r'absent\.xml.*share/robocache_ros'):
        dds_environment.share_directory()
