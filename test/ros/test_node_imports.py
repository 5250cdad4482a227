# SPDX-License-Identifier: Apache-2.0
"""The node runs without what only the tools and the reader of bags need."""

import pytest
from support.isolation import import_without

#: What a robot starts, and what its consumers of frames import.
MODULES = ['robocache_ros.process', 'robocache_ros.node', 'robocache_ros.subscriber']


@pytest.mark.parametrize('package', ['rosbags', 'matplotlib'])
def test_the_node_does_not_import_it(package):
    done = import_without([package], *MODULES)
    assert done.returncode == 0, done.stderr
