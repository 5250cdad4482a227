# SPDX-License-Identifier: Apache-2.0
"""Maps against cv2.initUndistortRectifyMap and cv2.fisheye, rectified images against cv2.remap, and the pipeline."""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
import pytest
import torch

from robocache_core import ops, rectify
from robocache_core.config import CameraConfig, PipelineConfig
from robocache_core.ops.image import image_region
from robocache_core.pipeline import Pipeline
from robocache_core.rectify import rectify_map, result_info
from robocache_core.samples import CameraFrame, CameraInfo, DataError
from robocache_core.tunable import ConfigError

WIDTH, HEIGHT = 320, 200
K = np.array([[210.0, 0, 163.4], [0, 205.5, 97.2], [0, 0, 1]])
P = np.array([[190.0, 0, 158.0, -21.0], [0, 188.0, 101.5, 0], [0, 0, 1, 0]])
R = cv2.Rodrigues(np.array([0.02, -0.03, 0.015]))[0]
MODELS = {
    'plumb_bob': (-0.31, 0.11, 0.0012, -0.0007, -0.018),
    'rational_polynomial': (0.4, -0.05, 0.0004, -0.0003, 0.002, 0.75, 0.02, 0.001),
    'equidistant': (-0.02, 0.004, -0.0015, 0.0002),
}


def make_info(model: str = 'plumb_bob', **changes) -> CameraInfo:
    matrices = {name: tuple(map(float, value.reshape(-1))) for name, value in (('k', K), ('r', R), ('p', P))}
    info = CameraInfo(width=WIDTH, height=HEIGHT, distortion_model=model, d=MODELS[model], **matrices)
    return dataclasses.replace(info, **changes)


def by_opencv(info: CameraInfo, width: int, height: int, projection: np.ndarray) -> np.ndarray:
    d, r = np.array(info.d), np.array(info.r).reshape(3, 3)
    if info.distortion_model == 'equidistant':
        maps = cv2.fisheye.initUndistortRectifyMap(K, d, r, projection, (width, height), cv2.CV_32FC1)
    else:
        maps = cv2.initUndistortRectifyMap(K, d, r, projection, (width, height), cv2.CV_32FC1)
    return np.stack(maps, axis=-1)


def make_map(info: CameraInfo, out_width: int = WIDTH, out_height: int = HEIGHT, **settings) -> np.ndarray:
    size = {'width': WIDTH, 'height': HEIGHT, 'out_width': out_width, 'out_height': out_height}
    return rectify_map(info, **{**size, **settings}).numpy()


