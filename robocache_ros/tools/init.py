# SPDX-License-Identifier: Apache-2.0
"""Proposes a configuration of the node for the topics of a rosbag2, or of a running robot.

It runs as it is, and is a start for one's own:

    init BAG > my_robot.yaml
    init --live > my_robot.yaml

Each parameter that is set has its meaning, unit and range beside it; every other one has its default. What the data
speak for beyond that is a commented line in its section, with the reason: deskew, rectification, the box of the voxels.
What looks wrong in the bag, and which topics are left out and why, stands at the head. `inspect BAG my_robot.yaml`
says what the node would drop of the bag then, and why. With --live it takes what is published within some seconds for a
bag.

Exit status: 0; 1 where the disk is full; 2 where no topic can be used, the bag cannot be read, or no message came; 130
where it was interrupted.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from robocache_ros.tools import interruption
from robocache_ros.tools.entry import run_tool
from robocache_ros.tools.writing import named

if TYPE_CHECKING:
    from robocache_ros.tools.config_from_bag import BagConfig

_UNUSABLE = 2


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    args = _parser().parse_args(argv)
    return run_tool('init', lambda: _run(args))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='init', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument('bag', type=Path, metavar='BAG', nargs='?', help='rosbag2: a directory, .mcap or .db3')
    source.add_argument('--live', action='store_true', help='listen to what is published now')
    parser.add_argument('--seconds', type=_duration, default=5.0, metavar='S', help='how long, with --live, s (5)')
    parser.add_argument('--grid', action='store_true', help='one voxel grid of all lidars and depth cameras')
    return parser


def _duration(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and 1 <= value <= 3600):
        raise argparse.ArgumentTypeError(f'{text}: must be from 1 to 3600 s')
    return value


def _run(args: argparse.Namespace) -> int:
    # Only now: torch and ROS take seconds to import.
    from robocache_core.text import printable
    from robocache_ros.bag_types import types_in
    from robocache_ros.bags import BagError, open_bag
    from robocache_ros.tools.config_from_bag import TYPES, config_from_bag

    try:
        if args.live:
            made, source = _of_running_system(args.seconds, grid=args.grid)
        else:
            bag = open_bag(args.bag, TYPES)
            made, source = config_from_bag(bag, types_in(bag), grid=args.grid), printable(bag.path.name)
    except (BagError, OSError) as error:
        print(f'init: {printable(str(error))}', file=sys.stderr)
        return _UNUSABLE
    print(made.to_yaml(source), end='')
    return 0


def _of_running_system(seconds: float, *, grid: bool) -> tuple[BagConfig, str]:
    """The configuration for what is published now, and its source."""
    from robocache_ros.bags import BagError
    from robocache_ros.tools import listening
    from robocache_ros.tools.config_from_bag import CAMERA_INFO, CANDIDATES, NoStreamError, config_from_bag

    interruption.raise_from_now_on()
    print(f'init: listening for {seconds:g} s', file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix='robocache-init-') as folder, named(folder):
        bag = listening.listen(Path(folder, 'bag'), (*CANDIDATES, CAMERA_INFO), seconds, interruption.check)
        try:
            made = config_from_bag(bag, grid=grid)
        except NoStreamError as error:
            raise BagError(
                f'no topic that the node can use was heard within {seconds:g} s; the running system has: '
                f'{error.found}; give it longer with --seconds'
            ) from error
    return made, f'what was published within {seconds:g} s'


if __name__ == '__main__':
    sys.exit(main())
