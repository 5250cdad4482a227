# SPDX-License-Identifier: Apache-2.0
"""Write a rosbag2 with faults from one without, or put faults between topics: what robots do.

    faults BAG OUT --fault drop:topic=/imu/data,share=0.2 --fault tai:topic=/camera/*,from=2,until=4
    faults --live /imu/data:=/imu/faulty --fault stall:from=10,until=12

Each --fault is a kind and its arguments; --list shows all of them. Faults are applied in the order in which they are
given. A fault changes the topics that ``topic`` names, else all that it can; times are seconds of the recording from
its first message. Messages that no fault meets are copied byte for byte.

OUT is an mcap. In its folder is faults.jsonl too, with a line for each message that a fault changed:

    kind       of the fault
    topic, number, lap    the message: on its topic in BAG, from 0, and how often BAG had been through before it
    stamp_ns   of its header, before the fault; null where it has none
    record_ns  when it was recorded
    added      messages that there are more for it: -1 where it is gone, 0 where it was changed
    detail     what was done

The same seed and arguments give the same bag.

With --live, messages of a topic are published on another one, with faults, until the process is interrupted; times
count from the first message. The list is in the file that --log names.

Exit status: 0; 1 where the disk is full; 2 where the bag, the arguments or a file cannot be used, as where OUT exists;
130 where it was interrupted.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from robocache_core.tunable import ConfigError
from robocache_ros.bags import Bag, BagError, open_bag
from robocache_ros.tools.faults.bag import LIST, num_laps, write_faulty
from robocache_ros.tools.faults.fault import Fault
from robocache_ros.tools.faults.kinds import KINDS, fault_of, listing
from robocache_ros.tools.faults.transport import Loop
from robocache_ros.tools.progress import ProgressBar
from robocache_ros.tools.writing import named

_UNUSABLE = 2


def run(argv: list[str] | None) -> int:
    """Run the command line; returns the exit status."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.list:
        print(listing())
        return 0
    if not args.fault or (args.out is None) == (not args.live):
        parser.error(f'needs --fault, a kind of {", ".join(KINDS)}, and either BAG and OUT or --live')
    try:
        return _run_live(args) if args.live else _write_bag(args)
    except (BagError, ConfigError, OSError) as error:
        print(f'faults: {error}', file=sys.stderr)
        return _UNUSABLE


def _run_live(args: argparse.Namespace) -> int:
    from robocache_ros.tools.faults import live  # only now: ROS takes a second to import, and a bag needs none

    faults = [(kind, fault) for kind, fault in args.fault if isinstance(fault, Fault)]
    if len(faults) < len(args.fault):
        raise ConfigError('loop: needs a recording, not --live')
    joined = dict(args.live)
    live.check_topics(joined)
    with named(args.log), args.log.open('w') as log:
        live.run(joined, faults, args.seed, log)
    return 0


def _write_bag(args: argparse.Namespace) -> int:
    began = time.monotonic()
    bag = open_bag(args.bag)
    _warn(bag, args.fault)
    bar = ProgressBar(bag.duration_s * num_laps(args.fault))
    with named(args.out):
        counts = write_faulty(
            bag,
            args.out,
            args.fault,
            seed=args.seed,
            overwrite=args.overwrite,
            progress=lambda done_s: bar.show(done_s, args.out.name),
        )
    bar.close()
    listed = ', '.join(f'{counts[kind]} {kind}' for kind in dict.fromkeys(kind for kind, _ in args.fault))
    print(f'{args.out}: messages changed: {listed} ({LIST}), made in {time.monotonic() - began:.1f} s')
    return 0


def _warn(bag: Bag, faults: list[tuple[str, Fault | Loop]]) -> None:
    """Say what of the bag is not copied, and which faults meet nothing."""
    for defect in bag.defects:
        print(f'warning: {bag.path}: {defect}', file=sys.stderr)
    for topic in bag.topics.values():
        if topic.unreadable or topic.doubt:
            print(f'warning: {topic.name}: {topic.unreadable or topic.doubt}', file=sys.stderr)
    for kind, fault in faults:
        if isinstance(fault, Fault) and not any(map(fault.reaches, bag.topics.values())):
            named = f'topic={fault.topic}' if fault.topic else 'any topic'
            print(f'warning: {kind}: the bag has no messages on {named} that it can change', file=sys.stderr)


def _fault(text: str) -> tuple[str, Fault | Loop]:
    """A fault with the name of its kind."""
    try:
        return text.partition(':')[0], fault_of(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _joined(text: str) -> tuple[str, str]:
    """A topic, and the one on which its messages are published."""
    source, separator, target = text.partition(':=')
    if not (source and separator and target) or source == target:
        raise argparse.ArgumentTypeError(f'{text}: must be two topics, as /imu/data:=/imu/faulty')
    return source, target


def _seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < 1 << 63:
        raise argparse.ArgumentTypeError(f'{text}: must be from 0 to 2^63 - 1')
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='faults', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('bag', metavar='BAG', type=Path, nargs='?', help='rosbag2: a directory, .mcap or .db3')
    parser.add_argument('out', metavar='OUT', type=Path, nargs='?', help='folder of the bag that is written')
    parser.add_argument(
        '--fault', metavar='KIND[:ARGS]', type=_fault, action='append', default=[],
        help='a fault, as drop:topic=/imu/data,share=0.2; may be repeated',
    )  # fmt: skip
    parser.add_argument(
        '--live', metavar='IN:=OUT', type=_joined, action='append', default=[],
        help='publish messages of topic IN on topic OUT; may be repeated',
    )  # fmt: skip
    parser.add_argument(
        '--log', metavar='FILE', type=Path, default=Path(LIST), help='where --live lists what it changed (%(default)s)'
    )
    parser.add_argument('--seed', type=_seed, default=0, help='of all that is random (0)')
    parser.add_argument('--overwrite', action='store_true', help='replace OUT where it is a bag')
    parser.add_argument('--list', action='store_true', help='show the kinds of faults with their arguments')
    return parser