def smooth_image(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A picture whose neighbouring pixels differ by less than 9 steps."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [128 + 100 * np.sin(x / (15 + 3 * c) + c) * np.cos(y / (14 + 2 * c)) for c in range(3)]
    return np.stack(planes, axis=-1).round().astype(np.uint8)


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


# --- the pipeline


def camera(stamp_ns: int) -> CameraFrame:
    return CameraFrame(stamp_ns, 'cam', torch.from_numpy(smooth_image().reshape(-1)), 'bgr8', WIDTH, HEIGHT, 3 * WIDTH)


CONFIG = CameraConfig('cam', width=160, height=100, rectify=True, dtype='float32')


class TestPipeline:
    def push(self, pipeline: Pipeline, stamp_ns: int) -> None:
        pipeline.receive('cam')
        pipeline.push('cam', camera(stamp_ns))

    def test_images_are_rectified_from_the_first_camera_info_on(self):
        refused = []
        pipeline = Pipeline(PipelineConfig(cameras=(CONFIG,)), on_host=True)
        pipeline.on_refused = lambda *args: refused.append(args)
        self.push(pipeline, 1)
        assert pipeline.ledger['cam'].counts().dropped == {'no_camera_info': 1}
        assert refused == [('cam', 'no_camera_info', 'no CameraInfo has come on camera_info')]
        pipeline.set_camera_info('cam', make_info())
        self.push(pipeline, 2)
        (frame,) = pipeline.poll()
        image = camera(2)
        expected = ops.prepare_image(
            image.data, encoding='bgr8', width=WIDTH, height=HEIGHT, step=image.step, out_width=160, out_height=100,
            pad=CONFIG.pad, scale=CONFIG.scale, mean=CONFIG.mean, std=CONFIG.std,
            rectify=torch.from_numpy(make_map(make_info(), 160, 100)),
        )  # fmt: skip
        assert torch.equal(frame.tensors['cam'], expected)

    def test_the_map_is_made_once_and_again_for_another_calibration(self):
        pipeline = Pipeline(PipelineConfig(cameras=(CONFIG,)))
        pipeline.set_camera_info('cam', make_info())
        apply = pipeline._streams['cam'].admit
        first = apply(camera(1)).rectify
        pipeline.set_camera_info('cam', make_info())
        assert apply(camera(2)).rectify is first
        pipeline.set_camera_info('cam', make_info('equidistant'))
        assert not torch.equal(apply(camera(3)).rectify, first)

    def test_calibrations_that_take_turns_are_kept(self, monkeypatch):
        made = []
        monkeypatch.setattr(rectify, 'rectify_map', lambda *args, **kw: made.append(args) or rectify_map(*args, **kw))
        pipeline = Pipeline(PipelineConfig(cameras=(CONFIG,)))
        for i in range(100):
            pipeline.set_camera_info('cam', make_info(list(MODELS)[i % 3]))
            self.push(pipeline, 1 + i)
            pipeline.poll()
        assert len(made) == 3
        assert pipeline.ledger['cam'].counts().dropped == {}

    def test_a_calibration_that_changes_with_every_image_is_bounded(self, monkeypatch):
        made = []
        monkeypatch.setattr(rectify, 'rectify_map', lambda *args, **kw: made.append(args) or rectify_map(*args, **kw))
        refused = []
        pipeline = Pipeline(PipelineConfig(cameras=(CONFIG,)))
        pipeline.on_refused = lambda *args: refused.append(args)
        for i in range(300):  # 10 s at 30 Hz
            pipeline.set_camera_info('cam', make_info(k=(210.0 + i, 0, 163.4, 0, 205.5, 97.2, 0, 0, 1)))
            self.push(pipeline, 1 + i * 33_333_333)
            pipeline.poll()
        assert len(made) == 40
        assert pipeline.ledger['cam'].counts().dropped == {'camera_info_changes': 260}
        assert refused[0][2].startswith('CameraInfo on camera_info has changed more than 4 times in a second')
        assert len(pipeline._streams['cam']._rectifier._maps) <= rectify.MAX_MAPS

    def test_an_image_keeps_the_calibration_that_it_came_with(self):
        frames = []
        for later in (make_info(), make_info('equidistant')):
            pipeline = Pipeline(PipelineConfig(cameras=(CONFIG,)))
            pipeline.set_camera_info('cam', make_info())
            self.push(pipeline, 1)
            pipeline.set_camera_info('cam', later)
            frames += pipeline.poll()
        assert torch.equal(frames[0].tensors['cam'], frames[1].tensors['cam'])

    def test_a_bad_calibration_drops_with_its_reason(self):
        pipeline = Pipeline(PipelineConfig(cameras=(CONFIG,)))
        pipeline.set_camera_info('cam', make_info(binning=(2, 2)))
        self.push(pipeline, 1)
        assert pipeline.ledger['cam'].counts().dropped == {'camera_info_binning': 1}
        assert pipeline.poll() == []

    def test_a_camera_that_is_not_rectified_needs_none(self):
        pipeline = Pipeline(PipelineConfig(cameras=(dataclasses.replace(CONFIG, rectify=False),)))
        pipeline.set_camera_info('cam', make_info(binning=(2, 2)))
        self.push(pipeline, 1)
        assert len(pipeline.poll()) == 1


@pytest.mark.parametrize(
    ('topic', 'given', 'expected'),
    [
        ('/camera/front/image_raw', '', '/camera/front/camera_info'),
        ('/camera/front/image_raw/compressed', '', '/camera/front/camera_info'),
        ('/front', '', '/camera_info'),
        ('image', '', 'camera_info'),
        ('/camera/front/image_raw', '/calibration', '/calibration'),
    ],
)
def test_the_topic_of_the_camera_info(topic, given, expected):
    assert CameraConfig('front', topic=topic, camera_info_topic=given, rectify=True).calibration_topic == expected
    assert CameraConfig('front', topic=topic, camera_info_topic=given).calibration_topic == expected


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


def test_a_frame_has_the_view_of_its_cameras():
    camera = CameraConfig('front', width=32, height=20, dtype='float32')
    pipeline = Pipeline(PipelineConfig(cameras=(camera,)))
    image = CameraFrame(1, 'optical', torch.from_numpy(smooth_image().reshape(-1)), 'bgr8', WIDTH, HEIGHT, 3 * WIDTH)
    for info in (None, make_info()):
        if info is not None:
            pipeline.set_camera_info('front', info)
        pipeline.receive('front')
        pipeline.push('front', dataclasses.replace(image, stamp_ns=image.stamp_ns + 10**9 * (info is not None)))
        (frame,) = pipeline.poll()
        assert frame.views['front'].frame_id == 'optical'
        assert (frame.views['front'].info is None) == (info is None)


def test_area_cannot_be_rectified():
    with pytest.raises(ConfigError, match=r"front.resize = 'area': must be bilinear or nearest with front.rectify"):
        CameraConfig('front', resize='area', rectify=True)
