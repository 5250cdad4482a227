# SPDX-License-Identifier: Apache-2.0
"""One replay, from the bag to the report."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import rclpy
from rclpy.signals import SignalHandlerOptions

from robocache_core import payload
from robocache_core.frame import FusedFrame
from robocache_core.tunable import ConfigError
from robocache_ros import parameters
from robocache_ros.bags import Bag, BagError, open_bag
from robocache_ros.tools import overlays
from robocache_ros.tools.config_from_bag import TYPES, config_from_bag
from robocache_ros.tools.configuration import Given, absent_topics, expected_types, read_config
from robocache_ros.tools.replay import report
from robocache_ros.tools.replay.collector import Collector
from robocache_ros.tools.replay.grid_sources import sources_apart
from robocache_ros.tools.replay.matching import MatchError
from robocache_ros.tools.replay.node_process import NodeError, NodeProcess
from robocache_ros.tools.replay.outcome import Recording, series, summarize
from robocache_ros.tools.replay.player import Player
from robocache_ros.tools.replay.session import Session
from robocache_ros.tools.replay.table import format_summary
from robocache_ros.tools.replay.verdict import notes, problems, warnings
from robocache_ros.tools.writing import named, write

#: Files that a replay leaves in its folder, beside the pictures of ``overlays``.
_LEFT = (
    'report.html', 'summary.json', 'preprocess.yaml', 'frame.safetensors', 'sources.safetensors', 'series.json',
    'overlays.json', 'node.log',
)  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Replay with the arguments of the command; returns the exit status."""
    try:
        with named(args.out):
            return _replay(args)
    except (BagError, ConfigError, MatchError, OSError) as error:
        print(f'replay: {error}', file=sys.stderr)
        return 2
    except NodeError as error:
        print(f'replay: {error}', file=sys.stderr)
        return 1


def _replay(args: argparse.Namespace) -> int:
    bag = open_bag(args.bag, TYPES)
    given = _configure(bag, args.config, args.grid)
    config = given.pipeline
    types = expected_types(config)
    absent = absent_topics(bag, types)
    for topic in absent:
        print(f'warning: the bag has no messages on {topic}, a topic of the configuration')
    _begin(args.out, given.content)
    print(f'{bag.path}: {bag.duration_s:.1f} s, {bag.count} messages; ROS_DOMAIN_ID={os.environ["ROS_DOMAIN_ID"]}')

    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = rclpy.create_node('replay')
        player, collector = Player(node, bag, set(types), args.rate), Collector(node)
        child = NodeProcess(node, args.out / 'preprocess.yaml', args.out / 'node.log')
        session = Session(node, player, collector, child)
        ended_ns, exit_code = session.run(
            bag, types.keys() - absent, laps=args.loop, diagnostics_s=3 * given.node.diagnostics_period_ns / 1e9
        )
    finally:
        rclpy.shutdown()

    settings = {'rate': args.rate, 'loop': args.loop, 'config': str(args.config or ''), 'command': sys.argv[1:]}
    recording = Recording(
        bag, config, player.sent, player.late_ns, player.skipped, player.unsent, player.unread,
        collector.frames, collector.missed, collector.diagnostics, ended_ns, settings,
    )  # fmt: skip
    summary = summarize(recording)
    failures = problems(summary)
    if exit_code != 0:
        failures.append(f'the node ended with exit code {exit_code}; the end of its log:\n{child.log_tail()}')
    _write(args.out, summary, series(recording), collector.sample, sources_apart(bag.path, config))
    overlays.save(overlays.overlays_of_bag(bag, config), args.out)
    report.write_report(args.out)
    _print_outcome(summary, args.out / 'report.html', failures)
    return 1 if failures else 0


def _configure(bag: Bag, given: Path | None, grid: bool) -> Given:
    """The configuration that is ``given``, or made from the bag."""
    if given is not None:
        return read_config(given, lambda line: print(f'warning: {line}'))
    made = config_from_bag(bag, grid=grid)
    for note in made.notes:
        print(f'note: {note}')
    return Given(*parameters.from_dict(made.parameters), made.to_yaml(bag.path.name).encode())


def _begin(out: Path, parameter_file: bytes) -> None:
    """Make the folder, remove what an earlier replay left there, and write the parameter file.

    Raises:
        FileExistsError: a folder there has the name of a file that the replay writes; nothing is removed.
    """
    out.mkdir(parents=True, exist_ok=True)
    left = [out / name for name in _LEFT] + overlays.pictures(out)
    for path in left:
        if path.is_dir():
            raise FileExistsError(f'{path} is a folder: the replay writes a file of this name, choose another --out')
    for path in left:
        path.unlink(missing_ok=True)
    write(out / 'preprocess.yaml', parameter_file)


def _write(
    out: Path,
    summary: dict[str, Any],
    over_time: dict[str, Any],
    sample: FusedFrame | None,
    apart: FusedFrame | None,
) -> None:
    """Write the outcome of the replay, one frame, and one of its sources apart."""
    write(out / 'summary.json', json.dumps(summary, indent=2) + '\n')
    write(out / 'series.json', json.dumps(over_time))
    for name, frame in (('frame', sample), ('sources', apart)):
        if frame is not None:
            write(out / f'{name}.safetensors', payload.encode(frame))


def _print_outcome(summary: dict[str, Any], page: Path, failures: list[str]) -> None:
    print(f'\n{format_summary(summary)}\n')
    for line in notes(summary):
        print(f'note: {line}')
    for line in warnings(summary):
        print(f'warning: {line}')
    print(f'report: {page}')
    for line in failures:
        print(f'replay: {line}', file=sys.stderr)
