# SPDX-License-Identifier: Apache-2.0
"""``python -m robocache_ros.tools.faults``."""

import sys

from robocache_ros.tools.faults.cli import main

sys.exit(main())
