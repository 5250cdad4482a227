# SPDX-License-Identifier: Apache-2.0
"""The plots of a report on a bag, as SVG."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from robocache_ros.tools.presentation.plot_style import BLUE, CYCLE, INK, MUTED, RED, STYLE, svg

#: Topics that are drawn, and characters of their names.
_MOST, _LONGEST = 40, 40


def coverage(topics: Mapping[str, Mapping[str, Any]], seconds: float) -> str:
    """When each topic has messages: a bar from its first to its last, red where it pauses."""
    drawn = [(name, topic) for name, topic in topics.items() if topic['count']][:_MOST]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.8, 0.75 + 0.34 * max(1, len(drawn))), layout='constrained')
        axes = figure.subplots()
        for row, (_, topic) in enumerate(drawn):
            begin, end = topic['begins_s'], seconds - topic['ends_early_s']
            axes.barh(row, max(end - begin, 2e-3 * seconds), left=begin, height=0.5, color=BLUE)
            for pause in topic['gaps']['longest'] if topic['is_stamped'] else ():
                axes.barh(row, pause['seconds'], left=pause['at_s'], height=0.5, color=RED)
        axes.set(xlabel='time of the recording, s', xlim=(0, max(seconds, 1e-3)), ylim=(max(1, len(drawn)) - 0.5, -0.5))
        axes.set_yticks(range(len(drawn)), [_plain(name) for name, _ in drawn])
        axes.tick_params(axis='y', labelcolor=INK)
        axes.grid(axis='y', visible=False)
        return svg(figure)


def delays(topics: Mapping[str, Mapping[str, Any]]) -> str:
    """The least delay of each topic over time, against its median: what slopes, drifts."""
    drawn = [(name, t) for name, t in topics.items() if t['streams'] and t['delay_ms']['over_time']][: len(CYCLE)]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.8, 3.0), layout='constrained')
        axes = figure.subplots()
        for (name, topic), colour in zip(drawn, CYCLE, strict=False):
            at, least = np.array(topic['delay_ms']['over_time'], np.float64).T
            axes.plot(at, least - np.median(least), color=colour, label=_plain(name))
        axes.axhline(0, color=MUTED, linewidth=0.9)
        axes.set(xlabel='time of the recording, s', ylabel='ms against the median')
        if drawn:
            axes.legend(loc='upper left', ncols=2, fontsize=8.5)
        axes.margins(y=0.3)
        return svg(figure)


def _plain(name: str) -> str:
    """A name as it is drawn: a dollar sign is no mathematics."""
    shortened = name if len(name) <= _LONGEST else f'…{name[1 - _LONGEST :]}'
    return shortened.replace('$', r'\$')
