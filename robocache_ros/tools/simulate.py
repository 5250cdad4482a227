# SPDX-License-Identifier: Apache-2.0
"""The command ``simulate``: writes a rosbag2 of a simulated robot (``simulation.py``)."""

from __future__ import annotations

import sys

from robocache_ros.tools import interruption
from robocache_ros.tools.entry import run_tool


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_tool('simulate', lambda: _run(argv))


def _run(argv: list[str] | None) -> int:
    from robocache_ros.tools.simulation import run  # only now: it imports for seconds

    interruption.raise_from_now_on()
    return run(argv)


if __name__ == '__main__':
    sys.exit(main())
