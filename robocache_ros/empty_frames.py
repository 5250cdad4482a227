# SPDX-License-Identifier: Apache-2.0
"""Sentences on frames that have nothing of a stream whose messages are used: no voxel, no valid pixel, no points."""

from __future__ import annotations

from robocache_core.config import DepthConfig
from robocache_core.ledger import Reason
from robocache_core.pipeline import Pipeline
from robocache_core.units import MS
from robocache_ros.lost_targets import are_many
from robocache_ros.period import Period, listed


def describe_empty(pipeline: Pipeline, name: str, period: Period) -> str:
    """Say how many frames of a period have nothing of a stream, and what to look at; empty where they are few.

    Args:
        pipeline: takes the stream, or has taken it.
        name: the stream.
        period: whose frames are counted.
    """
    if are_many(count := period.num_without_depth(name), period.num_frames):
        return _without_depth(pipeline, name, f'{count} of {period.num_frames}')
    if are_many(count := period.num_without_voxels(name), period.num_frames):
        return _without_voxels(pipeline, name, f'{count} of {period.num_frames}')
    # Of one that is silent, or whose messages are dropped, that is what is said.
    is_there = not period.drops(name).keys() - {Reason.UNSELECTED} and period.num_received(name)
    if is_there and are_many(count := period.num_left_out(name), period.num_frames):
        return _left_out(pipeline, name, f'{count} of {period.num_frames}')
    return ''


def _without_depth(pipeline: Pipeline, name: str, how_many: str) -> str:
    stream, distances = pipeline.streams[name], pipeline.without_depth.distances[name]
    assert isinstance(stream, DepthConfig)
    seen = f', and does it see what {stream.registered} sees, by the pose between them' if stream.registered else ''
    unit = f'{stream.depth_unit:g} m' if stream.depth_unit else "0: the encoding's"
    return (
        f'{how_many} frames have no valid pixel of {name} (in the last one {distances}): is its lens free, and do '
        f'depth_unit ({unit}), min_depth ({stream.min_depth:g} m) and max_depth ({stream.max_depth:g} m) fit{seen}?'
    )


def _without_voxels(pipeline: Pipeline, name: str, how_many: str) -> str:
    measured = 'depth' if isinstance(pipeline.streams[name], DepthConfig) else 'range'
    grid = _grid_of(pipeline, name)
    dropped = pipeline.points_dropped[name] | pipeline.points_dropped[grid]
    lost = {reason: num for reason, num in dropped.items() if num}
    return (
        f'{how_many} frames have no voxel of {name} (points dropped so far: {listed(lost)}): are its points in m, and '
        f'do {grid}.voxel.lower and upper, min_{measured}, max_{measured} and extrinsics fit?'
    )


def _left_out(pipeline: Pipeline, name: str, how_many: str) -> str:
    tolerance_ns, grid = pipeline.streams[name].tolerance_ns, _grid_of(pipeline, name)
    return (
        f'{how_many} frames have no point of {name} in {grid}: none of its messages is within {name}.tolerance '
        f'({tolerance_ns / MS:g} ms); raise it, or, if its clock is off, set {name}.stamp_offset'
    )


def _grid_of(pipeline: Pipeline, name: str) -> str:
    """The grid that a stream is in; itself where it is in none."""
    return next((grid.name for grid in pipeline.config.grids if name in grid.from_), name)
