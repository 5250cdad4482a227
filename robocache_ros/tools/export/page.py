# SPDX-License-Identifier: Apache-2.0
"""What an export made of its bags, as a page of one file, in the style of replay's."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from robocache_core.config import PipelineConfig
from robocache_ros.sources import routes
from robocache_ros.tools.presentation import time_plots
from robocache_ros.tools.presentation.ledger_table import ledger_table
from robocache_ros.tools.presentation.markup import cards, notices, page, plot, section, table
from robocache_ros.tools.presentation.overlay_section import overlay_section

#: Bags that are shown one by one; the table has all.
_MOST = 20


def render(
    manifest: Mapping[str, Any],
    over_time: Sequence[Mapping[str, Any]],
    overlays: Mapping[str, Any],
    config: PipelineConfig,
) -> str:
    """The page.

    Args:
        manifest: of the set.
        over_time: of each bag, what its ``Timeline`` summed up.
        overlays: of the first bag, as ``overlays_of_bag`` gives them.
        config: of the pipeline.
    """
    bags = list(zip(manifest['bags'], over_time, strict=True))
    parts = [_header(manifest, over_time), overlay_section(overlays), _table(bags)]
    parts += [_bag(bag, times, config) for bag, times in bags[:_MOST]]
    parts.append(section('Configuration', 'Of all bags.', f'<pre>{html.escape(manifest["configuration"])}</pre>'))
    return page('RoboCache export', ''.join(parts))


def _header(manifest: Mapping[str, Any], over_time: Sequence[Mapping[str, Any]]) -> str:
    targets = sum(bag['targets']['received'] for bag in manifest['bags'])
    gaps = [gap for times in over_time for gap in _gaps(times)]
    figures = [
        ('frames', f'{manifest["frames"]}', f'of {targets} targets'),
        ('bags', f'{len(manifest["bags"])}', f'{sum(bag["messages"] for bag in manifest["bags"])} messages'),
        ('gaps', f'{len(gaps)}', f'the longest {max(gaps) / 1e3:.2f} s' if gaps else 'none'),
        ('formats', f'{len(manifest["formats"])}', ', '.join(manifest['formats'])),
        ('SHA-256 of all frames', f'{manifest["sha256"][:8]}…', manifest['sha256']),
    ]
    return (
        '<header><div class="inner"><div class="top"><b>RoboCache</b> export</div><h1>Training set</h1>'
        f'<p class="sub">RoboCache {html.escape(manifest["robocache"])}</p>{cards(figures)}</div></header>\n'
    )


def _gaps(times: Mapping[str, Any]) -> list[float]:
    """Steps between frames that are gaps, ms; of each part of the bag the longest."""
    steps = np.array([step for step in times['step_ms'] if step is not None])
    return steps[steps > time_plots.GAP * np.median(steps)].tolist() if len(steps) else []


def _table(bags: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> str:
    titles = ('targets', 'frames', 'gaps', 'longest gap, ms')
    head = '<tr><th>bag</th>' + ''.join(f'<td>{title}</td>' for title in titles) + '<td class="left">dropped</td></tr>'
    rows = []
    for bag, times in bags:
        gaps = _gaps(times)
        numbers = [bag['targets']['received'], bag['frames'], len(gaps), f'{max(gaps):.1f}' if gaps else '–']
        reasons = ', '.join(f'{html.escape(why)} {n}' for why, n in bag['targets']['dropped'].items()) or '–'
        rows.append(
            f'<tr><th>{html.escape(bag["name"])}</th>{"".join(f"<td>{n}</td>" for n in numbers)}'
            f'<td class="left">{reasons}</td></tr>'
        )
    return section('Bags', 'What became of the targets of each.', table(head, rows))


def _bag(bag: Mapping[str, Any], times: Mapping[str, Any], config: PipelineConfig) -> str:
    names = [stream.name for stream in config.streams()]
    topics = {route.stream.name: route.absolute_topic for route in routes(config) if not route.is_calibration}
    targets = bag['targets']
    accounts = {
        'streams': bag['streams'],
        'published': {name: account['received'] for name, account in bag['streams'].items()},
        'topics': topics,
        'targets': {
            'targets': targets['received'],
            'emitted': targets['used'],
            'pending': targets['held'],
            'dropped': targets['dropped'],
            'given_up': times['given_up'],
        },
    }
    title = html.escape(bag['name'])
    parts = [
        section(
            title,
            'Target minus stamp of the sample that was used, the greatest of each part of the bag.',
            plot('ages', time_plots.ages(times['t_s'], times['age_ms'], names)),
        ),
        notices([('bad', text) for text in bag['defects']] + [('note', text) for text in bag['warnings']]),
        section(
            f'{title}: gaps',
            f'From each frame to the next one; red: more than {time_plots.GAP:g} times the usual step.',
            plot('gaps', time_plots.gaps(times['t_s'], times['step_ms'])),
        ),
    ]
    if times['drops']:
        lead = 'Messages and targets, without those that no target needed.'
        parts.append(section(f'{title}: drops', lead, plot('drops', time_plots.drops(times['t_s'], times['drops']))))
    lead = 'Every message of the bag is used, still held, or dropped with a reason.'
    return ''.join([*parts, section(f'{title}: ledger', lead, ledger_table(accounts, names, 'in the bag'))])
