# SPDX-License-Identifier: Apache-2.0
"""One run of one subject: its processes are started, matched, played to and ended; what they noted is the result."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.machine import Others
from benchmark.node import subject
from benchmark.node.processes import Process, Processes
from robocache_ros import dds_environment

#: By name, in the order in which they are measured.
SUBJECTS = ('bare', 'usual', 'relay', 'node', 'in_process')
#: Frames before the measured ones, for so long (a third of the measured time where that is less), and at least so many:
#: first allocations, and what is matched on one side alone as yet.
_WARM_UP_S, _MIN_WARM_UP = 1.0, 3
_START_S = 60.0
#: From the order to play to the first frame; readings of the IMU come before it.
_LEAD_NS = 300_000_000


@dataclass(frozen=True)
class Setting:
    """What all runs of a benchmark have in common.

    Attributes:
        messages: folder of the prepared messages.
        params: the node's parameters.
        fused_sizes: bytes of the frames that the node makes of them.
        environment: of all processes.
        logs: folder of their logs.
        seconds: how long is measured.
    """

    messages: Path
    params: Path
    fused_sizes: Sequence[int]
    environment: Mapping[str, str]
    logs: Path
    seconds: float


@dataclass(frozen=True)
class Observed:
    """What one run gave, before any statistics.

    Attributes:
        stamps_ns: of the measured frames that were sent.
        late_ns: of each message of the measured time: how long after it was due it was sent.
        priority: of the players' threads: ``real-time``, or ``normal`` where no other is permitted.
        busy: what processes that are not ours took of the CPUs meanwhile, 0 to 1.
        cpu_s: CPU time of the subject's process meanwhile.
        peak_rss_mib: of the subject's process.
        results: what the subject and, where there is one, its consumer noted, in this order.
    """

    stamps_ns: list[int]
    late_ns: list[int]
    priority: str
    busy: float
    cpu_s: float
    peak_rss_mib: float
    results: list[dict[str, Any]]


def environment(domain: int | None) -> dict[str, str]:
    """That of all processes: large messages travel fast, on this host alone, in a domain of their own."""
    added = dds_environment.environment(
        dds_environment.distro(os.environ), dds_environment.share_directory(), os.environ
    )
    return {
        **os.environ,
        **added,
        'ROS_DOMAIN_ID': str(1 + os.getpid() % 100 if domain is None else domain),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
    }


def observe(name: str, rate_hz: float, setting: Setting) -> Observed:
    """Run one subject once.

    Raises:
        ProcessError: names the process that ended or did not answer.
    """
    with Processes(setting.logs / f'{name}_{rate_hz:g}hz', setting.environment) as processes:
        players = [_start_player(processes, what, rate_hz, setting) for what in ('frames', 'imu')]
        measured, reporting = _start_subject(processes, name, setting)
        for process in reporting:
            processes.wait(process, 'ready', _START_S)
        priorities = {processes.wait(player, 'ready', _START_S)['priority'] for player in players}
        sent, late_ns, busy, cpu_s = _play(processes, players, measured, setting)
        peak_rss_mib = measured.peak_rss_mib()
        results = _collect(processes, reporting, sent['stamps_ns'][-1])
        processes.end()
    return Observed(sent['stamps_ns'], late_ns, '/'.join(priorities), busy, cpu_s, peak_rss_mib, results)


def _start_player(processes: Processes, what: str, rate_hz: float, setting: Setting) -> Process:
    warm_up = max(_MIN_WARM_UP, math.ceil(min(_WARM_UP_S, setting.seconds / 3) * rate_hz))
    return processes.start(
        f'player of {what}', 'benchmark.node.player', what,
        '--folder', str(setting.messages), '--period-ns', str(round(1e9 / rate_hz)),
        '--frames', str(warm_up + max(2, round(setting.seconds * rate_hz))), '--warm-up', str(warm_up),
    )  # fmt: skip


def _start_subject(processes: Processes, name: str, setting: Setting) -> tuple[Process, list[Process]]:
    """The process that is measured, and those that report what came: itself, its consumer, or both."""
    if name == 'node':
        node = processes.start(
            'node', 'robocache_ros.process', '--ros-args', '--params-file', str(setting.params),
            '-p', 'autostart:=true', by_signal=True,
        )  # fmt: skip
        return node, [processes.start('consumer', 'benchmark.node.consumer', 'node')]
    if name == 'relay':
        relay = processes.start('relay', 'benchmark.node.relay', *map(str, setting.fused_sizes))
        return relay, [relay, processes.start('consumer', 'benchmark.node.consumer', 'relay')]
    arguments = [str(setting.params)] if name == 'in_process' else []
    process = processes.start(name, f'benchmark.node.{name}', *arguments)
    return process, [process]


def _play(
    processes: Processes, players: list[Process], measured: Process, setting: Setting
) -> tuple[dict[str, Any], list[int], float, float]:
    """Have the players play; returns what that of the frames sent, their lateness, others' share and CPU time."""
    timeout_s = 30 + 3 * setting.seconds
    first_ns = time.time_ns() + _LEAD_NS
    for player in players:
        player.order(first_ns=first_ns)
    processes.wait(players[0], 'measuring', timeout_s)
    others, before_s = Others(processes.cpu_s), measured.cpu_s()
    sent = processes.wait(players[0], 'sent', timeout_s)
    busy, cpu_s = others.share(), measured.cpu_s() - before_s
    of_imu = processes.wait(players[1], 'sent', timeout_s)
    return sent, sent['late_ns'] + of_imu['late_ns'], busy, cpu_s


def _collect(processes: Processes, reporting: list[Process], last_ns: int) -> list[dict[str, Any]]:
    for process in reporting:
        process.order(last_ns=last_ns)
    return [processes.wait(process, 'result', subject.DRAIN_S + 10) for process in reporting]
