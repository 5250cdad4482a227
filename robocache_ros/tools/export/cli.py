# SPDX-License-Identifier: Apache-2.0
"""Writes a training set from rosbag2s: the frames that the node would give, to the bit.

    export BAG... --config preprocess.yaml --out DIR --format webdataset --format mcap

Leaves in DIR a folder for each format, and manifest.json: the bags and their SHA-256, the configuration, versions, what
became of each message and target, and the SHA-256 of all frames, which is that of the same frames live. While it is
written it is DIR.part. An export that was interrupted goes on behind the last bag that is whole, by the same command.

--html writes a report: of each bag the ledger, and ages, gaps and drops over its time.

Exit status: 0, also where targets were dropped; 1 where the set could not be completed, or where it is there and a bag
of it gave no frame or has a defect; 2 where bags, configuration or arguments cannot be used; 130 where it was
interrupted.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robocache_ros.tools import interruption
from robocache_ros.tools.entry import run_tool
from robocache_ros.tools.export.names import ENGINES, FORMATS

if TYPE_CHECKING:
    from robocache_ros.tools.export.run import Configuration

_FAILED, _UNUSABLE = 1, 2
_MOST_JOBS = 10_000
#: Counts of the manifest that are printed, and of what they are.
_LACKING = {
    'left_out': 'points in their grid of',
    'without_depth': 'valid distance in the image of',
    'without_voxels': 'voxel of',
}


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    parser = _parser()
    args = parser.parse_args(argv)
    most = 4 * len(os.sched_getaffinity(0))
    if args.engine == 'processes' and args.jobs > most:
        parser.error(f'--jobs {args.jobs}: must be from 1 to {most}, four for each core')
    logging.basicConfig(format='%(message)s')
    return run_tool('export', lambda: _run(args))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='export', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('bags', type=Path, metavar='BAG', nargs='+', help='rosbag2: a directory, .mcap or .db3')
    parser.add_argument(
        '--config', type=Path, metavar='YAML', help='parameter file; default: made from the first bag, as by replay'
    )
    parser.add_argument('--out', type=Path, metavar='DIR', required=True, help='folder of the set; must not exist')
    parser.add_argument('--format', choices=tuple(FORMATS), action='append', required=True, help='may be repeated')
    parser.add_argument(
        '--html',
        type=Path,
        metavar='FILE',
        help='write a report on the set: ages, gaps, drops, the lidar in the images',
    )
    parser.add_argument('--engine', choices=ENGINES, default=ENGINES[0], help='what computes: processes here, or Ray')
    parser.add_argument('--jobs', type=_count, default=1, metavar='N', help='processes, or tasks of Ray, at once (1)')
    return parser


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= _MOST_JOBS:
        raise argparse.ArgumentTypeError(f'{text}: must be from 1 to {_MOST_JOBS}')
    return value


def _run(args: argparse.Namespace) -> int:
    # Only now: torch and ROS take seconds to import.
    from robocache_core.text import printable
    from robocache_core.tunable import ConfigError
    from robocache_ros.bags import BagError, open_bag
    from robocache_ros.tools.export.run import export
    from robocache_ros.tools.export.writer import ExportError, UnusableError
    from robocache_ros.tools.progress import ProgressBar
    from robocache_ros.tools.writing import UnwrittenError, keep_apart, named

    interruption.raise_from_now_on()
    try:
        keep_apart([args.html] if args.html else [], args.bags, args.config)
        configuration = _configuration(args)
    except (BagError, ConfigError, OSError) as error:
        print(f'export: {printable(str(error))}', file=sys.stderr)
        return _UNUSABLE
    try:
        bar = ProgressBar(sum(open_bag(path).duration_s for path in args.bags))
        formats = list(dict.fromkeys(args.format))
        try:
            with named(args.out):
                manifest = export(
                    args.bags,
                    configuration,
                    args.out,
                    formats,
                    jobs=args.jobs,
                    html=args.html,
                    engine=args.engine,
                    progress=lambda done_s, frames: bar.show(done_s, f'{frames} frames'),
                )
        finally:
            bar.close()
    except (BagError, ConfigError, UnusableError) as error:
        print(f'export: {printable(str(error))}', file=sys.stderr)
        return _UNUSABLE
    except ExportError as error:
        print(f'export: {printable(str(error))}', file=sys.stderr)
        return _FAILED
    except (OSError, UnwrittenError) as error:
        interruption.check()  # what a signal ended may fail as it is closed
        rest = f'; {args.out}.part holds what is written: the same command goes on with it'
        is_begun = Path(f'{args.out}.part').is_dir()
        print(f'export: {printable(str(error) + rest * is_begun)}', file=sys.stderr)
        return _FAILED if is_begun or isinstance(error, UnwrittenError) else _UNUSABLE
    print(*map(printable, _outcome(manifest, args.out)), sep='\n')
    return _FAILED if any(not bag['frames'] or bag['defects'] for bag in manifest['bags']) else 0


def _configuration(args: argparse.Namespace) -> Configuration:
    from robocache_core.text import printable
    from robocache_ros import parameters
    from robocache_ros.bag_types import types_in
    from robocache_ros.bags import open_bag
    from robocache_ros.tools.config_from_bag import TYPES, config_from_bag
    from robocache_ros.tools.configuration import read_config
    from robocache_ros.tools.export.run import Configuration

    if args.config is not None:
        config, node, _ = read_config(args.config, lambda line: print(f'warning: {line}', file=sys.stderr))
        return Configuration(config, node, args.config.read_text(encoding='utf-8'))
    bag = open_bag(args.bags[0], TYPES)
    made = config_from_bag(bag, types_in(bag))
    for note in made.notes:
        print(f'note: {note}', file=sys.stderr)
    return Configuration(*parameters.from_dict(made.parameters), made.to_yaml(printable(bag.path.name)))


def _outcome(manifest: dict[str, Any], out: Path) -> list[str]:
    lines = [f'{out}: {manifest["frames"]} frames of {len(manifest["bags"])} bag(s), sha256 {manifest["sha256"]}']
    for bag in manifest['bags']:
        name = bag['name']
        dropped = ', '.join(f'{count} {reason}' for reason, count in bag['targets']['dropped'].items()) or 'none'
        lines.append(f'{name}: {bag["frames"]} of {bag["targets"]["received"]} targets, dropped: {dropped}')
        lines += [f'{name}: defect: {line}' for line in bag['defects']]
        lines += [f'{name}: warning: {line}' for line in bag['warnings']]
        for key, what in _LACKING.items():
            lines += [
                f'{name}: {n} of {bag["frames"]} frames have no {what} {stream}' for stream, n in bag[key].items()
            ]
    if 'lerobot' in manifest['formats']:
        lines.append(outcome_of_lerobot(manifest, out / 'lerobot'))
    return lines


def outcome_of_lerobot(manifest: dict[str, Any], folder: Path) -> str:
    """What of the frames is in a LeRobot set, where an episode is not a bag."""
    info = json.loads((folder / 'meta' / 'info.json').read_text(encoding='utf-8'))
    line = f'lerobot: {info["total_frames"]} of {manifest["frames"]} frames in {info["total_episodes"]} episodes'
    if info['total_frames'] < manifest['frames']:
        line += '; in the others export.lerobot.episode is 0, or not valid: a longer tolerance holds its last value'
    return line
