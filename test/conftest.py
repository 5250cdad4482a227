# SPDX-License-Identifier: Apache-2.0
"""Settings that every test needs before ROS starts, and the examples of property tests."""

import os

from hypothesis import settings

# The same examples in every run of one commit; --hypothesis-profile=random tries others.
settings.register_profile('random', settings.get_profile('default'))
settings.register_profile('repeatable', derandomize=True)
settings.load_profile('repeatable')

# Traffic stays on this host, and away from whatever else runs here.
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
# Processes of pytest-xdist, gw0 and on, each have a domain of their own.
if worker := os.environ.get('PYTEST_XDIST_WORKER', '').removeprefix('gw'):
    os.environ['ROS_DOMAIN_ID'] = str(1 + (int(os.environ['ROS_DOMAIN_ID']) + 20 * int(worker)) % 100)
