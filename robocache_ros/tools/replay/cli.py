# SPDX-License-Identifier: Apache-2.0
"""Plays a rosbag2 through the node over DDS, and reports what came out.

    replay BAG [--config preprocess.yaml] [--out DIR]

Starts the node as a child process, plays the bag to it from this one with /clock, and leaves in DIR:

    report.html          plots, the voxels from above, the camera images and the IMU window of a frame, and the points
                         of the lidars in the images of one
    summary.json         the key figures
    preprocess.yaml      the configuration that was used; without --config it is made from the bag: a start for your own
    frame.safetensors    one fused frame, as it came over the topic
    sources.safetensors  of grids: one frame, computed from the bag, with every source in voxels of its own
    series.json          every frame's times, for the report
    overlays.json        how many points of the lidars are in the images, of a frame from the middle of the bag, or
                         what is missing to find them; overlay_*.jpg: the images
    node.log             the node's log

Where more than 5 % of the targets became no frame, or did not wait for a stream, warnings at the end say how many, by
reason, and what the node said of it.

What an earlier replay left of these in DIR is removed as the bag begins to play.

Exit status: 0; 1 when no frame came, the ledger does not add up, the node failed, or the disk is full; 2 when it could
not be played.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from robocache_ros import dds_environment
from robocache_ros.tools import interruption
from robocache_ros.tools.entry import run_tool

#: The ports of greater domains would be no ports of UDP.
_MAX_DOMAIN = 232


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    args = _parser().parse_args(arguments)
    return run_tool('replay', lambda: _run(arguments, args))


def _run(arguments: list[str], args: argparse.Namespace) -> int:
    try:
        _enter_environment(arguments, args.domain)
        # Only now: torch and ROS take seconds to import, and the line before starts the program a second time.
        from robocache_ros.tools.replay.run import run

        interruption.raise_from_now_on()
        return run(args)
    except FileNotFoundError as error:  # the installation is incomplete: its DDS profile is missing
        print(f'replay: {error}', file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='replay', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('bag', type=Path, metavar='BAG', help='rosbag2: a directory, .mcap or .db3')
    parser.add_argument('--config', type=Path, metavar='YAML', help='parameter file; default: made from the bag')
    parser.add_argument(
        '--grid', action='store_true', help='one voxel grid of all lidars and depth cameras, where there is no --config'
    )
    parser.add_argument('--rate', type=_positive, default=1.0, help='speed, 1 is real time')
    parser.add_argument('--loop', type=_count, default=1, metavar='N', help='play the bag N times: stamps jump back')
    parser.add_argument('--out', type=Path, default=Path('build/replay'), metavar='DIR', help='default: %(default)s')
    parser.add_argument('--domain', type=_domain, metavar='ID', help='ROS domain; default: one of its own')
    return parser


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float('inf'):
        raise argparse.ArgumentTypeError(f'{text}: must be a number above 0')
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'{text}: must be at least 1')
    return value


def _domain(text: str) -> int:
    value = int(text)
    if not 0 <= value <= _MAX_DOMAIN:
        raise argparse.ArgumentTypeError(f'{text}: must be within 0 to {_MAX_DOMAIN}')
    return value


def _enter_environment(arguments: list[str], domain: int | None) -> None:
    """Replace this process, once, by one with the environment in which large messages travel fast.

    The allocator reads its thresholds when a process starts, so setting them here would be too late. A domain of its
    own and localhost keep other nodes out.
    """
    wanted = {
        'ROS_DOMAIN_ID': str(1 + os.getpid() % 100 if domain is None else domain),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
        **dds_environment.environment_here(os.environ),
    }
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        command = [sys.executable, '-m', 'robocache_ros.tools.replay', *arguments]
        os.execve(sys.executable, command, {**os.environ, **wanted})
