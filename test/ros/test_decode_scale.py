# SPDX-License-Identifier: Apache-2.0
"""JPEGs reduced as they are decoded: their pixels, sizes and calibration, and what cannot be reduced."""

from __future__ import annotations

import array
import contextlib
import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from sensor_msgs.msg import CompressedImage
from support import bags, recorded
from support.cameras import HEIGHT, WIDTH, K, P, R, make_info, smooth_image
from support.images import pixels_of
from support.jpegs import changed, picture
from support.live import Live
from support.messages import assert_refused, decode_whole, header

from robocache_core import payload
from robocache_core.config import CameraConfig, PipelineConfig
from robocache_core.pipeline import Pipeline
from robocache_core.rectify import decoded_info
from robocache_core.samples import DataError, Reduction
from robocache_core.tunable import ConfigError
from robocache_ros.decode_image import decode_compressed
from robocache_ros.encode import encode_camera_info
from robocache_ros.offline import fused_frames

CAMERA = CameraConfig('front', topic='/front/compressed', width=160, height=100, dtype='float32')
FACTORS = (2, 4, 8)
JPEGS = {
    '4:2:0': (),
    '4:4:4': (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    'progressive': (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
}
#: By the factor, how OpenCV's libjpeg-turbo decodes it.
REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}


def scaled(factor: int, **changes: object) -> CameraConfig:
    return dataclasses.replace(CAMERA, decode_scale=factor, **changes)


def encoded(image: np.ndarray, kind: str = '4:2:0', suffix: str = '.jpg') -> np.ndarray:
    return cv2.imencode(suffix, image, JPEGS[kind])[1].reshape(-1)


def message(data: np.ndarray, format_: str = 'jpeg') -> CompressedImage:
    return CompressedImage(header=header(), format=format_, data=array.array('B', data.tobytes()))


def decoded(data: np.ndarray, factor: int, format_: str = 'jpeg') -> np.ndarray:
    frame = decode_whole(message(data, format_), scaled(factor))
    return pixels_of(frame).reshape(frame.height, frame.width, -1)


def area_means(image: np.ndarray, factor: int) -> np.ndarray:
    """Means ``[ceil(H / factor), ceil(W / factor), C]`` of ``image [H, W(, C)]``, whose last pixels go on beyond it."""
    image = image.reshape(*image.shape[:2], -1).astype(float)
    height, width, channels = image.shape
    image = np.pad(image, [(0, -height % factor), (0, -width % factor), (0, 0)], 'edge')
    blocks = image.reshape(image.shape[0] // factor, factor, image.shape[1] // factor, factor, channels)
    return blocks.mean(axis=(1, 3))


# ---- pixels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('factor', FACTORS)
@pytest.mark.parametrize('kind', JPEGS)
@pytest.mark.parametrize(('width', 'height'), [(320, 200), (321, 203), (97, 61)])
def test_a_reduced_image_is_the_mean_of_the_whole_one(factor: int, kind: str, width: int, height: int) -> None:
    """To 1 step of brightness, and to 4 of a colour, whose planes are of half the size already."""
    image = smooth_image(width, height)
    for pixels, bound, at_edges in ((image[..., 0].copy(), 1.0, 1.5), (image, 4.0, 8.0)):
        data = encoded(pixels, kind)
        error = np.abs(decoded(data, factor) - area_means(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), factor))
        assert error.shape[:2] == (-(-height // factor), -(-width // factor))
        assert error[: height // factor, : width // factor].max() <= bound
        assert error.max() <= at_edges
        assert error.mean() <= 0.6


@pytest.mark.parametrize('factor', FACTORS)
@pytest.mark.parametrize('kind', JPEGS)
def test_a_reduced_image_has_the_bits_of_libjpeg(factor: int, kind: str) -> None:
    data = encoded(picture(151, 97, noise=20.0), kind)
    assert np.array_equal(decoded(data, factor), cv2.imdecode(data, REDUCED[factor]))


@pytest.mark.parametrize('factor', FACTORS)
def test_a_damaged_image_is_refused_and_kept_at_every_size_as_the_whole_one_is(factor: int) -> None:
    """With the same words, and the pixels that libjpeg makes of it."""
    rng = np.random.default_rng(7)
    whole = encoded(picture(60, 80))
    num_damaged = 0
    for _ in range(60):
        data = changed(whole, rng, whole.size // 3)
        verdicts = [verdict(data, scaled(scale)) for scale in (1, factor)]
        assert verdicts[0] == verdicts[1]
        num_damaged += 'is damaged' in verdicts[0]
        with contextlib.suppress(DataError):
            frame = decode_whole(message(data), scaled(factor, damaged='keep'))
            assert bool(frame.damage) == bool(verdicts[0])
            assert np.array_equal(pixels_of(frame), cv2.imdecode(data, REDUCED[factor]))
    assert num_damaged > 20


def verdict(data: np.ndarray, config: CameraConfig) -> str:
    try:
        decode_whole(message(data), config)
    except DataError as error:
        return f'{error.reason}: {error}'
    return ''


@pytest.mark.parametrize('factor', FACTORS)
@pytest.mark.parametrize('name', ['nuscenes_cam_front.jpg', 'nuscenes_cam_back.jpg'])
def test_a_reduced_image_of_a_road_is_the_mean_of_the_whole_one(factor: int, name: str) -> None:
    data = np.fromfile(recorded.payload(name), np.uint8)
    error = np.abs(decoded(data, factor) - area_means(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), factor))
    assert np.percentile(error, 99) <= 2.0
    assert error.max() <= 16.0
    assert error.mean() <= 0.5


@pytest.mark.parametrize('shape', [(60, 80), (60, 80, 3)])
def test_scale_1_gives_the_bits_of_a_plain_decoder(shape: tuple[int, ...]) -> None:
    data = encoded(np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8))
    whole = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    assert np.array_equal(decoded(data, 1).reshape(whole.shape), whole)
    assert decode_whole(message(data), scaled(1)).reduction is None


@pytest.mark.parametrize('factor', FACTORS)
@pytest.mark.parametrize(('channels', 'encoding'), [(1, 'mono8'), (3, 'bgr8')])
def test_a_reduced_image_says_what_it_is(factor: int, channels: int, encoding: str) -> None:
    image = smooth_image(101, 51)
    frame = decode_whole(message(encoded(image[..., 0].copy() if channels == 1 else image)), scaled(factor))
    assert (frame.encoding, frame.width, frame.height) == (encoding, -(-101 // factor), -(-51 // factor))
    step, rows = (-(-size // 8) * 8 for size in (frame.width, frame.height))  # planes, of whole blocks
    assert (frame.step, frame.nbytes) == (step, channels * step * rows)
    assert frame.reduction == Reduction(factor, 101, 51)


def test_exif_orientation_is_not_applied() -> None:
    data = encoded(smooth_image(64, 32))
    exif = (
        b'Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00'
    )
    segment = b'\xff\xe1' + (len(exif) + 2).to_bytes(2, 'big') + exif
    turned = np.concatenate([data[:2], np.frombuffer(segment, np.uint8), data[2:]])
    assert cv2.imdecode(turned, cv2.IMREAD_REDUCED_COLOR_2).shape == (32, 16, 3)  # it would be
    assert np.array_equal(decoded(turned, 2), decoded(data, 2))


# ---- what cannot be reduced -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('format_', 'suffix', 'channels', 'text'),
    [
        ('bayer_rggb8; jpeg compressed ', '.jpg', 1, "a mosaic ('bayer_rggb8; jpeg compressed ') cannot be reduced"),
        ('bayer_gbrg8; jpeg compressed bayer_gbrg8', '.jpg', 1, 'a mosaic'),
        ('bayer_rggb8; jpeg compressed bgr8', '.jpg', 3, ''),
        ('mono8; jpeg compressed mono8', '.jpg', 1, ''),
        ('rgb8; jpeg compressed bgr8', '.jpg', 3, ''),
        ('png', '.png', 3, 'a PNG cannot be reduced as it is decoded: front.decode_scale = 2, must be 1'),
        ('16UC1; png compressed ', '.png', 1, 'a PNG'),
        ('bayer_rggb8; png compressed ', '.png', 1, 'a PNG'),
    ],
)
def test_what_cannot_be_reduced_is_refused_as_it_comes(format_: str, suffix: str, channels: int, text: str) -> None:
    image = smooth_image(64, 32)
    given = message(encoded(image[..., 0].copy() if channels == 1 else image, suffix=suffix), format_)
    if text:
        with pytest.raises(ValueError, match='cannot be reduced') as caught:
            decode_compressed(given, scaled(2))
        assert caught.value.reason == 'not_reducible'
        assert text in str(caught.value)
    else:
        assert decode_whole(given, scaled(2)).width == 32


def test_the_size_that_was_sent_is_held_against_max_pixels() -> None:
    given = message(encoded(smooth_image(64, 32)))
    assert decode_whole(given, scaled(8, max_pixels=64 * 32)).width == 8
    text = 'must be at most front.max_pixels = 2047'
    assert_refused('bad_image_size', text, decode_compressed, given, scaled(8, max_pixels=64 * 32 - 1))


@pytest.mark.parametrize(
    ('settings', 'text'),
    [
        ({'decode_scale': 3}, 'front.decode_scale = 3: must be 1, 2, 4 or 8'),
        ({'decode_scale': 0}, 'front.decode_scale = 0: must be at least 1'),
        ({'decode_scale': 16}, 'front.decode_scale = 16: must be at most 8'),
        ({'decode_scale': 2, 'message': 'raw'}, 'front.decode_scale = 2: must be 1 for a topic of raw images'),
        ({'decode_scale': 2, 'topic': '/front/image_raw'}, "front.topic = '/front/image_raw'"),
    ],
)
def test_a_configuration_that_is_refused(settings: dict, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        dataclasses.replace(CAMERA, **settings)
    assert text in str(caught.value)


def test_a_configuration_that_is_taken() -> None:
    CameraConfig('front', topic='/front', message='compressed', decode_scale=8)


# ---- calibration ----------------------------------------------------------------------------------------------------


def matrix(factor: float) -> np.ndarray:
    """From a pixel of the image that was sent to one of the reduced image: u' = (u + 0.5) / factor - 0.5."""
    shift = 0.5 / factor - 0.5
    return np.array([[1 / factor, 0, shift], [0, 1 / factor, shift], [0, 0, 1]])


@pytest.mark.parametrize('factor', FACTORS)
@pytest.mark.parametrize(('width', 'height'), [(WIDTH, HEIGHT), (319, 197)])
def test_the_calibration_is_that_of_the_reduced_image(factor: int, width: int, height: int) -> None:
    info = decoded_info(make_info(width=width, height=height), Reduction(factor, width, height))
    assert (info.width, info.height) == (-(-width // factor), -(-height // factor))
    np.testing.assert_allclose(np.reshape(info.k, (3, 3)), matrix(factor) @ K, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(np.reshape(info.p, (3, 4)), matrix(factor) @ P, rtol=1e-12, atol=1e-12)
    assert (info.d, info.r) == (make_info().d, make_info().r)


def test_the_calibration_of_an_image_that_the_driver_had_scaled() -> None:
    """A driver that halves the image and publishes the calibration of the whole, which is then reduced by 4."""
    info = decoded_info(make_info(), Reduction(4, WIDTH // 2, HEIGHT // 2))
    assert (info.width, info.height) == (WIDTH // 8, HEIGHT // 8)
    np.testing.assert_allclose(np.reshape(info.k, (3, 3)), matrix(8) @ K, rtol=1e-12, atol=1e-12)


def frame_of(data: np.ndarray, camera: CameraConfig, info=None):
    pipeline = Pipeline(PipelineConfig(cameras=(camera,)), on_host=lambda: True)
    pipeline.set_camera_info('front', make_info() if info is None else info)
    pipeline.receive('front')
    pipeline.push('front', decode_compressed(message(data), camera))
    (frame,) = pipeline.poll()
    return frame


@pytest.mark.parametrize('factor', FACTORS)
@pytest.mark.parametrize(('width', 'height'), [(WIDTH, HEIGHT), (319, 197)])
def test_a_reduced_image_is_rectified_as_opencv_rectifies_it(factor: int, width: int, height: int) -> None:
    data = encoded(smooth_image(width, height), '4:4:4')
    reduced = decoded(data, factor)
    size = reduced.shape[1], reduced.shape[0]
    info = make_info(width=width, height=height)
    camera = scaled(
        factor, rectify=True, width=size[0], height=size[1], scale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3, pad=0.0
    )
    k, p = matrix(factor) @ K, (matrix(factor) @ P)[:, :3]
    maps = cv2.initUndistortRectifyMap(k, np.array(info.d), R, p, size, cv2.CV_32FC1)
    expected = cv2.remap(reduced, *maps, cv2.INTER_LINEAR)[..., ::-1].astype(float)
    found = frame_of(data, camera, info).tensors['front'].permute(1, 2, 0).numpy()
    inside = (maps[0] >= 0) & (maps[0] <= size[0] - 1) & (maps[1] >= 0) & (maps[1] <= size[1] - 1)
    assert inside.mean() > 0.5
    assert np.abs(found - expected)[inside].max() <= 2.0  # cv2.remap takes thirty-seconds of a pixel


@pytest.mark.parametrize('factor', FACTORS)
@pytest.mark.parametrize('rectify', [False, True])
@pytest.mark.parametrize('letterbox', [False, True])
def test_a_reduced_image_shows_what_the_whole_one_shows(factor: int, rectify: bool, letterbox: bool) -> None:
    """The same picture in the frame, from fewer pixels, and the same calibration of it."""
    data = encoded(smooth_image(), '4:4:4')
    settings = {'rectify': rectify, 'letterbox': letterbox, 'width': 40, 'height': 40, 'scale': 1.0, 'std': (1.0,) * 3}
    whole, reduced = (frame_of(data, scaled(each, **settings)) for each in (1, factor))
    one, other = (encode_camera_info(frame, CAMERA) for frame in (whole, reduced))
    assert (one.width, one.height, list(one.d)) == (other.width, other.height, list(other.d))
    np.testing.assert_allclose(one.k, other.k, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(one.p, other.p, rtol=1e-9, atol=1e-9)
    error = (whole.tensors['front'] - reduced.tensors['front']).abs()
    assert error.mean() < 3.0
    assert error[..., 8:-8, 8:-8].max() < 16.0


@pytest.mark.parametrize('factor', FACTORS)
def test_the_calibration_of_an_odd_image_counts_to_the_end_of_its_last_pixel(factor: int) -> None:
    """Of 319 px reduced by 2 there are 160, which the result shows: 320 px of those that were sent."""
    width, height = 319, 197
    frame = frame_of(encoded(smooth_image(width, height)), scaled(factor), make_info(width=width, height=height))
    info = encode_camera_info(frame, CAMERA)
    spans = [factor * -(-size // factor) for size in (width, height)]
    x, y = CAMERA.width / spans[0], CAMERA.height / spans[1]
    resized = np.array([[x, 0, 0.5 * x - 0.5], [0, y, 0.5 * y - 0.5], [0, 0, 1]])
    np.testing.assert_allclose(np.reshape(info.k, (3, 3)), resized @ K, rtol=1e-12, atol=1e-12)


# ---- a bag ----------------------------------------------------------------------------------------------------------


def test_live_and_offline_give_the_same_reduced_images(tmp_path: Path) -> None:
    def sent(ms: float, shape: str):
        image = np.roll(smooth_image(101, 51), int(ms), axis=1)
        suffix = '.png' if shape == 'png' else '.jpg'
        format_ = 'bayer_rggb8; jpeg compressed ' if shape == 'mosaic' else shape
        data = encoded(image[..., 0].copy() if shape == 'mosaic' else image, suffix=suffix)
        return bags.T['sensor_msgs/msg/CompressedImage'](bags.header(ms), format_, data)

    shapes = [{2: 'png', 5: 'mosaic'}.get(i % 7, 'jpeg') for i in range(21)]
    messages = [(100 * i, '/front/compressed', sent(100 * i, shape)) for i, shape in enumerate(shapes)]
    bag = bags.write(tmp_path / 'bag', messages)
    values = {'cameras': ['front'], 'front.topic': '/front/compressed', 'front.decode_scale': 4, 'front.width': 160}
    live = Live(bag, values | {'front.height': 100, 'front.dtype': 'float32'})
    config = PipelineConfig(cameras=(scaled(4),))
    pipeline = Pipeline(config)
    offline = list(fused_frames(bag, config, pipeline))
    assert len(live.frames) >= 12  # offline gives up waiting at the end of the bag
    assert [payload.digest(frame) for frame in live.frames] == [
        payload.digest(frame) for frame in offline[: len(live.frames)]
    ]
    assert live.counts['front'].dropped == pipeline.ledger['front'].counts().dropped == {'not_reducible': 6}
    plain = list(fused_frames(bag, PipelineConfig(cameras=(CAMERA,))))
    assert not torch.equal(plain[0].tensors['front'], offline[0].tensors['front'])
