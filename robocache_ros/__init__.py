# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 node around ``robocache_core``, and the tools that ship with it."""

__version__ = '0.1.0'
