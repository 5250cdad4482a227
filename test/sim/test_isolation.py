# SPDX-License-Identifier: Apache-2.0
"""The simulator runs without ROS, and without the package that needs it."""

import pkgutil
import subprocess
import sys

import pytest

import robocache_sim

MODULES = [module.name for module in pkgutil.iter_modules(robocache_sim.__path__, 'robocache_sim.')]

#: Imports sys.argv[2:] where no module of the packages in sys.argv[1] can be imported.
IMPORT_WITHOUT = """
import importlib, sys
refused = set(sys.argv[1].split(','))
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in refused:
            raise ImportError(f'{name} is refused')
sys.meta_path.insert(0, Refuse())
for name in sys.argv[2:]:
    importlib.import_module(name)
"""


def import_without(refused, *modules):
    command = [sys.executable, '-c', IMPORT_WITHOUT, ','.join(refused), *modules]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_every_module_is_imported_without_ros():
    assert len(MODULES) >= 4
    done = import_without(['rclpy', 'rosbags', 'sensor_msgs', 'robocache_ros'], *MODULES)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize('refused', ['numpy', 'robocache_sim'])
def test_the_refusal_works(refused):
    assert f'{refused} is refused' in import_without([refused], *MODULES).stderr
