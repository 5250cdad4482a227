# SPDX-License-Identifier: Apache-2.0
"""Says what is in a rosbag2, what is wrong with it, and what the node would drop of it, without a network.

    inspect BAG [CONFIG.yaml] [--json FILE] [--html FILE]

Of each topic: type, count, rate, jitter, gaps, order of the stamps, delay of the record times and drift. Of sensors:
layouts and their changes, times of points, frames and /tf_static, units of an IMU, calibration of cameras. The bag also
passes through the pipeline of the node, as CONFIG or a configuration made from the bag sets it up: the ledger says what
would become of each message. Every finding has its number and a remedy.

Exit status: 0 where nothing was found that loses data or makes it wrong; 1 where something was, or the
disk is full; 2 where the bag, the configuration or the arguments cannot be used.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from robocache_ros.tools import interruption
from robocache_ros.tools.entry import run_tool
from robocache_ros.tools.writing import keep_apart, named, write

_UNUSABLE = 2


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    args = _parser().parse_args(argv)
    # The report has the warnings; an unforeseen exception has its traceback in the log alone.
    logging.basicConfig(level=logging.ERROR, format='%(message)s')
    return run_tool('inspect', lambda: _run(args))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='inspect', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('bag', type=Path, metavar='BAG', help='rosbag2: a directory, .mcap or .db3')
    parser.add_argument(
        'config', type=Path, metavar='CONFIG', nargs='?', help='parameter file; default: made from the bag'
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the report as JSON (docs/inspect.md)')
    parser.add_argument('--html', type=Path, metavar='FILE', help='write the report as a page of one file')
    return parser


def _run(args: argparse.Namespace) -> int:
    # Only now: torch takes seconds to import.
    from robocache_core.text import printable
    from robocache_core.tunable import ConfigError
    from robocache_ros.bags import BagError
    from robocache_ros.tools.inspect.inspection import inspect
    from robocache_ros.tools.inspect.text import format_report
    from robocache_ros.tools.progress import ProgressBar

    if args.html:
        from robocache_ros.tools.inspect.page import render  # matplotlib is for pages alone
    interruption.raise_from_now_on()
    bar: ProgressBar | None = None

    def show(done_s: float, duration_s: float) -> None:
        nonlocal bar
        bar = bar or ProgressBar(duration_s)
        bar.show(done_s, '')

    try:
        files = list(filter(None, (args.json, args.html)))
        keep_apart(files, [args.bag], args.config)
        for file in files:
            with named(file):
                file.parent.mkdir(parents=True, exist_ok=True)  # before the bag is read: a mistake shows at once
        try:
            report = inspect(args.bag, args.config, show)
        finally:
            if bar is not None:
                bar.close()
        print(format_report(report))
        if args.json:
            write(args.json, json.dumps(report, indent=2) + '\n')
        if args.html:
            write(args.html, render(report))
    except (BagError, ConfigError, OSError) as error:
        print(f'inspect: {printable(str(error))}', file=sys.stderr)
        return _UNUSABLE
    return int(report['verdict']['exit_status'])
