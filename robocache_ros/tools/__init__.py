# SPDX-License-Identifier: Apache-2.0
"""Console scripts, one file each; ``ros2 run robocache_ros <tool>`` finds them."""
