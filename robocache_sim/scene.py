# SPDX-License-Identifier: Apache-2.0
"""A world of known geometry, boxes on a ground plane, and the ray caster that every simulated sensor uses.

All coordinates are metres in ``map``: z up, the ground at z = 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]

#: Components x, y, z of one vector a ray, each broadcastable to ``[rows, columns]``.
Components = tuple[FloatArray, FloatArray, FloatArray]

#: Edge of the checkers that cover every surface, m.
CHECKER_SIZE = 1.0

#: The checkers fill space, with seams at whole metres + this: no face of the scene is on one, so none flickers.
CHECKER_SEAM = 0.55

#: Surfaces that fit the face codes into a byte (three axes, two checker tones).
MAX_SURFACES = 42


@dataclass(frozen=True)
class Box:
    """An axis-aligned solid from ``lower`` to ``upper`` (x, y, z), m; ``color`` is blue, green, red, 0 to 1."""

    name: str
    lower: tuple[float, float, float]
    upper: tuple[float, float, float]
    color: tuple[float, float, float]


@dataclass(frozen=True)
class Hits:
    """The first surface that each ray of a cast meets.

    Attributes:
        distance: ``[rows, columns]``, in lengths of the ray's direction; inf where it meets nothing.
        face: ``[rows, columns] uint8``, ``3 * surface + axis``: surface 0 is the ground and 1 + i the i-th box; axis
            0, 1, 2 is that of the face's normal. Meaningless where the distance is inf.
    """

    distance: FloatArray
    face: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Scene:
    """The ground plane z = 0 and ``boxes`` upon it."""

    boxes: tuple[Box, ...]
    ground_color: tuple[float, float, float] = (0.45, 0.5, 0.5)

    def __post_init__(self) -> None:
        if len(self.boxes) >= MAX_SURFACES:
            raise ValueError(f'boxes: {len(self.boxes)} given, must be fewer than {MAX_SURFACES}')

    def cast(self, origin: Components, direction: Components) -> Hits:
        """Follow rays from ``origin`` along ``direction`` (any length but 0) to the first surface.

        Origins must be outside the boxes and above the ground. The arithmetic is in the type of the arrays.
        Where x and y are the same in all rows of a column, as every level sensor's are, give them as ``[1, columns]``:
        much is then done once a column.
        """
        ox, oy, oz = origin
        # A direction of exactly 0 would make 0/0 at a face's own plane.
        dx, dy, dz = (np.where(np.abs(d) < 1e-12, d.dtype.type(1e-12), d) for d in direction)
        inverse = (1 / dx, 1 / dy, 1 / dz)
        rows, columns = np.broadcast_shapes(*(c.shape for c in (*origin, *direction)))

        to_ground = np.where(dz < 0, -oz * inverse[2], np.inf)
        distance = np.array(np.broadcast_to(to_ground, (rows, columns)))
        face = np.full((rows, columns), 2, np.uint8)
        for number, box in enumerate(self.boxes, start=1):
            enter_x, leave_x = _slab(ox, inverse[0], box.lower[0], box.upper[0])
            enter_y, leave_y = _slab(oy, inverse[1], box.lower[1], box.upper[1])
            enter_side, leave_side = np.maximum(enter_x, enter_y), np.minimum(leave_x, leave_y)
            side = np.where(enter_x > enter_y, 3 * number, 3 * number + 1).astype(np.uint8)

            # Only the columns from the first to the last that meets the box, seen from above, are looked at further.
            met = np.flatnonzero(np.any((enter_side < leave_side) & (leave_side > 0), axis=0))
            if not met.size:
                continue
            span = slice(met[0], met[-1] + 1) if enter_side.shape[1] == columns else slice(None)
            enter_z, leave_z = _slab(oz, inverse[2], box.lower[2], box.upper[2])
            enter_side, leave_side, enter_z, leave_z = (
                a[:, span] if a.shape[1] == columns else a for a in (enter_side, leave_side, enter_z, leave_z)
            )
            enter = np.maximum(enter_side, enter_z)
            nearest, code = distance[:, span], face[:, span]
            hit = (enter < np.minimum(leave_side, leave_z)) & (enter > 0) & (enter < nearest)
            np.copyto(nearest, enter, where=hit)
            np.copyto(code, side[:, span], where=hit)
            np.copyto(code, np.uint8(3 * number + 2), where=hit & (enter_z > enter_side))
        return Hits(distance, face)

    def distance_to_surface(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Distance of each of ``points [..., 3]`` to the nearest surface, ``[...]``, m, never negative."""
        nearest = np.abs(points[..., 2])
        for box in self.boxes:
            beyond = np.maximum(np.asarray(box.lower) - points, points - np.asarray(box.upper))
            outside = np.linalg.norm(np.maximum(beyond, 0), axis=-1)
            inside = -np.minimum(beyond.max(axis=-1), 0)
            nearest = np.minimum(nearest, outside + inside)
        return np.asarray(nearest)

    def palette(self) -> npt.NDArray[np.uint8]:
        """Colour of each face code in each tone: ``[2 * 3 * surfaces, 3] uint8`` (blue, green, red), tone slowest."""
        colors = np.array([self.ground_color, *(box.color for box in self.boxes)])
        shade = np.array([0.7, 0.85, 1.0])  # by the face's axis, as if lit from above
        tone = np.array([0.6, 1.0])
        shaded = tone[:, None, None, None] * shade[None, None, :, None] * colors[None, :, None, :]
        colors_8bit: npt.NDArray[np.uint8] = np.rint(255 * shaded).astype(np.uint8)
        return colors_8bit.reshape(-1, 3)

    def tinted(self, hits: Hits, origin: Components, direction: Components) -> npt.NDArray[np.uint8]:
        """Row of ``palette`` that each ray sees, ``[rows, columns] uint8``; meaningless where it meets nothing."""
        distance = np.minimum(hits.distance, 1e4)  # finite, and small enough for an int32
        cells = np.zeros_like(distance)
        at = np.empty_like(distance)
        for o, d in zip(origin, direction, strict=True):
            np.multiply(distance, d / CHECKER_SIZE, out=at)
            at += (o - CHECKER_SEAM) / CHECKER_SIZE
            cells += np.floor(at, out=at)
        tone: npt.NDArray[np.uint8] = (cells.astype(np.int32) & 1).astype(np.uint8)
        tone *= np.uint8(3 * (1 + len(self.boxes)))
        return np.add(hits.face, tone, dtype=np.uint8)


