# SPDX-License-Identifier: Apache-2.0
"""A message's whole path, from its publisher to the complete result: the node, beside what it is to be held against.

python -m benchmark.node [--quick] [--peak] [--runs 5] [--rates 10,20,40] [--out build/bench/node.json]

    bare        a rclpy subscriber of the topics: complete when the four large messages of one stamp are there
    usual       what people write: an approximate synchronizer, NumPy, OpenCV and torch; the result in its process
    relay       a rclpy node that computes nothing and sends a consumer a ready message of the size of the fused frame
    node        the node, to a consumer with a FusedSubscriber
    in_process  the node, to a consumer with an InProcessSubscriber in its process

The publishers are processes of their own. Latency counts from the stamp, at which a message is due, to the complete
result; CPU time is that of the subject's process alone, without its consumer and the players.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmark import document, machine
from benchmark.node import payloads, task
from benchmark.node.processes import ProcessError
from benchmark.node.rounds import PEAK_LOST, Campaign
from benchmark.node.run import SUBJECTS, Setting, environment, observe
from benchmark.node.statistics import Tolerance, numbers
from robocache_core import ops
from robocache_core.tunable import ConfigError
from robocache_ros import dds_environment

RATES_HZ = (10.0, 20.0, 40.0)
PEAK_RATES_HZ = (10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 80.0, 100.0)


def main(args: list[str] | None = None) -> None:
    """Measure; ends with an error where a process fails in every try of a run."""
    options = _parser().parse_args(args)
    if options.quick:
        options.runs, options.seconds, options.rates = 1, min(3.0, options.seconds), (10.0,)
    try:
        setting, header = _prepare(options)
    except ConfigError as error:
        sys.exit(f'benchmark: {error}')
    for key, value in header.items():
        print(f'{key:<15}{value}')
    print(flush=True)

    campaign = Campaign(
        measure=lambda subject, rate_hz: numbers(observe(subject, rate_hz, setting)),
        tolerance=Tolerance(options.late, options.busy),
        tries=options.tries,
        report=lambda line: print(line, flush=True),
    )
    rows, peaks = [], []
    try:
        if options.peak:
            peaks = [campaign.peak(subject, options.rates or PEAK_RATES_HZ) for subject in options.subjects]
        else:
            for rate_hz in options.rates or RATES_HZ:
                rows += campaign.rows(options.subjects, rate_hz, options.runs)
    except ProcessError as error:
        sys.exit(f'benchmark: {error}')
    document.write(options.out, header, rows, {}, peaks=peaks)
    _print(rows, peaks)
    print(f'written to {options.out}')


def _prepare(options: argparse.Namespace) -> tuple[Setting, dict[str, object]]:
    """Write what the processes read, and the facts that stand above the rows."""
    work = options.out.parent / options.out.stem
    messages = payloads.make(options.payloads)
    payloads.write(messages, work / 'messages')
    params = work / 'preprocess.yaml'
    task.write_params(params, options.device)
    setting = Setting(
        messages=work / 'messages',
        params=params,
        fused_sizes=task.fused_sizes(params, messages),
        environment=environment(options.domain),
        logs=work / 'logs',
        seconds=options.seconds,
    )
    threads = ops.num_threads()
    bandwidth = machine.copy_bandwidth(threads, (16 if options.quick else 256) << 20)
    header = machine.header(threads, bandwidth, {}, options.quick) | {
        'ros': dds_environment.distro(os.environ),
        'payloads': options.payloads,
        'input_sha256': payloads.sha256(messages),
        'fused_bytes': setting.fused_sizes,
        'seconds': options.seconds,
        'runs': options.runs,
        'limits': f'late p99 {options.late:g} ms, others {options.busy:.0%} of the CPUs, {options.tries} tries a run',
    }
    return setting, header


def _print(rows: list, peaks: list) -> None:
    print()
    for row in rows:
        print(row)
    for peak in peaks:
        rate = 'none' if peak['peak_hz'] is None else f'{peak["peak_hz"]:g} Hz'
        print(f'{peak["subject"]:<10} {rate} with at most {PEAK_LOST:.0%} lost; limited by {peak["limited_by"]}')
    if rows:
        missed = [row.workload for row in rows if row.met is False]
        print(f'\n{len(rows)} rows, {len(missed)} missed their goal' + ''.join(f'\n  {name}' for name in missed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m benchmark.node', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--quick', action='store_true', help='one run of 3 s at 10 Hz: to see that it runs')
    parser.add_argument('--peak', action='store_true', help=f'the highest rate with at most {PEAK_LOST:.0%}% lost')
    parser.add_argument(
        '--rates', type=_rates, metavar='HZ,…', help=f'default {_list(RATES_HZ)}, with --peak {_list(PEAK_RATES_HZ)}'
    )
    parser.add_argument('--subjects', type=_subjects, default=SUBJECTS, metavar='NAME,…', help='default: all')
    parser.add_argument('--runs', type=int, default=5, help='of each subject at each rate (default 5)')
    parser.add_argument('--seconds', type=float, default=20.0, help='of each run (default 20)')
    parser.add_argument('--tries', type=int, default=3, help='how often a run is made until it counts (default 3)')
    parser.add_argument(
        '--late', type=float, default=2.0, metavar='MS', help='how late the player may be, p99 (default 2)'
    )
    parser.add_argument(
        '--busy',
        type=float,
        default=machine.Others.DISTURBED,
        help='share of the CPUs that others may take (default 0.1)',
    )
    parser.add_argument(
        '--payloads',
        choices=payloads.KINDS,
        default=payloads.default_kind(),
        help='default: recorded where ROBOCACHE_DATA is set, else simulated',
    )
    parser.add_argument('--device', default='auto', help='compute.device of the node (default auto)')
    parser.add_argument('--domain', type=int, metavar='ID', help='ROS domain; default: one of its own')
    parser.add_argument('--out', type=Path, default=Path('build/bench/node.json'), metavar='FILE')
    return parser


def _list(rates_hz: tuple[float, ...]) -> str:
    return ','.join(f'{rate:g}' for rate in rates_hz)


def _rates(text: str) -> tuple[float, ...]:
    rates = tuple(float(part) for part in text.split(','))
    if not all(0 < rate <= 1000 for rate in rates):
        raise argparse.ArgumentTypeError(f'{text}: must be rates above 0 Hz, to 1000 Hz')
    return rates


def _subjects(text: str) -> tuple[str, ...]:
    wanted = text.split(',')
    unknown = sorted(set(wanted) - set(SUBJECTS))
    if unknown:
        raise argparse.ArgumentTypeError(f'{", ".join(unknown)}: must be of {", ".join(SUBJECTS)}')
    return tuple(subject for subject in SUBJECTS if subject in wanted)


if __name__ == '__main__':
    main()
