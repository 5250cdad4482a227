# SPDX-License-Identifier: Apache-2.0
"""``python -m robocache_ros.tools.inspect``."""

import sys

from robocache_ros.tools.inspect.cli import main

sys.exit(main())
