# SPDX-License-Identifier: Apache-2.0
"""The report's plots, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robocache_core.config import VECTOR_FIELDS, ImuConfig, MessageVectorConfig
from robocache_core.frame import FusedFrame
from robocache_core.text import printable
from robocache_ros.tools.presentation.plot_style import (
    BLUE,
    CYCLE,
    INK,
    MUTED,
    PALE_BLUE,
    RED,
    STYLE,
    colour_of,
    svg,
)

Floats = npt.NDArray[np.float64]
Series = Mapping[str, Any]


def rates(series: Series) -> str:
    """Trigger messages and fused frames a second, over time."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.8, 2.5), layout='constrained')
        axes = figure.subplots()
        end = max([*series['trigger_t_s'], *series['frames']['t_s'], 1.0])
        top = 0.0
        for times, label, colour, width in (
            (series['trigger_t_s'], 'trigger', PALE_BLUE, 4.0),
            (series['frames']['t_s'], 'fused', BLUE, 1.6),
        ):
            at, rate = _sliding_rate(np.asarray(times, np.float64), end)
            axes.plot(at, rate, color=colour, linewidth=width, label=label, solid_capstyle='round')
            top = max(top, float(np.nanmax(rate, initial=0.0)))
        axes.set(xlabel='time, s', ylabel='Hz', xlim=(0, end), ylim=(0, max(1.0, top * 1.3)))
        axes.legend(loc='lower right', ncols=2)
        return svg(figure)