def _slab(origin: FloatArray, inverse: FloatArray, lower: float, upper: float) -> tuple[FloatArray, FloatArray]:
    """Where rays enter and leave the space between two planes across one axis."""
    a, b = (lower - origin) * inverse, (upper - origin) * inverse
    return np.minimum(a, b), np.maximum(a, b)


def rotate(rotation: npt.NDArray[np.float64], vector: Components) -> Components:
    """``rotation [..., 3, 3]`` times a vector in components; a component that is not needed is not broadcast."""
    rows = []
    for i in range(3):
        factors = [(rotation[..., i, k], vector[k]) for k in range(3)]
        first, *rest = [factor * component for factor, component in factors if np.any(factor)]
        rows.append(sum(rest, start=first))
    return rows[0], rows[1], rows[2]


def courtyard() -> Scene:
    """A walled yard, 24 m by 16 m inside, open above; crates, a hedge and pillars, no two sides of it alike.

    The ring between 3.4 m and 5.6 m from the origin is free for the robot. Faces are at whole decimetres.
    """
    brick, plaster, wood, steel, hedge = (
        (0.35, 0.45, 0.8), (0.75, 0.85, 0.9), (0.3, 0.55, 0.75), (0.8, 0.65, 0.5), (0.35, 0.7, 0.35))  # fmt: skip
    return Scene((
        Box('wall_east', (12.0, -8.3, 0.0), (12.3, 8.3, 3.0), brick),
        Box('wall_west', (-12.3, -8.3, 0.0), (-12.0, 8.3, 3.0), brick),
        Box('wall_north', (-12.0, 8.0, 0.0), (12.0, 8.3, 3.0), plaster),
        Box('wall_south', (-12.0, -8.3, 0.0), (12.0, -8.0, 3.0), plaster),
        Box('kiosk', (-1.2, -0.8, 0.0), (1.4, 1.0, 2.2), wood),
        Box('crate_low', (7.2, -6.4, 0.0), (9.0, -4.8, 0.8), wood),
        Box('crate_high', (9.0, -6.4, 0.0), (10.2, -5.2, 1.6), wood),
        Box('hedge', (-9.4, 6.0, 0.0), (-4.2, 6.8, 1.2), hedge),
        Box('container', (-10.8, -5.2, 0.0), (-8.4, 0.6, 2.6), steel),
        Box('pillar_a', (7.0, 0.0, 0.0), (7.4, 0.4, 3.4), plaster),
        Box('pillar_b', (7.0, 3.0, 0.0), (7.4, 3.4, 3.4), plaster),
        Box('pillar_c', (7.0, 6.0, 0.0), (7.4, 6.4, 3.4), plaster),
        Box('bench', (-2.4, -7.4, 0.0), (0.6, -6.8, 0.5), steel),
    ))  # fmt: skip
