# SPDX-License-Identifier: Apache-2.0
"""Plots over the time of a recording, as SVG: ages, gaps, drops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robocache_core.text import printable
from robocache_ros.tools.presentation.plot_style import BLUE, CYCLE, MUTED, RED, STYLE, colour_of, svg

#: A step to the next frame of more than this times the usual one is a gap.
GAP = 1.5

Values = Sequence[float | None]


def ages(t_s: Sequence[float], age_ms: Mapping[str, Values], names: Sequence[str]) -> str:
    """Target minus stamp of the sample used, over time, a curve a stream."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(2.8)
        for name in names:
            axes.plot(t_s, _floats(age_ms.get(name, [None] * len(t_s))), color=colour_of(names, name), label=name)
        axes.axhline(0, color=MUTED, linewidth=0.9)
        axes.set(xlabel='time, s', ylabel='ms')
        _legend(axes, len(names))
        return svg(figure)


def gaps(t_s: Sequence[float], step_ms: Values) -> str:
    """From each frame to the next one, over time; gaps in red."""
    at, steps = np.asarray(t_s, np.float64), _floats(step_ms)
    usual = float(np.nanmedian(steps)) if np.isfinite(steps).any() else 0.0
    with np.errstate(invalid='ignore'):
        is_gap = steps > GAP * usual
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(2.2)
        axes.vlines(at[~is_gap], 0, steps[~is_gap], color=BLUE, linewidth=1.2)
        axes.vlines(at[is_gap], 0, steps[is_gap], color=RED, linewidth=2.0)
        axes.axhline(usual, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set(xlabel='time, s', ylabel='ms to the next frame', ylim=(0, max(1.0, 1.15 * _most(steps))))
        return svg(figure)


def drops(t_s: Sequence[float], totals: Mapping[str, Sequence[int]]) -> str:
    """How many were dropped by then, over time, a curve for each of what drops most."""
    most = sorted(totals, key=lambda name: totals[name][-1], reverse=True)[: len(CYCLE)]
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(2.8)
        for name, colour in zip(most, CYCLE, strict=False):
            label = printable(f'{name} {totals[name][-1]}').replace('$', r'\$')
            axes.step(t_s, totals[name], where='post', color=colour, label=label)
        _legend(axes, len(most))
        top = max([totals[name][-1] for name in most], default=1)
        axes.set(xlabel='time, s', ylabel='dropped until then', ylim=(0, 1.4 * max(top, 1)))
        return svg(figure)


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(10.8, height), layout='constrained')
    return figure, figure.subplots()


def _legend(axes: Axes, count: int) -> None:
    axes.margins(y=0.25)
    if count:
        axes.legend(loc='upper left', ncols=4, handlelength=1.0, columnspacing=1.0)


def _floats(values: Values) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _most(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    found = values[np.isfinite(values)]
    return float(found.max()) if len(found) else 0.0
