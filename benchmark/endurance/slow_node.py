# SPDX-License-Identifier: Apache-2.0
"""The node, whose every frame takes SLOW_COMPUTE_S longer to compute while the file SLOW_COMPUTE exists.

SLOW_COMPUTE=FILE SLOW_COMPUTE_S=0.3 python -m benchmark.endurance.slow_node
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from robocache_ros.process import Signals


def main() -> int:
    """Run the node until a signal ends it; returns the exit status."""
    signals = Signals()
    from robocache_core.pipeline import Pipeline
    from robocache_ros import node

    compute, file, slow_s = Pipeline._compute, os.environ['SLOW_COMPUTE'], float(os.environ['SLOW_COMPUTE_S'])

    def slowly(self: Pipeline, target: Any) -> Any:
        if os.path.exists(file):
            time.sleep(slow_s)
        return compute(self, target)

    Pipeline._compute = slowly  # type: ignore[method-assign]
    return node.run(signals)


if __name__ == '__main__':
    sys.exit(main())
