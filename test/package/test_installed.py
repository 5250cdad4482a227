# SPDX-License-Identifier: Apache-2.0
"""What `colcon test` sees: the packages of the source tree, and the compiled module of the installation."""

import os
from pathlib import Path

import pytest

from robocache_core import backends

PREFIX = os.environ.get('ROBOCACHE_INSTALL_PREFIX')

pytestmark = pytest.mark.skipif(not PREFIX, reason='test_build.py runs this in `colcon test`')


def test_compiled_module_is_the_installed_one():
    import _robocache_core

    assert Path(_robocache_core.__file__).is_relative_to(PREFIX)


def test_compiled_backend_runs():
    assert backends.active().name == 'cpu', backends.active().reason
