# SPDX-License-Identifier: Apache-2.0
"""A simulated robot: a scene of known geometry, a trajectory, and the sensors that see it; imports no ROS package."""
