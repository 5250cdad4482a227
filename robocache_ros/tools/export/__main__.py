# SPDX-License-Identifier: Apache-2.0
"""``python -m robocache_ros.tools.export``."""

import sys

from robocache_ros.tools.export.cli import main

sys.exit(main())
