# SPDX-License-Identifier: Apache-2.0
"""What became of the messages of each stream, and of the targets, as HTML."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from robocache_core.ledger import Reason
from robocache_ros.tools.presentation.markup import table
from robocache_ros.tools.presentation.plot_style import colour_of


def ledger_table(summary: Mapping[str, Any], names: Sequence[str], published: str) -> str:
    """The accounts in a summary: ``streams``, ``published`` (messages by stream), ``topics`` and ``targets``.

    Args:
        summary: has them.
        names: the streams, in the order in which all plots colour them.
        published: heads the column of the messages that there were.
    """
    rows = []
    for name in names:
        stream = summary['streams'].get(name)
        if stream is None:
            continue
        parts = [('used', stream['used'], colour_of(names, name)), ('held', stream['held'], '#94a3b8')]
        parts += [(r, n, '#cbd5e1' if r == Reason.UNSELECTED else '#f87171') for r, n in stream['dropped'].items()]
        total = max(1, stream['received'])
        bar = ''.join(
            f'<span style="width:{100 * count / total:.2f}%;background:{colour}" '
            f'title="{html.escape(label)} {count}"></span>'
            for label, count, colour in parts
            if count
        )
        reasons = ', '.join(f'{html.escape(r)} {n}' for r, n in stream['dropped'].items()) or '–'
        numbers = [summary['published'].get(name, 0), stream['received'], stream['used'], stream['held']]
        rows.append(
            f'<tr><th>{html.escape(name)}<small>{html.escape(summary["topics"].get(name, ""))}</small></th>'
            + ''.join(f'<td>{n}</td>' for n in numbers)
            + f'<td class="left">{reasons}</td><td class="bar"><div>{bar}</div></td></tr>'
        )
    titles = ''.join(f'<td>{title}</td>' for title in (published, 'received', 'used', 'held'))
    head = f'<tr><th>stream</th>{titles}<td class="left">dropped</td><td></td></tr>'
    targets = summary['targets']
    dropped, given_up = (
        ', '.join(f'{html.escape(key)} {n}' for key, n in targets[kind].items()) or 'none'
        for kind in ('dropped', 'given_up')
    )
    return (
        f'{table(head, rows)}'
        f'<p class="dim">{targets["targets"]} targets: {targets["emitted"]} became frames, {targets["pending"]} wait, '
        f'dropped: {dropped}; did not wait for a stream: {given_up}. <b>unselected</b> is a sample that no target '
        'needed, such as every third image of a 15 Hz camera at 10 Hz.</p>'
    )
