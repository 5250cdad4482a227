# SPDX-License-Identifier: Apache-2.0
"""Pictures of a frame's voxels: from above, and from behind the robot."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from robocache_core.config import Voxelized
from robocache_core.frame import FusedFrame

NIGHT = '#0b1220'
_FAINT = '#334155'
_PALE = '#94a3b8'
_MOST_CUBES = 30_000
_WIDE = (14.0, 5.6)  # inches
_PITCH = 0.55  # of the eye, rad
_COLOURS = matplotlib.colormaps['turbo']
#: On a dark ground, and apart from each other for who sees no red or green.
_SOURCE_COLOURS = ('#38bdf8', '#fb923c', '#f0abfc', '#a3e635', '#facc15', '#f87171')

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Occupied:
    """The occupied voxels of a grid: ``centre [V, 3]`` x y z, m; ``count [V]`` points; ``size`` x y z, m."""

    centre: Floats
    count: Floats
    size: tuple[float, ...]


def occupied(frame: FusedFrame, config: Voxelized) -> Occupied:
    """Find the occupied voxels of a lidar, a grid or a depth camera in its sparse or dense tensors."""
    grid, channels = config.voxel.grid, list(config.voxel.channels)
    if config.voxel.output == 'sparse':
        zyx = frame.tensors[f'{config.name}.coords'].numpy().astype(np.float64)
        count = frame.tensors[f'{config.name}.counts'].numpy().astype(np.float64)
    else:
        dense = frame.tensors[config.dense_name].numpy()
        # A channel that is positive in every voxel with points; without one, voxels where any channel is not zero.
        sure = next((c for c in ('count', 'occupancy', 'density') if c in channels), None)
        mass = dense[channels.index(sure)] if sure else (dense != 0).any(axis=0)
        index = np.nonzero(mass)
        zyx, count = np.stack(index, axis=1).astype(np.float64), mass[index].astype(np.float64)
    centre = np.asarray(grid.lower) + (zyx[:, ::-1] + 0.5) * np.asarray(grid.size)
    return Occupied(centre, count, grid.size)


def height_range(centre: Floats) -> tuple[float, float]:
    """Heights, m, between which the colours run: those of nearly all voxels."""
    if len(centre) == 0:
        return 0.0, 1.0
    low, high = np.percentile(centre[:, 2], (2, 98))
    return float(low), float(max(high, low + 0.5))


def from_above(voxels: Occupied) -> bytes:
    """A PNG: the topmost voxel of each column by its height, brighter with more points; x ahead is up, y left."""
    reach = _reach(voxels.centre)
    half = int(np.ceil(reach / min(voxels.size[:2])))
    cells = np.full((2 * half, 2 * half, 4), 0.0)
    row = np.floor(half - voxels.centre[:, 0] / voxels.size[0]).astype(int)
    column = np.floor(half - voxels.centre[:, 1] / voxels.size[1]).astype(int)
    inside = (row >= 0) & (row < 2 * half) & (column >= 0) & (column < 2 * half)
    order = np.argsort(voxels.centre[inside, 2])  # the topmost is painted last
    points_in_column = np.zeros((2 * half, 2 * half))
    np.add.at(points_in_column, (row[inside], column[inside]), voxels.count[inside])
    colours = _colours(voxels.centre[inside, 2], height_range(voxels.centre))
    row, column = row[inside][order], column[inside][order]
    cells[row, column] = colours[order]
    cells[..., 3] = np.where(points_in_column > 0, 0.35 + 0.65 * _share(np.log1p(points_in_column)), 0.0)

    figure = Figure(figsize=(7.4, 7.4), dpi=150, facecolor=NIGHT)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0), facecolor=NIGHT)
    edge = half * voxels.size[0]
    axes.imshow(cells, extent=(edge, -edge, -edge, edge), interpolation='nearest', zorder=2)
    angle = np.linspace(0, 2 * np.pi, 361)
    step = _ring_step(reach)
    for radius in np.arange(step, 1.45 * reach, step):
        axes.plot(radius * np.cos(angle), radius * np.sin(angle), color=_FAINT, linewidth=0.8, zorder=1)
        if radius < reach:
            axes.text(-radius * 0.7071, radius * 0.7071, f'{radius:g} m', color=_PALE, fontsize=9, zorder=4,
                      path_effects=[withStroke(linewidth=3, foreground=NIGHT)])  # fmt: skip
    axes.plot([0], [0], marker=(3, 0, 0), markersize=13, color='white', zorder=5)
    axes.set(xlim=(reach, -reach), ylim=(-reach, reach))
    axes.set_axis_off()
    return _png(figure)


def source_colours(names: Collection[str]) -> list[str]:
    """The colours of so many sources, in their order."""
    return [_SOURCE_COLOURS[number % len(_SOURCE_COLOURS)] for number in range(len(names))]


def by_source(clouds: Mapping[str, Occupied]) -> bytes:
    """A PNG: the columns of each source in its colour, which shine through each other; x ahead is up, y left."""
    figure = Figure(figsize=(7.4, 7.4), dpi=150, facecolor=NIGHT)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0), facecolor=NIGHT)
    reach = _reach(np.concatenate([cloud.centre for cloud in clouds.values()]))
    for cloud, colour in zip(clouds.values(), source_colours(clouds), strict=True):
        columns = np.unique(cloud.centre[:, :2], axis=0)
        half = 0.5 * np.asarray(cloud.size[:2])
        corners = columns[:, None, :] + half * np.array([(-1, -1), (-1, 1), (1, 1), (1, -1)])
        axes.add_collection(
            PolyCollection(list(corners[..., ::-1]), facecolors=colour, alpha=0.6, linewidths=0, antialiaseds=False)
        )
    axes.plot([0], [0], marker=(3, 0, 0), markersize=13, color='white', zorder=5)
    axes.set(xlim=(reach, -reach), ylim=(-reach, reach))
    axes.set_axis_off()
    return _png(figure)


def from_behind(clouds: list[Occupied]) -> bytes:
    """A PNG: all voxels as cubes in perspective, seen from behind and above the robot."""
    figure = Figure(figsize=_WIDE, dpi=110, facecolor=NIGHT)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0), facecolor=NIGHT)
    centre = np.concatenate([voxels.centre for voxels in clouds])
    size = np.concatenate([np.broadcast_to(voxels.size, voxels.centre.shape) for voxels in clouds])
    reach, heights = _reach(centre), height_range(centre)
    eye = np.array([-1.25 * reach, 0.0, heights[0] + 0.8 * reach])
    distance = np.linalg.norm(centre - eye, axis=1)
    near = np.argsort(distance)[:_MOST_CUBES][::-1]  # the nearest are painted last
    centre, size, distance = centre[near], size[near], distance[near]
    colours = _colours(centre[:, 2], heights)
    colours[:, :3] *= np.clip(1.3 - 0.3 * distance / (1.25 * reach), 0.45, 1.0)[:, None]
    quads, shades = _faces(centre, size, eye)
    ahead, across, up = _project(quads.reshape(-1, 3), eye, _PITCH)
    seen = (ahead.reshape(-1, 4) > 1.0).all(axis=1)
    painted = np.repeat(colours, len(shades), axis=0)
    painted[:, :3] *= np.tile(shades, len(centre))[:, None]
    polygons = np.stack([across, up], axis=1).reshape(-1, 4, 2)[seen]
    axes.add_collection(PolyCollection(list(polygons), facecolors=painted[seen], linewidths=0, antialiaseds=False))
    _, robot_across, robot_up = _project(np.array([[0.0, 0.0, heights[0]]]), eye, _PITCH)
    axes.plot(robot_across, robot_up, marker='^', markersize=11, color='white', markeredgecolor=NIGHT)
    left, right, low, high = _framing(polygons)
    axes.set(xlim=(left, right), ylim=(low, high))
    axes.set_axis_off()
    return _png(figure)


def _framing(polygons: Floats) -> tuple[float, float, float, float]:
    """Left, right, low and high limits, in the picture's proportions, that hold nearly all ``[N, 4, 2]`` polygons."""
    if len(polygons) == 0:
        return -1.0, 1.0, -0.5, 0.5
    lower, upper = np.percentile(polygons.reshape(-1, 2), (1, 99), axis=0)
    middle, aspect = (lower + upper) / 2, _WIDE[0] / _WIDE[1]
    half = 0.54 * max(upper[0] - lower[0], (upper[1] - lower[1]) * aspect)
    return middle[0] - half, middle[0] + half, middle[1] - half / aspect, middle[1] + half / aspect


