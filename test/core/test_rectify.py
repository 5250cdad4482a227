# SPDX-License-Identifier: Apache-2.0
"""Maps against cv2.initUndistortRectifyMap and cv2.fisheye, rectified images against cv2.remap."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from support.cameras import HEIGHT, MODELS, WIDTH, K, P, R, make_info, make_map, smooth_image

from robocache_core import ops
from robocache_core.ops.image import image_region
from robocache_core.rectify import rectify_map, result_info
from robocache_core.samples import CameraInfo, DataError


def by_opencv(info: CameraInfo, width: int, height: int, projection: np.ndarray) -> np.ndarray:
    d, r = np.array(info.d), np.array(info.r).reshape(3, 3)
    if info.distortion_model == 'equidistant':
        maps = cv2.fisheye.initUndistortRectifyMap(K, d, r, projection, (width, height), cv2.CV_32FC1)
    else:
        maps = cv2.initUndistortRectifyMap(K, d, r, projection, (width, height), cv2.CV_32FC1)
    return np.stack(maps, axis=-1)


# --- the map. OpenCV's is float32 of double arithmetic as ours is: a few units in the last place of 512 px


@pytest.mark.parametrize('model', MODELS)
def test_the_map_is_opencv_s(model):
    info = make_info(model)
    np.testing.assert_allclose(make_map(info), by_opencv(info, WIDTH, HEIGHT, P[:, :3]), atol=1e-4, rtol=0)


@pytest.mark.parametrize('model', MODELS)
def test_skew_is_taken(model):
    """The image of a sheared sensor is that of a straight one, sheared; OpenCV has no skew in its maps."""
    straight, x_and_y = (
        make_map(make_info(model)),
        make_map(make_info(model, k=(210, 3.0, 163.4, 0, 205.5, 97.2, 0, 0, 1))),
    )
    expected = straight[..., 0] + 3.0 * (straight[..., 1] - 97.2) / 205.5
    np.testing.assert_allclose(x_and_y[..., 0], expected, atol=1e-3, rtol=0)
    np.testing.assert_array_equal(x_and_y[..., 1], straight[..., 1])


@pytest.mark.parametrize('model', MODELS)
@pytest.mark.parametrize(('out_width', 'out_height'), [(160, 100), (97, 61), (640, 300)])
def test_resizing_is_in_the_map(model, out_width, out_height):
    """Pixel centres lie at half pixels, so that resizing moves the principal point by more than its scale."""
    info = make_info(model)
    sx, sy = out_width / WIDTH, out_height / HEIGHT
    scaled = np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]]) @ P[:, :3]
    expected = by_opencv(info, out_width, out_height, scaled)
    np.testing.assert_allclose(make_map(info, out_width, out_height), expected, atol=1e-4, rtol=0)


def test_letterbox_is_in_the_map():
    info = make_info()
    result = make_map(info, 160, 160, letterbox=True)
    assert np.isnan(result[:30]).all()
    assert np.isnan(result[130:]).all()
    np.testing.assert_array_equal(result[30:130], make_map(info, 160, 100))


@pytest.mark.parametrize('model', MODELS)
def test_an_image_that_was_scaled(model):
    """A driver that halves the image and publishes the calibration of the whole: points lie at half, from corners."""
    info = make_info(model)
    half = make_map(info, width=WIDTH // 2, height=HEIGHT // 2)
    np.testing.assert_allclose(half, (make_map(info) + 0.5) / 2 - 0.5, atol=1e-4, rtol=0)


def test_no_distortion_and_no_rotation_is_the_image_itself():
    identity = tuple(np.eye(3).reshape(-1))
    info = make_info(distortion_model='', d=(), r=identity, p=tuple(np.hstack([K, np.zeros((3, 1))]).reshape(-1)))
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    np.testing.assert_allclose(make_map(info), np.stack([x, y], axis=-1), atol=2e-5)


def test_what_lies_behind_the_camera_is_padding():
    turned = cv2.Rodrigues(np.array([0.0, math.pi / 2, 0.0]))[0]
    behind = np.isnan(make_map(make_info(r=tuple(turned.reshape(-1)), d=())))
    assert behind.any()
    assert not behind.all()


@pytest.mark.parametrize('angle', [1e-9, 1e-3, 0.5, 1.0, 1.4, 1.55])
def test_the_arc_tangent(angle):
    """An equidistant lens without coefficients shows a ray at its angle; no library function says so."""
    info = make_info('equidistant', d=(0.0,) * 4, k=(1.0, 0, 0, 0, 1.0, 0, 0, 0, 1), r=tuple(np.eye(3).reshape(-1)),
                     p=(1.0, 0, -math.tan(angle), 0, 0, 1.0, 0, 0, 0, 0, 1, 0), width=1, height=1)  # fmt: skip
    assert make_map(info, 1, 1, width=1, height=1)[0, 0, 0] == pytest.approx(angle, rel=1e-7)


# --- the image. cv2.remap rounds coordinates to 1/32 px, so results differ by a 64th of a pixel's slope in x and in y:
# below 9 steps a pixel, and half a step of rounding


@pytest.mark.usefixtures('each_backend')
class TestRectifiedImage:
    @pytest.mark.parametrize('model', MODELS)
    def test_is_that_of_remap(self, model):
        image, info = smooth_image(), make_info(model)
        rectify = make_map(info, 160, 100)
        result = ops.prepare_image(
            torch.from_numpy(image.reshape(-1)), encoding='bgr8', width=WIDTH, height=HEIGHT, step=3 * WIDTH,
            out_width=160, out_height=100, rectify=torch.from_numpy(rectify), pad=7.0,
        ).numpy()  # fmt: skip
        x, y = rectify[..., 0], rectify[..., 1]
        expected = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[..., ::-1]
        inside = (x >= -0.5) & (x < WIDTH - 0.5) & (y >= -0.5) & (y < HEIGHT - 0.5)
        assert inside.mean() > 0.5
        difference = np.abs(result - expected.transpose(2, 0, 1))
        assert difference[:, inside].max() < 0.5 + 2 * 9 / 64
        assert (result[:, ~inside] == 7).all()

    def test_nearest_is_that_of_the_rounded_map(self):
        image, rectify = smooth_image(), make_map(make_info())
        result = ops.prepare_image(
            torch.from_numpy(image.reshape(-1)), encoding='rgb8', width=WIDTH, height=HEIGHT, step=3 * WIDTH,
            out_width=WIDTH, out_height=HEIGHT, rectify=torch.from_numpy(rectify), resize='nearest', pad=7.0,
        ).numpy()  # fmt: skip
        x, y = np.floor(rectify + 0.5).astype(int).transpose(2, 0, 1)
        inside = (x >= 0) & (x < WIDTH) & (y >= 0) & (y < HEIGHT)
        expected = image[y.clip(0, HEIGHT - 1), x.clip(0, WIDTH - 1)].transpose(2, 0, 1)
        assert (result == np.where(inside, expected, 7)).all()

    def test_a_map_of_whole_pixels_is_a_look_up(self):
        image = smooth_image(5, 4)
        rectify = torch.tensor([[[4.0, 3.0], [0.0, 0.0], [-0.5, -0.5]], [[4.49, 0.0], [4.5, 0.0], [math.nan, 0.0]]])
        result = ops.prepare_image(
            torch.from_numpy(image.reshape(-1)), encoding='rgb8', width=5, height=4, step=15,
            out_width=3, out_height=2, rectify=rectify, pad=-1.0,
        ).numpy()  # fmt: skip
        for c in range(3):
            expected = [[image[3, 4, c], image[0, 0, c], image[0, 0, c]], [image[0, 4, c], -1, -1]]
            assert result[c].tolist() == expected


@pytest.mark.parametrize(
    ('changes', 'error', 'message'),
    [
        ({'resize': 'area'}, ValueError, "resize = 'area': must be bilinear or nearest with rectify"),
        ({'rectify': torch.zeros(3, 4, 2)}, ValueError, r'rectify has shape \(3, 4, 2\): must be \(2, 4, 2\)'),
        ({'rectify': torch.zeros(2, 4, 2, dtype=torch.float64)}, TypeError, 'rectify is torch.float64'),
        ({'rectify': torch.zeros(4, 2, 2).transpose(0, 1)}, ValueError, 'rectify has strides'),
    ],
)
def test_maps_that_are_not_allowed(changes, error, message):
    good = {'encoding': 'mono8', 'width': 3, 'height': 3, 'step': 3, 'out_width': 4, 'out_height': 2}
    with pytest.raises(error, match=message):
        ops.prepare_image(torch.zeros(9, dtype=torch.uint8), **{**good, 'rectify': torch.zeros(2, 4, 2), **changes})


# --- what is refused


@pytest.mark.parametrize(
    ('changes', 'reason', 'message'),
    [
        ({'k': (0.0,) * 9}, 'bad_camera_info', 'not calibrated'),
        ({'width': 0}, 'bad_camera_info', '0 x 200 pixels'),
        ({'d': (math.nan,) * 5}, 'bad_camera_info', 'must be finite'),
        ({'distortion_model': 'kannala'}, 'bad_camera_info', "'kannala': must be one of plumb_bob"),
        ({'distortion_model': ''}, 'bad_camera_info', "''"),
        ({'d': (0.1, 0.2, 0.3)}, 'bad_camera_info', 'D has 3 elements: plumb_bob has 0 or 4 or 5'),
        ({'k': tuple(K.T.reshape(-1))}, 'bad_camera_info', 'element 6 is 163.4, must be 0, by rows'),
        ({'k': (210.0, 0, 163.4, 0, 205.5, 97.2, 0, 0, 0)}, 'bad_camera_info', 'element 8 is 0, must be 1'),
        ({'k': (210.0, 0, 163.4, 9e99, 205.5, 97.2, 0, 0, 1)}, 'bad_camera_info', 'element 3 is 9e.99, must be 0'),
        ({'k': (210.0, 4e7, 163.4, 0, 205.5, 97.2, 0, 0, 1)}, 'bad_camera_info', 'the skew, is greater'),
        (
            {'d': (-3100.0, 1100.0, 0, 0, -18.0)},
            'bad_camera_info',
            '9[0-9.]+ % .* would be padding',
        ),
        ({'d': (1e200, 1e200, 0, 0, 0)}, 'bad_camera_info', '[0-9.]+ % .* would be padding'),
        ({'distortion_model': 'a' * 1_000_000}, 'bad_camera_info', r"'a{100,120}… \(1000000 characters\): must"),
        ({'p': (0.0,) * 12}, 'bad_camera_info', 'no inverse'),
        ({'r': (0.0,) * 9}, 'bad_camera_info', 'no inverse'),
        ({'binning': (2, 2)}, 'camera_info_binning', r'binning \(2, 2\)'),
        ({'binning': (1, 2)}, 'camera_info_binning', r'binning \(1, 2\)'),
        ({'roi': (10, 0, 100, 100)}, 'camera_info_roi', r'\(10, 0, 100, 100\)'),
        ({'width': 2 * WIDTH}, 'camera_info_size', '640 x 200 pixels, the image has 320 x 200'),
        ({'height': HEIGHT + 2}, 'camera_info_size', '320 x 202'),
    ],
)
def test_a_calibration_that_cannot_be_used(changes, reason, message):
    with pytest.raises(DataError, match=message) as error:
        make_map(make_info(**changes))
    assert error.value.reason == reason


@pytest.mark.parametrize(
    'changes',
    [{'binning': (1, 1)}, {'roi': (0, 0, WIDTH, HEIGHT)}, {'width': 3 * WIDTH, 'height': 3 * HEIGHT + 2}],
)
def test_what_says_the_whole_image_is_taken(changes):
    assert np.isfinite(make_map(make_info(**changes))).all()


# --- the calibration of the result


def distort(info: CameraInfo, points: np.ndarray) -> np.ndarray:
    """Project points of the camera into its image, by OpenCV."""
    k, d = np.array(info.k).reshape(3, 3), np.array(info.d)
    if info.distortion_model == 'equidistant':
        return cv2.fisheye.projectPoints(points[:, None], np.zeros(3), np.zeros(3), k, d)[0][:, 0]
    return cv2.projectPoints(points, np.zeros(3), np.zeros(3), k, d)[0][:, 0]


@pytest.mark.parametrize('model', MODELS)
@pytest.mark.parametrize('letterbox', [False, True])
@pytest.mark.parametrize('rectified', [False, True])
@pytest.mark.parametrize('scale', [1, 2])
def test_the_calibration_of_the_result_projects_where_its_pixels_are(model, letterbox, rectified, scale):
    """A point projected by it, and one projected by the camera's own and moved by the map, meet."""
    info = make_info(model)
    size = {'width': WIDTH * scale, 'height': HEIGHT * scale, 'out_width': 97, 'out_height': 131}
    result = result_info(info, **size, letterbox=letterbox, rectified=rectified)
    assert (result.width, result.height) == (97, 131)
    points = np.array([[x, y, 2.0] for x in (-0.6, 0.1, 0.5) for y in (-0.3, 0.2)])
    source = (distort(info, points) + 0.5) * scale - 0.5  # in the camera's image
    found = distort(result, points @ R.T if rectified else points)
    if rectified:
        assert result.d == (0.0,) * 5
        np.testing.assert_allclose(np.array(result.r).reshape(3, 3), np.eye(3))
        where = rectify_map(info, **size, letterbox=letterbox).numpy()
        maps = (where, found[:, 0].astype(np.float32), found[:, 1].astype(np.float32), cv2.INTER_LINEAR)
        np.testing.assert_allclose(cv2.remap(*maps).reshape(-1, 2), source, atol=0.1)
    else:
        assert (result.d, result.r, result.distortion_model) == (info.d, info.r, model)
        left, top, width, height = image_region(*size.values(), letterbox)
        ratio = np.array([width, height]) / (size['width'], size['height'])
        np.testing.assert_allclose(found, (source + 0.5) * ratio - 0.5 + (left, top), atol=1e-9)
    # P projects points of the rectified camera, rectified here or by whoever takes the image.
    direct = (np.c_[points @ R.T, np.ones(len(points))]) @ np.array(result.p).reshape(3, 4).T
    scaled = (np.c_[points @ R.T, np.ones(len(points))]) @ P.T
    left, top, width, height = image_region(*size.values(), letterbox)
    expected = (scaled[:, :2] / scaled[:, 2:] + 0.5) * (width / WIDTH, height / HEIGHT) - 0.5 + (left, top)
    np.testing.assert_allclose(direct[:, :2] / direct[:, 2:], expected, atol=1e-9)


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('rectified', [False, True])
def test_a_calibration_that_is_infinite_for_the_result_is_refused(rectified):
    info = make_info('plumb_bob', p=[1e308, 0.0, 30.0, 0.0, 0.0, 50.0, 20.0, 0.0, 0.0, 0.0, 1.0, 0.0])
    size = {'width': WIDTH, 'height': HEIGHT, 'out_width': 8 * WIDTH, 'out_height': 8 * HEIGHT, 'letterbox': False}
    with pytest.raises(DataError, match='must be finite for the image resized, too') as refused:
        result_info(info, **size, rectified=rectified)
    assert refused.value.reason == 'bad_camera_info'
