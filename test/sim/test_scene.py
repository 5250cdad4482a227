# SPDX-License-Identifier: Apache-2.0
"""The simulated world, against arithmetic that is written down by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robocache_sim.scene import CHECKER_SEAM, CHECKER_SIZE, Box, Scene, courtyard, rotate
from robocache_sim.sensors import START_NS
from robocache_sim.trajectory import Pose, Trajectory

ONE_BOX = Scene((Box('box', (2.0, -1.0, 0.0), (4.0, 1.0, 2.0), (1.0, 1.0, 1.0)),))


def one_ray(scene: Scene, origin: tuple[float, float, float], direction: tuple[float, float, float]):
    """Distance and (surface, axis of the normal) of a single ray."""
    hits = scene.cast(*[tuple(np.full((1, 1), float(value)) for value in vector) for vector in (origin, direction)])
    return hits.distance[0, 0], divmod(int(hits.face[0, 0]), 3)


@pytest.mark.parametrize(
    ('origin', 'direction', 'distance', 'face'),
    [
        ((0, 0, 1), (1, 0, 0), 2.0, (1, 0)),  # the near side
        ((0, 0, 1), (2, 0, 0), 1.0, (1, 0)),  # in lengths of the direction
        ((5, 0, 1), (-1, 0, 0), 1.0, (1, 0)),  # the far side
        ((3, 3, 1), (0, -1, 0), 2.0, (1, 1)),
        ((3, 0, 5), (0, 0, -1), 3.0, (1, 2)),  # the top
        ((0, 0, 3), (1, 0, -0.5), 2.0, (1, 0)),  # meets the top's edge from the side
        ((0, 0, 3), (1, 0, -0.4), 2.5, (1, 2)),  # over the edge, onto the top
        ((0, 0, 1), (1, 0, -1), 1.0, (0, 2)),  # the ground comes first
        ((0, 0, 1), (0, 0, -1), 1.0, (0, 2)),
        ((2, 5, 1), (0, -1, 0), 4.0, (1, 1)),  # in the plane of a face: no 0/0
    ],
)
def test_ray_meets_the_nearest_surface(origin, direction, distance, face):
    got, got_face = one_ray(ONE_BOX, origin, direction)
    assert got == pytest.approx(distance, abs=1e-9)
    assert got_face == face


@pytest.mark.parametrize('direction', [(-1, 0, 0), (0, 0, 1), (1, 0, 0.6), (1, 2, 0)])
def test_ray_that_meets_nothing_is_infinite(direction):
    assert one_ray(ONE_BOX, (0, 0, 1), direction)[0] == math.inf


def test_unbroadcast_components_give_the_same_hits():
    rng = np.random.default_rng(1)
    scene = courtyard()
    x, y, z = rng.normal(size=(1, 300)), rng.normal(size=(1, 300)), rng.uniform(-0.6, 0.6, (40, 1))
    origin = (np.linspace(-1, 1, 300)[None, :], np.full((1, 300), -4.5), np.full((1, 1), 1.3))
    lean = scene.cast(origin, (x, y, z))
    full = scene.cast(
        tuple(np.broadcast_to(c, (40, 300)) for c in origin), tuple(np.broadcast_to(c, (40, 300)) for c in (x, y, z))
    )
    np.testing.assert_array_equal(lean.distance, full.distance)
    met = np.isfinite(lean.distance)
    assert 0.5 < met.mean() < 1
    np.testing.assert_array_equal(lean.face[met], full.face[met])


def test_hits_lie_on_surfaces_and_nothing_lies_before_them():
    rng = np.random.default_rng(2)
    scene = courtyard()
    direction = tuple(rng.normal(size=(3, 50, 50)))
    origin = tuple(np.full((1, 1), value) for value in (0.0, -4.5, 1.3))
    hits = scene.cast(origin, direction)
    met = np.isfinite(hits.distance)
    ends = np.stack([o + hits.distance * d for o, d in zip(origin, direction, strict=True)], -1)[met]
    assert scene.distance_to_surface(ends).max() < 1e-9
    # Walk along each ray: with no surface before its end, no sample may be inside a box.
    for part in np.linspace(0.02, 0.98, 25):
        points = np.stack([o + part * hits.distance * d for o, d in zip(origin, direction, strict=True)], -1)[met]
        assert points[:, 2].min() > 0
        for box in scene.boxes:
            within = np.all((points > np.add(box.lower, 1e-9)) & (points < np.subtract(box.upper, 1e-9)), axis=-1)
            assert not within.any(), box.name


def test_distance_to_surface():
    points = np.array([[0, 0, 5], [3, 0, 1.9], [3, 0, 2.5], [5, 2, 1], [0, 0, 0.2]], float)
    np.testing.assert_allclose(ONE_BOX.distance_to_surface(points), [math.hypot(2, 3), 0.1, 0.5, 1.0, 0.2])


def test_no_face_lies_on_a_seam_of_the_checkers():
    scene = courtyard()
    faces = np.array([[box.lower, box.upper] for box in scene.boxes]).reshape(-1)
    offset = np.mod(faces - CHECKER_SEAM + CHECKER_SIZE / 2, CHECKER_SIZE) - CHECKER_SIZE / 2
    assert np.abs(offset).min() > 0.01


def test_colors_are_a_checkerboard():
    scene = Scene((), ground_color=(1.0, 1.0, 1.0))
    cells = CHECKER_SEAM + (np.arange(6) + 0.5) * CHECKER_SIZE
    origin = (cells[None, :], cells[:, None], np.ones((1, 1)))
    down = (np.zeros((1, 1)), np.zeros((1, 1)), np.full((1, 1), -1.0))
    tint = scene.tinted(scene.cast(origin, down), origin, down)
    brightness = scene.palette()[tint][..., 0]
    assert set(np.unique(brightness)) == {153, 255}
    even = np.add.outer(np.arange(6), np.arange(6)) % 2 == 0
    assert len(np.unique(brightness[even])) == len(np.unique(brightness[~even])) == 1


def test_too_many_boxes_are_refused():
    with pytest.raises(ValueError, match='boxes: 42 given'):
        Scene(ONE_BOX.boxes * 42)


def test_robot_keeps_clear_of_everything():
    stamps_ns = START_NS + np.arange(0, 60_000, 50, dtype=np.int64) * 1_000_000
    position = Trajectory(START_NS, 1.5, 0.0).at(stamps_ns).position
    assert np.ptp(position[:, 0]) > 8.9  # the whole circle was driven
    assert courtyard().distance_to_surface(np.add(position, [0, 0, 1.3])).min() > 0.9


def test_rotate_is_the_matrix_product_and_stays_lean():
    rng = np.random.default_rng(4)
    vector = (rng.normal(size=(1, 7)), rng.normal(size=(1, 7)), rng.normal(size=(5, 1)))
    rotation = Pose.planar(np.zeros((7, 3)), rng.normal(size=7)).rotation
    got = rotate(rotation, vector)
    assert got[0].shape == got[1].shape == (1, 7)  # z has no part in them
    full = np.stack([np.broadcast_to(c, (5, 7)) for c in vector], -1)
    want = (rotation @ full[..., None])[..., 0]
    np.testing.assert_allclose(np.stack([np.broadcast_to(c, (5, 7)) for c in got], -1), want)