def _faces(centre: Floats, size: Floats, eye: Floats) -> tuple[Floats, Floats]:
    """The faces of each cube that the eye sees: ``[V * 3, 4, 3]`` corners (side, front, top), and their 3 shades."""
    half = 0.46 * size  # a small gap separates neighbours
    toward = np.sign(eye - centre)
    faces = []
    for axis, (a, b) in ((1, (0, 2)), (0, (1, 2)), (2, (0, 1))):
        corners = np.repeat(centre[:, None, :], 4, axis=1)
        corners[:, :, axis] += (toward[:, axis] * half[:, axis])[:, None]
        corners[:, :, a] += half[:, a, None] * np.array([-1, 1, 1, -1])
        corners[:, :, b] += half[:, b, None] * np.array([-1, -1, 1, 1])
        faces.append(corners)
    return np.stack(faces, axis=1).reshape(-1, 4, 3), np.array([0.62, 0.8, 1.0])


def _project(points: Floats, eye: Floats, pitch: float) -> tuple[Floats, Floats, Floats]:
    """Distance ahead, m, and image plane coordinates (to the right, up; 1 is 45 degrees), looking along x, down."""
    x, y, z = (points - eye).T
    ahead = x * np.cos(pitch) - z * np.sin(pitch)
    depth = np.maximum(ahead, 1e-6)
    return ahead, -y / depth, (x * np.sin(pitch) + z * np.cos(pitch)) / depth


def _reach(centre: Floats) -> float:
    """Distance, m, within which most voxels are."""
    if len(centre) == 0:
        return 10.0
    return float(max(5.0, 1.04 * np.percentile(np.abs(centre[:, :2]).max(axis=1), 98)))


def _ring_step(reach: float) -> float:
    return next((step for step in (2.0, 5.0, 10.0, 20.0, 50.0) if reach / step <= 5), 100.0)


def _colours(height: Floats, heights: tuple[float, float]) -> Floats:
    low, high = heights
    return np.asarray(_COLOURS(0.08 + 0.84 * np.clip((height - low) / (high - low), 0, 1)), np.float64)


def _share(values: Floats) -> Floats:
    return values / max(float(values.max(initial=0.0)), 1e-9)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', facecolor=figure.get_facecolor())
    return buffer.getvalue()
