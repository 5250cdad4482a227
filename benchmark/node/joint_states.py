# SPDX-License-Identifier: Apache-2.0
"""Joint states at 1 kHz beside two cameras of 30 Hz and an IMU, over DDS to the node: what of each is lost, and where.

python -m benchmark.node.joint_states [--rate 1000] [--seconds 10] [--runs 3] [--out build/bench/joint_states.json]

A row a stream and run: messages published, received, used, and lost by reason: ``dds`` between publisher and node, as
DDS reports it, ``unseen`` there without a report, and the node's own reasons but ``unselected``, which is a choice.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from sensor_msgs.msg import JointState

from benchmark import document, machine
from benchmark.node import payloads, subject
from benchmark.node.processes import Process, ProcessError, Processes
from benchmark.node.run import environment
from benchmark.node.topics import CAMERA_TOPICS, IMU_TOPIC
from robocache_core import ops
from robocache_ros.sources import routes
from robocache_ros.tools.configuration import read_config

JOINTS = tuple(f'joint_{number}' for number in range(1, 8))
JOINT_TOPIC = '/joint_states'
CAMERAS = dict(zip(('front', 'back'), CAMERA_TOPICS[::2], strict=True))
IMU_HZ, CAMERA_HZ = 200.0, 30.0
_START_S, _LEAD_NS, _DIAGNOSTICS_S = 60.0, 300_000_000, 0.5
#: The images, whose stamps are the targets, begin so much later than the rest, ns: then the windows are full.
_WINDOWS_NS = 200_000_000
#: After the last message was published, until the node has it, ns.
_ON_THE_WAY_NS = 300_000_000


@dataclass(frozen=True)
class Row:
    """One stream in one run.

    Attributes:
        workload: the stream and its rate.
        run: its number.
        published: messages.
        received: of them, by the node.
        used: of them, in a frame.
        lost: of them, by reason.
        frames: that the node published.
        late_p99_ms: of the player.
        priority: of the player: ``real-time``, or ``normal`` where no other is permitted.
        cpu: of the node's process, of one CPU.
        busy: what other processes took of the CPUs.
        met: whether nothing was lost.
    """

    workload: str
    run: int
    published: int
    received: int
    used: int
    lost: dict[str, int]
    frames: int
    late_p99_ms: float
    priority: str
    cpu: float
    busy: float
    met: bool

    def as_json(self) -> dict[str, object]:
        """The row as it stands in the file."""
        return asdict(self)

    def __str__(self) -> str:
        lost = ', '.join(f'{count} {reason}' for reason, count in self.lost.items()) or 'nothing'
        return (
            f'{self.workload:<15} {self.published:>6} published {self.received:>6} received {self.used:>6} used  lost: '
            f'{lost}  (player late by p99 {self.late_p99_ms:.1f} ms, node {self.cpu:.0%} of a CPU, others '
            f'{self.busy:.0%} of all)'
        )


def main(args: list[str] | None = None) -> None:
    """Measure; ends with an error where a process failed."""
    options = _parser().parse_args(args)
    work = options.out.parent / options.out.stem
    work.mkdir(parents=True, exist_ok=True)
    payloads.write(_messages(options.payloads), work / 'messages')
    params = work / 'preprocess.yaml'
    params.write_text(yaml.safe_dump({'/**/preprocess': {'ros__parameters': _parameters()}}, sort_keys=False))
    rows = []
    try:
        for run in range(options.runs):
            rows += _observe(run, params, work, options)
            print(*rows[-len(_rates(options)) :], sep='\n', flush=True)
    except ProcessError as error:
        sys.exit(f'benchmark: {error}')
    threads = ops.num_threads()
    header = machine.header(threads, machine.copy_bandwidth(threads, 16 << 20), {}, False) | {
        'seconds': options.seconds
    }
    document.write(options.out, header, rows, {})
    print(f'written to {options.out}')


def _rates(options: argparse.Namespace) -> dict[str, float]:
    """Of each stream, Hz."""
    return {'joints': options.rate, 'imu': IMU_HZ, **dict.fromkeys(CAMERAS, CAMERA_HZ)}


def _parameters() -> dict[str, Any]:
    """What a user writes who sets nothing that needs not be set."""
    return {
        'cameras': list(CAMERAS),
        'imus': ['imu'],
        'vectors': ['joints'],
        'diagnostics_period': _DIAGNOSTICS_S,
        **{name: {'topic': topic} for name, topic in CAMERAS.items()},
        'imu': {'topic': IMU_TOPIC},
        'joints': {
            'topic': JOINT_TOPIC,
            'message': 'sensor_msgs/msg/JointState',
            'joints': list(JOINTS),
            'fields': ['position', 'velocity', 'effort'],
            'window_size': 33,
            'window_period': 0.001,
        },
    }


def _messages(kind: str) -> payloads.Messages:
    simulated = payloads.make(kind)
    random = np.random.default_rng(0)
    states = [
        JointState(
            name=list(JOINTS), **{part: random.normal(size=7).tolist() for part in ('position', 'velocity', 'effort')}
        )
        for _ in range(30)
    ]
    return {JOINT_TOPIC: states, **{topic: simulated[topic] for topic in (IMU_TOPIC, *CAMERAS.values())}}


def _observe(run: int, params: Path, work: Path, options: argparse.Namespace) -> list[Row]:
    """Play all streams once.

    Raises:
        ProcessError: names the process that ended or did not answer.
    """
    config = read_config(params, sys.exit).pipeline
    streams = {route.stream.name: route for route in routes(config) if not route.is_calibration}
    with Processes(work / f'logs_{run}', environment(options.domain)) as processes:
        players = {
            name: processes.start(
                f'player of {name}', 'benchmark.node.rated_player', streams[name].absolute_topic,
                streams[name].stream.message_type, '--folder', str(work / 'messages'),
                '--rate', str(rate_hz), '--seconds', str(options.seconds),
            )
            for name, rate_hz in _rates(options).items()
        }  # fmt: skip
        node = processes.start(
            'node', 'robocache_ros.process', '--ros-args', '--params-file', str(params), '-p', 'autostart:=true',
            by_signal=True,
        )  # fmt: skip
        consumer = processes.start('consumer', 'benchmark.node.consumer', 'ledger')
        processes.wait(consumer, 'ready', _START_S)
        priorities = {name: processes.wait(player, 'ready', _START_S)['priority'] for name, player in players.items()}
        others, before_s, began_s = machine.Others(processes.cpu_s), node.cpu_s(), time.monotonic()
        late_ns = _play(processes, players, options.seconds)
        busy, cpu = others.share(), (node.cpu_s() - before_s) / (time.monotonic() - began_s)
        consumer.order(last_ns=time.time_ns() + _ON_THE_WAY_NS)
        result = processes.wait(consumer, 'result', subject.DRAIN_S + 10)
        processes.end()
    return [
        Row(
            workload=f'{name} {_rates(options)[name]:g} Hz',
            run=run,
            published=len(late_ns[name]),
            **_fate(len(late_ns[name]), result['streams'][name]),
            frames=result['frames'],
            late_p99_ms=round(float(np.percentile(late_ns[name], 99)) * 1e-6, 3),
            priority=priorities[name],
            cpu=round(cpu, 3),
            busy=round(busy, 3),
        )
        for name in players
    ]


def _play(processes: Processes, players: Mapping[str, Process], seconds: float) -> dict[str, Sequence[int]]:
    """Have the players play; returns how late each message was."""
    first_ns = time.time_ns() + _LEAD_NS
    for name, player in players.items():
        player.order(first_ns=first_ns + (_WINDOWS_NS if name in CAMERAS else 0))
    return {name: processes.wait(player, 'sent', 30 + 3 * seconds)['late_ns'] for name, player in players.items()}


def _fate(published: int, counts: Mapping[str, int]) -> dict[str, Any]:
    """What became of the messages of a stream, of which the node says ``counts``."""
    lost = {key.removeprefix('dropped.'): count for key, count in counts.items() if key.startswith('dropped.')}
    lost.pop('unselected', None)
    lost['dds'] = counts['qos.lost']
    lost['unseen'] = published - counts['received'] - counts['qos.lost']
    lost = {reason: count for reason, count in lost.items() if count}
    return {'received': counts['received'], 'used': counts['used'], 'lost': lost, 'met': not lost}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m benchmark.node.joint_states',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--rate', type=float, default=1000.0, help='of the joint states, Hz (default 1000)')
    parser.add_argument('--seconds', type=float, default=10.0, help='of each run (default 10)')
    parser.add_argument('--runs', type=int, default=3, help='(default 3)')
    parser.add_argument(
        '--payloads', choices=('simulated', 'tiny'), default='simulated', help='of the cameras (default simulated)'
    )
    parser.add_argument('--domain', type=int, metavar='ID', help='ROS domain; default: one of its own')
    parser.add_argument('--out', type=Path, default=Path('build/bench/joint_states.json'), metavar='FILE')
    return parser


if __name__ == '__main__':
    main()
