# SPDX-License-Identifier: Apache-2.0
"""The look of all plots."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

INK, MUTED, GRID = '#0f172a', '#64748b', '#e2e8f0'
BLUE, PALE_BLUE, RED = '#2563eb', '#93c5fd', '#dc2626'
CYCLE = ('#2563eb', '#0d9488', '#ea580c', '#7c3aed', '#db2777', '#65a30d', '#0891b2', '#ca8a04')

STYLE: Any = {
    'svg.fonttype': 'none',  # text stays text, in the page's font
    'svg.hashsalt': 'robocache',  # the same plot gives the same bytes
    'font.family': 'sans-serif',
    'font.sans-serif': ['Inter', 'Segoe UI', 'Helvetica Neue', 'Arial', 'DejaVu Sans'],
    'font.size': 9.5,
    'axes.edgecolor': GRID,
    'axes.labelcolor': MUTED,
    'axes.labelsize': 9.5,
    'axes.titlesize': 10.5,
    'axes.titlelocation': 'left',
    'axes.titlecolor': INK,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.grid': True,
    'axes.axisbelow': True,
    'grid.color': GRID,
    'grid.linewidth': 0.8,
    'text.color': INK,
    'xtick.color': MUTED,
    'ytick.color': MUTED,
    'xtick.major.size': 0,
    'ytick.major.size': 0,
    'legend.frameon': False,
    'lines.linewidth': 1.6,
}


def colour_of(names: Sequence[str], name: str) -> str:
    """The colour of a stream, the same in all plots."""
    return CYCLE[list(names).index(name) % len(CYCLE)]


def svg(figure: Figure) -> str:
    """The figure as an SVG; the same figure gives the same bytes."""
    buffer = io.StringIO()
    figure.savefig(buffer, format='svg', transparent=True, metadata={'Date': None})
    return buffer.getvalue()
