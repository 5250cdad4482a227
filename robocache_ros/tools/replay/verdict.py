# SPDX-License-Identifier: Apache-2.0
"""The verdict on a summary: problems make a replay a failure, warnings and notes do not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robocache_core.text import printable
from robocache_ros import lost_targets

_LATE_MS = 10.0


def problems(summary: Mapping[str, Any]) -> list[str]:
    """A line for each reason to fail: no frame, no ledger, or messages that are not accounted for."""
    found = []
    if summary['frames'] == 0:
        blocker = summary['blocker'] or 'The node sent no diagnostics with a reason.'
        found.append('; '.join((f'no fused frame came. {blocker}', *_losses(summary))))
    if not summary['streams']:
        found.append('the node sent no /diagnostics: there is no ledger')
    return found + unbalanced(summary['streams'])


def _losses(summary: Mapping[str, Any]) -> list[str]:
    """What was dropped, by stream and of the targets, for whatever reason but a target's own."""
    accounts = {**summary['streams'], 'targets': summary['targets']}
    return [
        f'{name} dropped: ' + ', '.join(f'{reason} {count}' for reason, count in account['dropped'].items())
        for name, account in accounts.items()
        if account['dropped']
    ]


def unbalanced(streams: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line for every stream whose messages are not all accounted for."""
    lines = []
    for name, s in streams.items():
        dropped = sum(s['dropped'].values())
        if s['received'] != s['used'] + s['held'] + dropped:
            lines.append(
                f'the ledger of {name} does not add up: received {s["received"]} is not used {s["used"]} '
                f'+ held {s["held"]} + dropped {dropped}'
            )
    return lines


def warnings(summary: Mapping[str, Any]) -> list[str]:
    """A line for each loss, fault or delay of a replay that succeeded all the same."""
    found = [
        f'{count} of {summary["published"].get(name, "the")} messages of {_role(name, summary)} were lost between '
        'player and node: play it slower (--rate)'
        for name, count in summary['lost'].items()
        if name != 'fused'
    ]
    if summary['lost']['fused']:
        found.append(f'{summary["lost"]["fused"]} fused frames were lost between node and replay')
    found += _targets(summary)
    found += [f'of the bag: {defect}' for defect in summary['bag']['defects']]
    found += [
        f'{count} messages on {topic} are too short for their header, and were not sent'
        for topic, count in summary['bag']['unsent'].items()
    ]
    if summary['device_fault']:
        found.append(f'frames were computed on the CPU: {summary["device_fault"]}')
    late = summary['player_late_ms']['p99']
    if late is not None and late > _LATE_MS:
        found.append(f'the player itself was late (p99 {late:.1f} ms): latencies include waits of this machine')
    return found


def _targets(summary: Mapping[str, Any]) -> list[str]:
    """How many targets were lost or did not wait, where these are many, and why."""
    targets = summary['targets']
    lost = lost_targets.describe_lost(targets['targets'], targets['dropped']) if summary['frames'] else ''
    not_waited = lost_targets.describe_not_waited(targets['targets'], targets['given_up'], summary['slow'])
    found = [lost, _triggers(summary), not_waited, *summary['slow'].values()]
    if lost and summary['blocker']:
        found.append(f'no frame for a time: {summary["blocker"]}')
    if (lost or not_waited) and summary['sync_warning']:
        found.append(f'with frames: {summary["sync_warning"]}')
    return [line for line in found if line]


def _role(name: str, summary: Mapping[str, Any]) -> str:
    return f'{name}, the trigger,' if name == summary['trigger'] else name


def _triggers(summary: Mapping[str, Any]) -> str:
    """How many messages of the trigger the node dropped before they became a target, where these are many."""
    stream = summary['streams'].get(summary['trigger'])
    if stream is None or not summary['frames']:
        return ''
    return lost_targets.describe_lost_triggers(summary['trigger'], stream['received'], stream['dropped'])


def notes(summary: Mapping[str, Any]) -> list[str]:
    """A line for each fact that is harmless."""
    return [printable(f'not played: {topic}: {why}') for topic, why in summary['bag']['skipped'].items()]
