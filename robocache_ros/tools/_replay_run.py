# SPDX-License-Identifier: Apache-2.0
"""One replay, from the bag to the report."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rclpy
import yaml
from rclpy.signals import SignalHandlerOptions

from robocache_core import payload
from robocache_core.config import PipelineConfig
from robocache_core.tunable import ConfigError
from robocache_ros import parameters
from robocache_ros.tools import report
from robocache_ros.tools._bag import Bag, BagError, open_bag
from robocache_ros.tools._collector import Collector
from robocache_ros.tools._config_from_bag import config_from_bag
from robocache_ros.tools._matching import MatchError, absent_topics, expected_types, topic_of, wait_matched
from robocache_ros.tools._node_process import NodeError, NodeProcess
from robocache_ros.tools._outcome import notes, problems, summarize, warnings
from robocache_ros.tools._player import Player
from robocache_ros.tools._progress import ProgressBar
from robocache_ros.tools._spinner import Spinner
from robocache_ros.tools._table import format_summary

_START_TIMEOUT_S = 60.0
_MATCH_TIMEOUT_S = 10.0
#: After the last message: how long no frame may come until none is expected any more. Longer than the node waits for
#: a late stream before it gives up.
_QUIET_S = 2.0


def run(args: argparse.Namespace) -> int:
    """Replay as the arguments of the command say; returns the exit status."""
    try:
        return _replay(args)
    except (BagError, ConfigError, MatchError, OSError) as error:
        print(f'replay: {error}', file=sys.stderr)
        return 2
    except NodeError as error:
        print(f'replay: {error}', file=sys.stderr)
        return 1


def _replay(args: argparse.Namespace) -> int:
    bag = open_bag(args.bag)
    args.out.mkdir(parents=True, exist_ok=True)
    params_file = args.out / 'preprocess.yaml'
    pipeline, node_config = _configure(bag, args.config, params_file)
    types = expected_types(pipeline)
    absent = absent_topics(bag, types)
    for topic in absent:
        print(f'warning: the bag has no messages on {topic}, which the configuration asks for')
    print(f'{bag.path}: {bag.duration_s:.1f} s, {bag.count} messages; ROS_DOMAIN_ID={os.environ["ROS_DOMAIN_ID"]}')

    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = rclpy.create_node('replay')
        player = Player(node, bag, set(types), args.rate)
        collector = Collector(node)
        child = NodeProcess(node, params_file, args.out / 'node.log')
        with Spinner(node) as spinner, child:

            def check() -> None:
                spinner.check()
                child.check()

            child.wait_active(_START_TIMEOUT_S)
            player.publish_clock(bag.start_ns)
            wait_matched(node, {t: player.publishers[t] for t in types if t not in absent}, _MATCH_TIMEOUT_S, check)
            _wait_heard(collector, _MATCH_TIMEOUT_S, check)
            _play(player, collector, bag, args.loop, args.rate, check)
            ended_ns = time.monotonic_ns()
            _drain(player, collector, 3 * node_config.diagnostics_period_ns / 1e9, check)
            exit_code = child.shut_down()
            spinner.check()
    finally:
        rclpy.shutdown()

    summary, series = summarize(
        bag,
        player,
        collector,
        topics={stream.name: topic_of(stream.name, stream.topic) for stream in pipeline.streams()},
        trigger=pipeline.trigger,
        fixed_rate_hz=pipeline.sync.rate_hz,
        ended_ns=ended_ns,
        settings={'rate': args.rate, 'loop': args.loop, 'config': str(args.config or ''), 'command': sys.argv[1:]},
    )
    failures = problems(summary)
    if exit_code != 0:
        failures.append(f'the node ended with exit code {exit_code}; the end of its log:\n{child.log_tail()}')
    _write(args.out, summary, series, collector)
    print(f'\n{format_summary(summary)}\n')
    for line in notes(summary):
        print(f'note: {line}')
    for line in warnings(summary):
        print(f'warning: {line}')
    print(f'report: {args.out / "report.html"}')
    for line in failures:
        print(f'replay: {line}', file=sys.stderr)
    return 1 if failures else 0


def _configure(bag: Bag, given: Path | None, params_file: Path) -> tuple[PipelineConfig, parameters.NodeConfig]:
    """Put the parameter file in its place, given or made, and read it."""
    if given is None:
        made = config_from_bag(bag)
        for note in made.notes:
            print(f'note: {note}')
        text = made.to_yaml(bag.path.name)
    else:
        text = given.read_text(encoding='utf-8')
    params_file.write_text(text, encoding='utf-8')
    try:
        return parameters.from_file(params_file, warn=lambda line: print(f'warning: {line}'))
    except (ConfigError, yaml.YAMLError) as error:
        raise ConfigError(f'{given or params_file}: {" ".join(str(error).split())}') from error


def _wait_heard(collector: Collector, timeout_s: float, check: Callable[[], None]) -> None:
    """Wait until the node itself says that ~/fused has a subscriber: then no first frame is lost."""
    deadline = time.monotonic() + timeout_s
    while not any(d.num_subscribers for d in collector.diagnostics):
        check()
        if time.monotonic() > deadline:
            what = 'sees no subscriber of /preprocess/fused' if collector.diagnostics else 'sends no /diagnostics'
            raise MatchError(f'after {timeout_s:.0f} s the node {what}')
        time.sleep(0.02)


def _play(player: Player, collector: Collector, bag: Bag, laps: int, rate: float, check: Callable[[], None]) -> None:
    progress = ProgressBar(bag.duration_s * laps)
    for lap in range(laps):

        def show(done_s: float, before_s: float = lap * bag.duration_s) -> None:
            check()
            progress.show(before_s + min(done_s, bag.duration_s), f'{len(collector.frames)} frames')

        player.play(show)
    progress.show(bag.duration_s * laps, f'{len(collector.frames)} frames')
    progress.close()


def _drain(player: Player, collector: Collector, diagnostics_s: float, check: Callable[[], None]) -> None:
    """Wait until no frame comes any more, and for the diagnostics that count them all."""
    count, since = -1, time.monotonic()
    while time.monotonic() - since < _QUIET_S:
        player.idle(0.05)
        check()
        if len(collector.frames) != count:
            count, since = len(collector.frames), time.monotonic()
    quiet_ns, deadline = time.monotonic_ns(), time.monotonic() + diagnostics_s
    while time.monotonic() < deadline:
        player.idle(0.05)
        check()
        if collector.diagnostics and collector.diagnostics[-1].received_ns > quiet_ns:
            return


def _write(out: Path, summary: dict[str, Any], series: dict[str, Any], collector: Collector) -> None:
    """Leave the files that the report is made of, and the report."""
    (out / 'summary.json').write_text(json.dumps(summary, indent=2) + '\n', encoding='utf-8')
    (out / 'series.json').write_text(json.dumps(series), encoding='utf-8')
    sample = out / 'frame.safetensors'
    if collector.sample is not None:
        sample.write_bytes(payload.encode(collector.sample))
    else:
        sample.unlink(missing_ok=True)
    report.write_report(out)
