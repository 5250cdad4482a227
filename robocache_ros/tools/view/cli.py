# SPDX-License-Identifier: Apache-2.0
"""Shows fused frames in Rerun: of a bag, or of a node that runs.

    view BAG [CONFIG.yaml] [--save FILE.rrd | --connect]
    view --live [--node /preprocess] [--save FILE.rrd | --connect]

On the time line of stamps: voxels, images and depth images, framed in green, or crossed out in red where they are not
valid, with their age; ages and vectors as curves; points and messages dropped, by reason; why no frame comes. Of a bag
also the points of the lidars, in space and in the images whose calibration and pose are known.

It opens a viewer on this host, which nothing else can reach and which sends no usage statistics; --connect takes one
that runs here, --save writes a file that `rerun FILE.rrd` opens. --live ends with Ctrl-C.

Exit status: 0; 1 where no viewer opens, the disk is full or no frame came; 2 where bag, configuration, node, FILE
or arguments cannot be used, or Rerun is not installed; 130 where it was interrupted.
"""

from __future__ import annotations

import argparse
import logging
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from robocache_ros.tools import interruption
from robocache_ros.tools.entry import run_tool

if TYPE_CHECKING:
    from robocache_core.config import PipelineConfig

_FAILED, _UNUSABLE = 1, 2
_PORT = 9876


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.live == (args.bag is not None):
        parser.error('needs either BAG or --live')
    logging.basicConfig(format='%(message)s')
    return run_tool('view', lambda: _run(args))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='view', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('bag', type=Path, metavar='BAG', nargs='?', help='rosbag2: a directory, .mcap or .db3')
    parser.add_argument(
        'config', type=Path, metavar='CONFIG', nargs='?', help='parameter file; default: made from the bag'
    )
    parser.add_argument('--live', action='store_true', help='show the frames of a node that runs')
    parser.add_argument('--node', default='/preprocess', metavar='NAME', help='full name of that node (%(default)s)')
    parser.add_argument('--colour', choices=('height', 'count'), default='height', help='of voxels (%(default)s)')
    where = parser.add_mutually_exclusive_group()
    where.add_argument('--save', type=Path, metavar='FILE', help='write a recording, open no viewer')
    where.add_argument('--connect', action='store_true', help='use the viewer that runs on this host')
    parser.add_argument('--port', type=_port, default=_PORT, metavar='N', help='of the viewer (%(default)s)')
    return parser


def _port(text: str) -> int:
    value = int(text)
    if not 0 < value < 1 << 16:
        raise argparse.ArgumentTypeError(f'{text}: must be from 1 to {(1 << 16) - 1}')
    return value


def _run(args: argparse.Namespace) -> int:
    # Only now: torch and ROS take seconds to import.
    from robocache_core.text import printable
    from robocache_core.tunable import ConfigError
    from robocache_ros.bags import BagError
    from robocache_ros.tools.view.recording import ViewerError, recording
    from robocache_ros.tools.view.scene import Scene
    from robocache_ros.tools.writing import keep_apart

    interruption.raise_from_now_on()
    try:
        keep_apart([args.save] if args.save else [], [args.bag] if args.bag else [], args.config)
        if args.live:
            from robocache_ros.tools.view.live import show
        else:
            from robocache_ros.tools.view.bag import show
        with ExitStack() as opened:

            def open_scene(config: PipelineConfig) -> Scene:  # once it is known what to show
                stream = opened.enter_context(recording(args.save, args.port, spawn=not args.connect))
                return Scene(stream, config, args.colour)

            num_frames = show(args, open_scene)
    except ViewerError as error:
        print(f'view: {printable(str(error))}', file=sys.stderr)
        return _FAILED
    except (BagError, ConfigError, OSError) as error:
        print(f'view: {printable(str(error))}', file=sys.stderr)
        return _UNUSABLE
    where = f'; rerun {args.save} shows them' if args.save else ''
    print(printable(f'{num_frames} frames{where}'))
    return 0 if num_frames else _FAILED
