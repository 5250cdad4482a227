# SPDX-License-Identifier: Apache-2.0
"""``python -m robocache_ros.tools.replay``."""

import sys

from robocache_ros.tools.replay.cli import main

sys.exit(main())
