# SPDX-License-Identifier: Apache-2.0
"""A report on a terminal of 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from robocache_core.units import SECOND
from robocache_ros.tools.presentation.text_table import format_drops, format_table

_WIDTH, _NAME = 80, 27


def format_report(report: Mapping[str, Any]) -> str:
    """The report as text."""
    parts = [_headline(report), _timing(report['topics']), _contents(report['topics'])]
    if report['outcome']:
        parts += [_ledger(report['outcome']), format_drops(report['outcome'])]
    parts += [_findings(report['findings']), textwrap.fill(report['verdict']['text'], _WIDTH)]
    return '\n\n'.join(part for part in parts if part)


def _headline(report: Mapping[str, Any]) -> str:
    bag, outcome = report['bag'], report['outcome']
    began = datetime.fromtimestamp(bag['start_ns'] // SECOND, tz=timezone.utc)
    lines = [
        ('bag', f'{bag["path"]}: {bag["seconds"]:.1f} s, {bag["messages"]} messages, {len(report["topics"])} topics')
    ]
    lines.append(('recorded', f'from {began:%Y-%m-%d %H:%M:%S} UTC on'))
    lines.append(('config', configuration_line(report['configuration'])))
    if outcome:
        targets = outcome['targets']['targets']
        lines.append(('frames', f'{outcome["frames"]} of {targets} targets would become frames'))
    return '\n'.join(_hanging(f'{name:<10}', text) for name, text in lines)


def configuration_line(configuration: Mapping[str, Any]) -> str:
    """Where a configuration is from, and what it makes targets of."""
    if configuration['refused']:
        return 'none: the node can use no topic of this bag'
    trigger, rate_hz = configuration['trigger'], configuration['rate_hz']
    targets = f'targets by {trigger}' if trigger else f'targets at {rate_hz:g} Hz'
    frame = f', in {configuration["target_frame"]}' if configuration['target_frame'] else ''
    return f'{configuration["path"] or "made from the bag"}; {targets}{frame}'


def _timing(topics: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        [
            _short(label(name, topic)),
            str(topic['count']),
            f'{topic["rate_hz"]:.2f}',
            _number(topic['jitter_ms'] if topic['period_ms']['p50'] else None),
            _number(topic['period_ms']['longest']),
            _number(topic['delay_ms']['p50']),
        ]
        for name, topic in topics.items()
    ]
    return format_table(['topic', 'count', 'Hz', 'jitter ms', 'max step ms', 'delay ms'], rows)


def label(name: str, topic: Mapping[str, Any]) -> str:
    """The streams of which a topic has the samples, else its name."""
    is_calibration = topic['type'].endswith('/CameraInfo')
    return name if is_calibration else ', '.join(topic['streams']) or name


def _contents(topics: Mapping[str, Mapping[str, Any]]) -> str:
    """Of the topics that streams use: what they hold."""
    blocks = []
    for name, topic in topics.items():
        if topic['streams']:
            lines = [f'{name}, {topic["type"].rpartition("/")[2]}', *content_lines(topic)]
            blocks.append('\n'.join([f'  {label(name, topic)}', *(_hanging(' ' * 6, line) for line in lines)]))
    return '\n'.join(blocks)


def content_lines(topic: Mapping[str, Any]) -> list[str]:
    """Lines on what the messages of a topic hold."""
    contents, lines = topic['contents'], []
    if contents is None:
        return []
    for layout in contents['layouts'][:3]:
        share = f' ({layout["count"]} of {topic["count"]})' if len(contents['layouts']) > 1 else ''
        lines.append(f'{layout["layout"]}{share}')
    if len(contents['layouts']) > 3:
        lines.append(f'and {len(contents["layouts"]) - 3} layouts more')
    if contents['points'] and contents['points']['least'] != contents['points']['greatest']:
        lines.append(f'{contents["points"]["least"]} to {contents["points"]["greatest"]} points')
    times = topic['point_times']
    if times and times['field']:
        origin = 'absolute' if times['reference'] == 'absolute' else f'the stamp is at the {times["reference"]}'
        lines.append(f'time of a point: {times["field"]}, {times["unit"]}, {origin}')
    lines += [_frame_line(frame, seen) for frame, seen in list(contents['frames'].items())[:3]]
    if topic['camera_info'] and not topic['camera_info']['refused']:
        lines.append(f'calibrated by {topic["camera_info"]["topic"]}')
    drift, least = topic['drift'], topic['delay_ms']['least']
    if least is not None:
        gained = f', drift {drift["ppm"]:+.0f} ppm' if drift and drift['is_clear'] else ''
        greatest = topic['delay_ms']['greatest']
        lines.append(f'record time minus stamp: {least:.6g} to {greatest:.6g} ms{gained}')
    return lines


def _frame_line(frame: str, seen: Mapping[str, Any]) -> str:
    if not frame:
        return 'no frame_id'
    if seen['is_joined']:
        return f'frame {frame}, joined to {seen["target"]} by /tf_static'
    return f'frame {frame}, ' + (f'which no /tf_static joins to {seen["target"]}')


def _ledger(outcome: Mapping[str, Any]) -> str:
    rows = []
    for name, account in outcome['streams'].items():
        counts = [str(account[key]) for key in ('received', 'used', 'held')]
        dropped = str(sum(account['dropped'].values()))
        rows.append(
            [_short(name), *counts, dropped, str(outcome['valid'][name]), _number(outcome['age_ms'][name]['p50'])]
        )
    return format_table(['stream', 'received', 'used', 'held', 'dropped', 'valid', 'offset ms'], rows)


def _findings(findings: Iterable[Mapping[str, str]]) -> str:
    lines, last = [], ''
    for finding in findings:
        lines.append(_hanging(f'{finding["level"]:<7}', f'{finding["subject"]}: {finding["what"]}'))
        if finding['remedy'] and finding['remedy'] != last:
            lines.append(_hanging(f'{"":<7}-> ', finding['remedy']))
        last = finding['remedy']
    return '\n'.join(lines)


def _hanging(head: str, text: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent=head, subsequent_indent=' ' * len(head), break_on_hyphens=False)


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f'…{name[1 - _NAME :]}'


def _number(value: float | None) -> str:
    return '-' if value is None else f'{round(value, 2) + 0.0:.2f}'  # no minus before 0
