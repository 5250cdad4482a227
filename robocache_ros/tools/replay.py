# SPDX-License-Identifier: Apache-2.0
"""Plays a rosbag2 through the real node over DDS, and reports what came out.

    replay BAG [--config preprocess.yaml] [--out DIR]

Starts the node as a child process, plays the bag to it from this one with /clock, and leaves in DIR:

    report.html          plots, the voxels from above, the camera images and the IMU window of a frame
    summary.json         the key figures
    preprocess.yaml      the configuration that was used; without --config made from the bag: start your own from it
    frame.safetensors    one fused frame, as it came over the topic
    series.json          every frame's times, for the report
    node.log             what the node said

Exit status: 0; 1 when no frame came, the ledger does not add up, or the node failed; 2 when it could not be played.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rclpy
import yaml
from rclpy.signals import SignalHandlerOptions

from robocache_core import payload
from robocache_core.config import ConfigError, PipelineConfig
from robocache_ros import params, transport
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


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    args = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        _enter_environment(arguments, args.domain)
        return _replay(args)
    except (BagError, ConfigError, MatchError, OSError) as error:
        print(f'replay: {error}', file=sys.stderr)
        return 2
    except NodeError as error:
        print(f'replay: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('replay: interrupted', file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='replay', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('bag', type=Path, metavar='BAG', help='rosbag2: a directory, .mcap or .db3')
    parser.add_argument('--config', type=Path, metavar='YAML', help='parameter file; else one is made from the bag')
    parser.add_argument('--rate', type=_positive, default=1.0, help='speed, 1 is real time')
    parser.add_argument('--loop', type=_count, default=1, metavar='N', help='play the bag N times: stamps jump back')
    parser.add_argument('--out', type=Path, default=Path('build/replay'), metavar='DIR', help='default: %(default)s')
    parser.add_argument('--domain', type=int, metavar='ID', help='ROS domain; default: one of its own')
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


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def _enter_environment(arguments: list[str], domain: int | None) -> None:
    """Start this program anew, once, in the environment in which large messages travel fast.

    The allocator reads its thresholds when a process starts, so setting them here would be too late. A domain of its
    own and localhost keep other nodes out.
    """
    wanted = {
        'ROS_DOMAIN_ID': str(1 + os.getpid() % 100 if domain is None else domain),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
        **transport.environment(transport.distro(os.environ), transport.share_directory(), os.environ),
    }
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        command = [sys.executable, '-m', 'robocache_ros.tools.replay', *arguments]
        os.execve(sys.executable, command, {**os.environ, **wanted})


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


def _configure(bag: Bag, given: Path | None, params_file: Path) -> tuple[PipelineConfig, params.NodeConfig]:
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
        return params.from_file(params_file, warn=lambda line: print(f'warning: {line}'))
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


if __name__ == '__main__':
    sys.exit(main())
