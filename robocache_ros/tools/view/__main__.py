# SPDX-License-Identifier: Apache-2.0
"""``python -m robocache_ros.tools.view``."""

import sys

from robocache_ros.tools.view.cli import main

sys.exit(main())
