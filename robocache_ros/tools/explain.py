# SPDX-License-Identifier: Apache-2.0
"""Says why each target of a flight record came out as it did.

    explain FILE [--target STAMP]

FILE is what the node wrote: by its service ~/dump_record, on an ERROR of its diagnostics, or at an exception
(docs/flight_recorder.md). Of each target: whether it became a frame, what it took of each stream and how far that is
from it, what was not waited for, and, where it was dropped, what led to it.

Exit status: 0 where every target that is shown became a frame or waits; 1 where one was dropped, or the disk is full; 2
where the file or the arguments cannot be used.
"""

from __future__ import annotations

import argparse
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING

from robocache_ros.tools.entry import run_tool

if TYPE_CHECKING:
    from robocache_ros.tools.explanation import Fate

_UNUSABLE = 2


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    args = _parser().parse_args(argv)
    return run_tool('explain', lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    # Only now: torch takes seconds to import.
    from robocache_core.text import printable
    from robocache_ros.record_file import RecordError, read
    from robocache_ros.tools.explanation import Explainer, fates, summary

    try:
        record = read(args.file)
        targets = fates(record)
        shown = targets if args.target is None else [_nearest(targets, args.target)]
    except (OSError, RecordError, LookupError) as error:
        print(f'explain: {printable(str(error))}', file=sys.stderr)
        return _UNUSABLE
    explainer = Explainer(record)
    lines = [] if args.target is not None else list(summary(record, targets))
    lines += (line for fate in shown for line in explainer.explain(fate))
    print('\n'.join(map(printable, lines)))
    return int(any(fate.reason for fate in shown))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='explain', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('file', type=Path, metavar='FILE', help='flight record, .jsonl')
    parser.add_argument(
        '--target',
        type=_stamp_ns,
        metavar='STAMP',
        help='the target nearest to this stamp alone, s, as in 1700000000.1',
    )
    return parser


def _stamp_ns(text: str) -> int:
    try:
        return int(Decimal(text) * 10**9)
    except (InvalidOperation, ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f'{text!r}: must be seconds, as in 1700000000.1') from None


def _nearest(targets: list[Fate], stamp_ns: int) -> Fate:
    """Return the target nearest to a stamp.

    Raises:
        LookupError: none is within half a second.
    """
    from robocache_ros.tools.explanation import off, seconds

    if not targets:
        raise LookupError('the record has no target')
    nearest = min(targets, key=lambda fate: abs(fate.stamp_ns - stamp_ns))
    if abs(nearest.stamp_ns - stamp_ns) > 10**9 // 2:
        where = f'{seconds(nearest.stamp_ns)}, {off(nearest.stamp_ns, stamp_ns)} it'
        raise LookupError(f'no target is within half a second of {seconds(stamp_ns)}; the nearest is at {where}')
    return nearest


if __name__ == '__main__':
    sys.exit(main())
