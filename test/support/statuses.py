# SPDX-License-Identifier: Apache-2.0
"""Statuses of a runtime that is driven by a set clock."""

from diagnostic_msgs.msg import DiagnosticStatus
from support.runtime import FRONT, LIDAR, cloud

from robocache_core.config import PipelineConfig

OK, WARN, ERROR, STALE = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR, DiagnosticStatus.STALE
ONE = PipelineConfig(lidars=(LIDAR,))
TWO = PipelineConfig(lidars=(LIDAR,), cameras=(FRONT,))


def drive(bench, name, make_message, instants_ms):
    """A message at each instant, by the clock too."""
    for ms in instants_ms:
        bench.clock.advance(0.1)
        bench.put(name, make_message(ms))
        bench.work()


def values(status):
    return {pair.key: pair.value for pair in status.values}


def no_points(ms):
    message = cloud(ms)
    message.width = message.row_step = 0
    message.data = b''
    return message


def summary(statuses, task):
    return statuses[task].level, statuses[task].message


def blocker(bench):
    return values(bench.report()['sync'])['blocker']
