# SPDX-License-Identifier: Apache-2.0
"""Points in images against cv2.projectPoints and cv2.fisheye, and against the rays of pixels."""

import cv2
import numpy as np
import pytest
from support.cameras import HEIGHT, MODELS, WIDTH, K, P, R, make_info

from robocache_core.frame import CameraView
from robocache_core.projection import project
from robocache_core.rays import rays_of
from robocache_core.rectify import result_info

POSE = np.eye(4)
POSE[:3, :3] = cv2.Rodrigues(np.array([0.3, -1.2, 0.4]))[0]
POSE[:3, 3] = 1.0, -2.0, 0.5
POINTS = np.random.default_rng(0).uniform(-10, 10, (20_000, 3))


def by_opencv(points, matrix, info, turn=None):
    """Pixels ``[N, 2]`` of points in front of the camera."""
    turned = (np.eye(3) if turn is None else turn) @ POSE[:3, :3].T
    vectors = cv2.Rodrigues(turned)[0], -turned @ POSE[:3, 3]
    if info is None:
        return cv2.projectPoints(points, *vectors, matrix, None)[0][:, 0]
    library = cv2.fisheye if info.distortion_model == 'equidistant' else cv2
    return library.projectPoints(points[:, None], *vectors, matrix, np.array(info.d))[0][:, 0]


def inside(pixels, width, height):
    return (pixels >= -0.5).all(axis=1) & (pixels[:, 0] < width - 0.5) & (pixels[:, 1] < height - 0.5)


def within_sight(points):
    """Those near enough to the optical axis for no model to fold."""
    x, y, z = ((points - POSE[:3, 3]) @ POSE[:3, :3]).T
    return np.flatnonzero((z > 0) & (np.hypot(x, y) < 1.1 * z))


@pytest.mark.parametrize('model', MODELS)
def test_points_are_where_opencv_has_them(model):
    info = make_info(model)
    found = project(POINTS, POSE, CameraView('front', info))
    np.testing.assert_allclose(found.pixels, by_opencv(POINTS[found.index], K, info), atol=1e-9, rtol=0)
    candidates = within_sight(POINTS)
    shown = candidates[inside(by_opencv(POINTS[candidates], K, info), WIDTH, HEIGHT)]
    assert len(shown) > 1000
    assert set(shown) == set(found.index) & set(candidates)
    depth = ((POINTS[found.index] - POSE[:3, 3]) @ POSE[:3, :3])[:, 2]
    np.testing.assert_allclose(found.depth, depth, atol=1e-12, rtol=0)


@pytest.mark.parametrize(('out_width', 'out_height'), [(WIDTH, HEIGHT), (160, 100), (97, 61)])
def test_a_rectified_image_is_turned_and_resized(out_width, out_height):
    size = {'width': WIDTH, 'height': HEIGHT, 'out_width': out_width, 'out_height': out_height}
    info = make_info()
    view = CameraView('front', result_info(info, **size, letterbox=False, rectified=True), info.r)
    found = project(POINTS, POSE, view)
    sx, sy = out_width / WIDTH, out_height / HEIGHT
    resized = np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]]) @ P[:, :3]
    assert len(found.index) > 1000
    np.testing.assert_allclose(found.pixels, by_opencv(POINTS[found.index], resized, None, R), atol=1e-9, rtol=0)


@pytest.mark.parametrize('model', MODELS)
def test_the_point_that_a_pixel_sees_is_in_that_pixel(model):
    """The inverse, by another search; with skew."""
    info = make_info(model, k=(210, 3.0, 163.4, 0, 205.5, 97.2, 0, 0, 1))
    rays = rays_of(info, width=WIDTH, height=HEIGHT).numpy().reshape(-1, 3).astype(np.float64)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    found = project(7.0 * rays, np.eye(4), CameraView('front', info))
    assert len(found.index) > 0.9 * len(rays)
    np.testing.assert_allclose(found.pixels[:, 0], x.reshape(-1)[found.index], atol=1e-3)
    np.testing.assert_allclose(found.pixels[:, 1], y.reshape(-1)[found.index], atol=1e-3)


def test_what_the_camera_cannot_see_is_in_no_image():
    """Behind it, beside it, not a number; and far aside, where the model of the lens folds back into the image."""
    info = make_info()
    folded = np.array([4.5, 0.0, 2.0])
    bent = by_opencv((folded @ POSE[:3, :3].T + POSE[:3, 3])[None], K, info)
    assert inside(bent, WIDTH, HEIGHT).all(), 'the polynomial alone would show it'
    points = np.array([[0, 0, 2.0], [0, 0, -2.0], [9.0, 0, 1e-9], [np.nan, 0, 1], [np.inf, 0, np.inf], folded])
    assert project(points, np.eye(4), CameraView('front', info)).index.tolist() == [0]
    assert project(np.zeros((0, 3)), np.eye(4), CameraView('front', info)).pixels.shape == (0, 2)


def test_an_image_without_a_calibration_is_refused():
    with pytest.raises(ValueError, match="'front': has no calibration"):
        project(POINTS, POSE, CameraView('front', None))
