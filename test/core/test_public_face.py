# SPDX-License-Identifier: Apache-2.0
"""What ``import robocache_core`` gives."""

import doctest
import subprocess
import sys

import robocache_core
from robocache_core.config import GROUPS


def test_the_example_in_the_docstring_runs() -> None:
    result = doctest.testmod(robocache_core)
    assert result.attempted >= 10
    assert result.failed == 0


def test_every_public_name_is_there() -> None:
    assert [name for name in robocache_core.__all__ if not hasattr(robocache_core, name)] == []
    assert sorted(robocache_core.__all__, key=lambda name: (name.islower(), name)) == robocache_core.__all__


def test_every_kind_of_stream_is_public() -> None:
    assert {kind.__name__ for kind in GROUPS.values()} <= set(robocache_core.__all__)


def test_the_core_and_the_simulator_import_no_ros_package() -> None:
    """Where none is installed they work, and a robot without ROS can use them."""
    code = """
import sys


class NoRos:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('rclpy', 'sensor_msgs', 'std_msgs', 'rosbags', 'robocache_ros', 'builtin_interfaces'):
            raise ImportError(f'{name} is of ROS')


sys.meta_path.insert(0, NoRos())
import pkgutil
import robocache_core, robocache_sim
for package in (robocache_core, robocache_sim):
    for module in pkgutil.walk_packages(package.__path__, f'{package.__name__}.'):
        __import__(module.name)
print('imported')
"""
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=120)
    assert run.stdout == 'imported\n', run.stderr
