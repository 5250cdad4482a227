# SPDX-License-Identifier: Apache-2.0
"""The outcome of a replay on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robocache_ros.tools.presentation.text_table import format_drops, format_table


def format_summary(summary: Mapping[str, Any]) -> str:
    """The figures of a summary, as text for a terminal."""
    parts = [_headline(summary), _streams(summary), format_drops(summary), _stages(summary)]
    return '\n\n'.join(part for part in parts if part)


def _headline(summary: Mapping[str, Any]) -> str:
    latency, late = summary['latency_ms'], summary['player_late_ms']
    trigger = summary['trigger'] or 'fixed rate'
    return '\n'.join([
        f'frames    {summary["frames"]} fused of {summary["targets"]["targets"]} targets, '
        f'{summary["fused_rate_hz"]:.2f} Hz; {trigger} {summary["trigger_rate_hz"]:.2f} Hz',
        f'latency   p50 {_ms(latency["p50"])}  p99 {_ms(latency["p99"])} ms, from sending {trigger} to the fused frame',
        f'device    {summary["device"]} ({summary["device_reason"]})',
        f'backend   {summary["backend"]} ({summary["backend_reason"]})',
        f'player    late by p99 {_ms(late["p99"])}  max {_ms(late["max"])} ms',
    ])  # fmt: skip


def _streams(summary: Mapping[str, Any]) -> str:
    rows = []
    for name, stream in summary['streams'].items():
        age = summary['age_ms'].get(name, {'p50': None, 'p99': None})
        rows.append(
            [name, str(summary['published'].get(name, 0))]
            + [str(stream[key]) for key in ('received', 'used', 'held')]
            + [str(sum(stream['dropped'].values())), _ms(age['p50']), _ms(age['p99'])]
            + [str(summary['valid'].get(name, 0)), str(summary['targets']['given_up'].get(name, 0))]
        )
    head = ['stream', 'sent', 'received', 'used', 'held', 'dropped', 'offset p50 ms', 'p99 ms']
    head += ['valid frames', 'not waited for']
    return format_table(head, rows)


def _stages(summary: Mapping[str, Any]) -> str:
    rows = [[stage, _ms(p['p50']), _ms(p['p99'])] for stage, p in summary['stage_ms'].items()]
    return format_table(['stage', 'p50 ms', 'p99 ms'], rows) if rows else ''


def _ms(value: float | None) -> str:
    return '-' if value is None else f'{value:.2f}'
