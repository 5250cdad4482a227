# SPDX-License-Identifier: Apache-2.0
"""Who gave which voxel of a grid: the report's section on its sources, each in voxels of its own."""

from __future__ import annotations

import dataclasses
import html
from itertools import islice
from pathlib import Path

from robocache_core.config import PipelineConfig
from robocache_core.frame import FusedFrame
from robocache_ros.offline import fused_frames
from robocache_ros.tools.presentation.markup import data_uri, section
from robocache_ros.tools.replay import voxel_view

#: Frames at the begin of a bag among which there is one with all sources.
_MOST_FRAMES = 50


def sources_apart(bag: Path, config: PipelineConfig) -> FusedFrame | None:
    """Compute an early frame of a bag with every source of a grid in voxels of its own, as the grid's.

    It is the first frame in which all sources are valid, or, of the first ones, that with most of them; None where
    there is no grid, or no frame.
    """
    names = [name for grid in config.grids for name in grid.from_]
    best: FusedFrame | None = None
    if not names:
        return None
    with fused_frames(bag, _without_grids(config)) as frames:
        for frame in islice(frames, _MOST_FRAMES):
            if best is None or _num_valid(frame, names) > _num_valid(best, names):
                best = frame
            if _num_valid(best, names) == len(names):
                break
    return best


def sources_section(frame: FusedFrame, config: PipelineConfig) -> str:
    """The voxels of each source of the grids of ``config``, in a frame of ``sources_apart``, as HTML."""
    streams = {stream.name: stream for stream in _without_grids(config).voxelized}
    views = []
    for grid in config.grids:
        clouds = {name: voxel_view.occupied(frame, streams[name]) for name in grid.from_}
        png = data_uri('image/png', voxel_view.by_source(clouds))
        facts = ''.join(
            f'<dt><i style="color:{colour}">■</i> {html.escape(name)}</dt><dd>{int(cloud.count.sum()):,} points in '
            f'{len(cloud.centre):,} voxels</dd>'
            for (name, cloud), colour in zip(clouds.items(), voxel_view.source_colours(clouds), strict=True)
        )
        views.append(
            f'<div class="split"><img class="dark" alt="sources of {grid.name} from above" src="{png}">'
            f'<div><dl><dt>grid</dt><dd>{grid.name}</dd>{facts}</dl></div></div>'
        )
    return section(
        'Sources of the grids',
        f'The points of each sensor at the target {frame.stamp_ns / 1e9:.3f} s, from above, in a colour of its own: '
        'where they overlap, walls must lie on each other.',
        ''.join(views),
    )


def _without_grids(config: PipelineConfig) -> PipelineConfig:
    """Return the configuration in which sensors have the voxels of their grid alone: their settings are the grid's."""
    return dataclasses.replace(config, grids=())


def _num_valid(frame: FusedFrame, names: list[str]) -> int:
    return sum(frame.valid[name] for name in names)
