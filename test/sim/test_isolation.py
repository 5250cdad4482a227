# SPDX-License-Identifier: Apache-2.0
"""The simulator runs without ROS, and without the package that needs it."""

import pkgutil

import pytest
from support.isolation import import_without

import robocache_sim

MODULES = [module.name for module in pkgutil.iter_modules(robocache_sim.__path__, 'robocache_sim.')]


def test_every_module_is_imported_without_ros():
    assert len(MODULES) >= 4
    done = import_without(['rclpy', 'rosbags', 'sensor_msgs', 'robocache_ros'], *MODULES)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize('refused', ['numpy', 'robocache_sim'])
def test_the_refusal_works(refused):
    assert f'{refused} is refused' in import_without([refused], *MODULES).stderr