def latency(series: Series) -> str:
    """Latency of every frame over time, and its distribution beside it on the same axis."""
    values = np.asarray([np.nan if v is None else v for v in series['frames']['latency_ms']], np.float64)
    times = np.asarray(series['frames']['t_s'], np.float64)
    known = values[np.isfinite(values)]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.8, 3.0), layout='constrained')
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(4, 1))
        left.plot(times, values, 'o', color=BLUE, markersize=3.2, alpha=0.75, markeredgewidth=0)
        right.hist(known, bins=min(40, max(8, len(known) // 6)), orientation='horizontal', color=PALE_BLUE)
        for share, colour in ((50, INK), (99, RED)):
            if len(known):
                at = float(np.percentile(known, share))
                left.axhline(at, color=colour, linewidth=0.9, linestyle=(0, (4, 3)))
                right.axhline(at, color=colour, linewidth=0.9, linestyle=(0, (4, 3)))
                right.text(1.0, at, f'p{share} {at:.1f} ms ', color=colour, transform=right.get_yaxis_transform(),
                           ha='right', va='bottom', fontsize=9,
                           bbox={'facecolor': 'white', 'alpha': 0.75, 'linewidth': 0, 'pad': 1.5})  # fmt: skip
        left.set(xlabel='time, s', ylabel='ms', ylim=(0, max(1.0, float(known.max(initial=0.0)) * 1.18)))
        right.set(xlabel='frames')
        right.grid(visible=False)
        return svg(figure)


def offsets(series: Series, names: Sequence[str]) -> str:
    """Offset of the sample used against the target, one row per stream, one dot per frame."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.8, 0.75 + 0.42 * max(1, len(names))), layout='constrained')
        axes = figure.subplots()
        jitter = np.random.default_rng(0)
        for row, name in enumerate(names):
            values = np.asarray([v for v in series['frames']['age_ms'].get(name, []) if v is not None], np.float64)
            shown = values if len(values) <= 2000 else jitter.choice(values, 2000, replace=False)
            axes.plot(shown, row + jitter.uniform(-0.24, 0.24, len(shown)), 'o', color=colour_of(names, name),
                      markersize=3, alpha=0.45, markeredgewidth=0)  # fmt: skip
        axes.axvline(0, color=MUTED, linewidth=0.9)
        axes.set(xlabel='target minus sample, ms: right of 0 the sample is older than the target')
        axes.set_ylim(max(1, len(names)) - 0.5, -0.5)
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(axis='y', labelcolor=INK)
        axes.grid(axis='y', visible=False)
        return svg(figure)


def stages(stage_ms: Mapping[str, tuple[float, float]]) -> str:
    """Median of each stage as a bar, its p99 as a line beyond it."""
    names = list(stage_ms)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.8, 0.75 + 0.34 * max(1, len(names))), layout='constrained')
        axes = figure.subplots()
        for row, name in enumerate(names):
            p50, p99 = stage_ms[name]
            axes.plot([p50, p99], [row, row], color=PALE_BLUE, linewidth=1.6)
            axes.plot([p99], [row], '|', color=PALE_BLUE, markersize=8, markeredgewidth=1.6)
            axes.barh(row, p50, height=0.56, color=BLUE)
            axes.annotate(f'{p50:.2f} / {p99:.2f}', (p99, row), (8, 0), textcoords='offset points', color=MUTED,
                          va='center', fontsize=9)  # fmt: skip
        top = max([p99 for _, p99 in stage_ms.values()] + [0.1])
        axes.set(xlabel='ms, p50 (bar) and p99 (line)', ylim=(max(1, len(names)) - 0.5, -0.5), xlim=(0, top * 1.18))
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(axis='y', labelcolor=INK)
        axes.grid(axis='y', visible=False)
        return svg(figure)


def imu_window(frame: FusedFrame, imu: ImuConfig) -> str:
    """The window of an IMU in a frame, one panel per field; instants without a reading near enough are shaded."""
    units = {'angular_velocity': 'rad/s', 'linear_acceleration': 'm/s²', 'orientation': ''}
    values = frame.tensors[imu.name].float().numpy()
    valid = frame.tensors[f'{imu.name}.valid'].numpy()
    at = (imu.window_offset_ns + imu.window_period_ns * np.arange(1 - len(values), 1)) / 1e6
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.8, 2.5), layout='constrained')
        panels = figure.subplots(1, len(imu.fields), squeeze=False)[0]
        column = 0
        for axes, field in zip(panels, imu.fields, strict=True):
            for axis in range(VECTOR_FIELDS[field]):
                axes.plot(at, values[:, column], color=CYCLE[axis], marker='o', markersize=2.6, label='xyzw'[axis])
                column += 1
            _shade(axes, at, valid, imu.window_period_ns / 1e6)
            title = field.replace('_', ' ')
            axes.set(title=f'{title}, {units[field]}' if units[field] else title, xlabel='ms against the target')
            axes.legend(loc='upper left', ncols=4, handlelength=1.0, columnspacing=1.0)
            axes.margins(y=0.28)
        return svg(figure)


def vector_window(frame: FusedFrame, vector: MessageVectorConfig) -> str:
    """The window of a vector in a frame, a curve a number; instants without a message near enough are shaded."""
    values = frame.tensors[vector.name].double().numpy()
    at = (vector.window_offset_ns + vector.window_period_ns * np.arange(1 - len(values), 1)) / 1e6
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.8, 2.5), layout='constrained')
        axes = figure.subplots()
        for column, name in enumerate(vector.columns[: len(CYCLE)]):
            label = printable(name).replace('$', r'\$')
            axes.plot(at, values[:, column], color=CYCLE[column], marker='o', markersize=2.6, label=label)
        _shade(axes, at, frame.tensors[f'{vector.name}.valid'].numpy(), vector.window_period_ns / 1e6)
        axes.set(xlabel='ms against the target')
        axes.legend(loc='upper left', ncols=4, handlelength=1.0, columnspacing=1.0)
        axes.margins(y=0.28)
        return svg(figure)


def _shade(axes: Axes, at: Floats, valid: npt.NDArray[np.bool_], period_ms: float) -> None:
    for instant in at[~valid]:
        axes.axvspan(instant - period_ms / 2, instant + period_ms / 2, color='#fee2e2', linewidth=0)


def _sliding_rate(times: Floats, end: float, window: float = 1.0) -> tuple[Floats, Floats]:
    """Events a second in a window around each instant, by the mean time between the events in it."""
    at = np.arange(0.0, end + 1e-9, 0.1)
    rate = np.full(len(at), np.nan)
    for i, now in enumerate(at):
        if len(times) and times[0] + window / 2 <= now <= times[-1] - window / 2:
            inside = times[np.abs(times - now) <= window / 2]
            rate[i] = (len(inside) - 1) / (inside[-1] - inside[0]) if len(inside) > 1 else 0.0
    return at, rate
