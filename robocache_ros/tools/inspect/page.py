# SPDX-License-Identifier: Apache-2.0
"""A report as a page: one file, in the style of replay's."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from typing import Any

from robocache_ros.tools.inspect import plots
from robocache_ros.tools.inspect.text import configuration_line, content_lines
from robocache_ros.tools.presentation.ledger_table import ledger_table
from robocache_ros.tools.presentation.markup import cards, notices, page, plot, section, table


def render(report: Mapping[str, Any]) -> str:
    """The page."""
    topics, bag = report['topics'], report['bag']
    parts = [
        _header(report),
        _findings(report['findings']),
        section('Topics', 'Rates by record times; jitter and gaps by stamps, where there are any.', _topics(topics)),
        section(
            'Recording',
            'From the first to the last message of each topic; red where it pauses.',
            plot('recording', plots.coverage(topics, bag['seconds'])),
        ),
        section(
            'Clocks',
            'Record time minus stamp, the least of each interval, against its median: a slope is a drift of clocks.',
            plot('clocks', plots.delays(topics)),
        ),
        section('Contents', 'What the messages of the streams hold.', _contents(topics)),
    ]
    if report['outcome']:
        parts.append(section('Ledger', 'What the node would make of every message, and drop of it.', _ledger(report)))
    text = report['configuration']['text']
    if text:
        lead = html.escape(configuration_line(report['configuration']))
        parts.append(section('Configuration', lead, f'<pre>{html.escape(text)}</pre>'))
    return page(f'RoboCache inspect of {html.escape(_name(bag))}', ''.join(parts))


def _name(bag: Mapping[str, Any]) -> str:
    return str(bag['path']).rstrip('/').rpartition('/')[2] or str(bag['path'])


def _header(report: Mapping[str, Any]) -> str:
    bag, outcome, verdict = report['bag'], report['outcome'], report['verdict']
    kind, word = {0: ('good', 'fine'), 1: ('bad', 'data lost or wrong'), 2: ('bad', 'unusable')}[verdict['exit_status']]
    num_errors = sum(finding['level'] == 'error' for finding in report['findings'])
    targets = outcome['targets']['targets'] if outcome else 0
    dropped = sum(sum(account['dropped'].values()) for account in outcome['streams'].values()) if outcome else 0
    figures = [
        ('errors', str(num_errors), f'and {len(report["findings"]) - num_errors} note(s)'),
        ('frames', str(outcome['frames'] if outcome else 0), f'of {targets} targets'),
        ('messages', str(bag['messages']), f'on {len(report["topics"])} topics'),
        ('dropped or unselected', str(dropped), 'messages, see the ledger'),
        ('length', f'{bag["seconds"]:.1f}<i>s</i>', 'by record times'),
    ]
    return (
        f'<header><div class="inner"><div class="top"><b>RoboCache</b> inspect '
        f'<span class="badge {kind}">{word}</span></div><h1>{html.escape(_name(bag))}</h1>'
        f'<p class="sub">{html.escape(verdict["text"])}</p>{cards(figures)}</div></header>\n'
    )


def _findings(findings: Iterable[Mapping[str, str]]) -> str:
    kinds = {'error': 'bad', 'note': 'note'}
    lines = [
        (
            kinds[finding['level']],
            f'{finding["subject"]}: {finding["what"]}' + (f'\n→ {finding["remedy"]}' if finding['remedy'] else ''),
        )
        for finding in findings
    ]
    return notices(lines)


def _topics(topics: Mapping[str, Mapping[str, Any]]) -> str:
    titles = ('messages', 'Hz', 'period ms', 'jitter ms', 'longest gap ms', 'missing', 'delay ms', 'drift ppm')
    head = '<tr><th>topic</th>' + ''.join(f'<td>{title}</td>' for title in titles) + '</tr>'
    rows = []
    for name, topic in topics.items():
        figures = [
            str(topic['count']),
            f'{topic["rate_hz"]:.2f}',
            _number(topic['period_ms']['p50']),
            _number(topic['jitter_ms'] if topic['period_ms']['p50'] else None),
            _number(topic['period_ms']['longest']),
            str(topic['gaps']['missing']) if topic['is_stamped'] else '–',
            _number(topic['delay_ms']['p50']),
            _number(topic['drift']['ppm'] if topic['drift'] and topic['drift']['is_clear'] else None),
        ]
        kind = ', '.join([*topic['streams'], topic['type'].rpartition('/')[2]])
        rows.append(
            f'<tr><th>{html.escape(name)}<small>{html.escape(kind)}</small></th>'
            + ''.join(f'<td>{figure}</td>' for figure in figures)
            + '</tr>'
        )
    return table(head, rows)


def _contents(topics: Mapping[str, Mapping[str, Any]]) -> str:
    blocks = []
    for name, topic in topics.items():
        if topic['streams']:
            lines = ''.join(f'<div>{html.escape(line)}</div>' for line in content_lines(topic))
            blocks.append(f'<h4>{html.escape(name)}</h4><div class="dim">{lines}</div>')
    return ''.join(blocks) or '<p class="dim">No topic can be a stream.</p>'


def _ledger(report: Mapping[str, Any]) -> str:
    streams = report['configuration']['streams']
    summary = {
        **report['outcome'],
        'published': {name: stream['messages'] for name, stream in streams.items()},
        'topics': {name: stream['topic'] for name, stream in streams.items()},
    }
    return ledger_table(summary, list(streams), 'in the bag')


def _number(value: float | None) -> str:
    return '–' if value is None else f'{value:.2f}'
