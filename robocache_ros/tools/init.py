# SPDX-License-Identifier: Apache-2.0
"""Proposes a configuration of the node for the topics of a rosbag2: it runs as it is, and is a start for one's own.

    init BAG > my_robot.yaml

Each parameter that is set has its meaning, unit and range beside it; every other one has its default. What looks wrong
in the bag, and which topics are left out and why, stands at the head. `inspect BAG my_robot.yaml` says what the node
would drop of the bag then, and why.

Exit status: 0; 2 where no topic of the bag can be used, or it cannot be read.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from robocache_ros.tools import interruption


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog='init', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('bag', type=Path, metavar='BAG', help='rosbag2: a directory, .mcap or .db3')
    args = parser.parse_args(argv)
    interruption.end_at_once('init')
    # Only now: torch takes seconds to import.
    from robocache_core.text import printable
    from robocache_ros.bag_types import types_in
    from robocache_ros.bags import BagError, open_bag
    from robocache_ros.tools.config_from_bag import TYPES, config_from_bag

    try:
        bag = open_bag(args.bag, TYPES)
        made = config_from_bag(bag, types_in(bag))
    except BagError as error:
        print(f'init: {error}', file=sys.stderr)
        return 2
    print(made.to_yaml(printable(bag.path.name)), end='')
    return 0


if __name__ == '__main__':
    sys.exit(main())
