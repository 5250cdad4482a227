# SPDX-License-Identifier: Apache-2.0
"""What the viewer shows where, until it is arranged otherwise."""

from __future__ import annotations

import rerun.blueprint as rrb

from robocache_core.config import PipelineConfig


def layout(config: PipelineConfig) -> rrb.Blueprint:
    """Space to the left, images beside it, curves and words below."""
    cameras = [(camera.name, f'world/cameras/{camera.name}') for camera in config.cameras]
    cameras += [(depth.name, f'world/depths/{depth.name}') for depth in config.depths]
    images = [rrb.Spatial2DView(origin=path, name=name) for name, path in cameras]
    space = rrb.Spatial3DView(origin='world', name='space')
    curves = [rrb.TimeSeriesView(origin='age_ms', name='age, ms')]
    curves += [
        rrb.TimeSeriesView(origin=f'vectors/{vector.name}', name=vector.name)
        for vector in (*config.imus, *config.vectors)
    ]
    curves.append(rrb.TimeSeriesView(origin='points_dropped', name='points dropped'))
    words = rrb.Vertical(
        rrb.TextDocumentView(origin='blocker', name='why no frame comes'),
        rrb.TextLogView(origin='events', name='events'),
    )
    above = rrb.Horizontal(space, rrb.Grid(*images), column_shares=[3, 2]) if images else space
    below = rrb.Horizontal(rrb.Tabs(*curves), words, column_shares=[3, 2])
    return rrb.Blueprint(rrb.Vertical(above, below, row_shares=[3, 1]), collapse_panels=True)
