# SPDX-License-Identifier: Apache-2.0
"""Sensor mathematics of RoboCache: torch tensors in, torch tensors out; imports no ROS package."""

__version__ = '0.1.0'
