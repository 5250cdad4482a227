# SPDX-License-Identifier: Apache-2.0
"""Images as OpenCV prepares them; it rounds weights and results of 8-bit images to fixed point: within one step."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from support.images import MEAN, STD, message, random_pixels

from robocache_core import ops
from robocache_core.encodings import ENCODINGS


def by_opencv(pixels: np.ndarray, width: int, height: int, interpolation: int = cv2.INTER_LINEAR) -> np.ndarray:
    resized = cv2.resize(pixels, (width, height), interpolation=interpolation)
    return resized.reshape(height, width, pixels.shape[2]).transpose(2, 0, 1)


def unresized(pixels: np.ndarray, encoding: str) -> np.ndarray:
    """``[H, W, 3]`` of raw ``pixels``, converted and not resized, in the values' type."""
    data, place = message(pixels, padding=5 if ENCODINGS[encoding].dtype == 'uint8' else 4)
    if encoding.startswith('nv'):
        place['height'] = place['height'] * 2 // 3
    size = {'out_width': place['width'], 'out_height': place['height']}
    result = ops.prepare_image(data, encoding=encoding, **place, **size).numpy().transpose(1, 2, 0)
    assert np.array_equal(result, np.rint(result))
    return result.astype(ENCODINGS[encoding].dtype)


def every_colour() -> np.ndarray:
    """YUYV ``[256, 512, 2]``: every luma down, and along the rows u and then v from 0 to 255, the other at 90."""
    pixels = np.empty((256, 256, 4), np.uint8)
    pixels[..., 0::2] = np.arange(256)[:, None, None]
    pixels[..., 1] = np.where(np.arange(256) < 128, 2 * np.arange(256) % 256, 90)
    pixels[..., 3] = np.where(np.arange(256) < 128, 90, 2 * np.arange(256) % 256 + 1)
    return pixels.reshape(256, 512, 2)


SIZES = [
    (64, 48, 32, 24),
    (64, 48, 64, 48),
    (61, 37, 17, 29),
    (17, 29, 61, 37),
    (1, 1, 5, 3),
    (7, 1, 3, 4),
    (160, 90, 64, 38),
]


@pytest.mark.usefixtures('each_backend')
class TestAgainstOpenCv:
    @pytest.mark.parametrize(('width', 'height', 'out_width', 'out_height'), SIZES)
    def test_bilinear_8_bit(self, width, height, out_width, out_height):
        pixels = random_pixels('bgr8', width, height)
        data, place = message(pixels, padding=5)
        result = ops.prepare_image(data, encoding='bgr8', **place, out_width=out_width, out_height=out_height)
        expected = by_opencv(pixels[..., ::-1].copy(), out_width, out_height)
        np.testing.assert_allclose(result.numpy(), expected, atol=1.0, rtol=0)

    @pytest.mark.parametrize(('width', 'height', 'out_width', 'out_height'), SIZES)
    def test_bilinear_float(self, width, height, out_width, out_height):
        pixels = random_pixels('32FC1', width, height)
        data, place = message(pixels, padding=3)
        result = ops.prepare_image(data, encoding='32FC1', **place, out_width=out_width, out_height=out_height)
        np.testing.assert_allclose(result.numpy(), by_opencv(pixels, out_width, out_height), atol=2e-4, rtol=0)

    @pytest.mark.parametrize(('width', 'height', 'out_width', 'out_height'), SIZES)
    def test_nearest_16_bit(self, width, height, out_width, out_height):
        pixels = random_pixels('mono16', width, height)
        data, place = message(pixels, padding=1)
        size = {'out_width': out_width, 'out_height': out_height}
        result = ops.prepare_image(data, encoding='mono16', **place, **size, resize='nearest')
        assert np.array_equal(result.numpy(), by_opencv(pixels, out_width, out_height, cv2.INTER_NEAREST_EXACT))

    @pytest.mark.parametrize('bits', [8, 16])
    @pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
    @pytest.mark.parametrize(('width', 'height'), [(3, 3), (4, 7), (37, 24)])
    def test_bayer_is_equal(self, bits, pattern, width, height):
        pixels = random_pixels(f'bayer_{pattern}{bits}', width, height)
        expected = cv2.cvtColor(pixels[..., 0], getattr(cv2, f'COLOR_Bayer{pattern.upper()}2RGB'))
        assert np.array_equal(unresized(pixels, f'bayer_{pattern}{bits}'), expected)

    @pytest.mark.parametrize(
        ('encoding', 'code'),
        [
            ('yuv422', cv2.COLOR_YUV2RGB_UYVY),
            ('uyvy', cv2.COLOR_YUV2RGB_UYVY),
            ('yuv422_yuy2', cv2.COLOR_YUV2RGB_YUY2),
            ('yuyv', cv2.COLOR_YUV2RGB_YUYV),
        ],
    )
    def test_yuv_of_every_value_is_equal(self, encoding, code):
        """All luma with all chroma along each axis, those outside the limited range among them."""
        pixels = np.concatenate([random_pixels(encoding, 512, 64), every_colour()])
        if encoding in ('yuv422', 'uyvy'):
            pixels[64:] = pixels[64:, :, ::-1]
        assert np.array_equal(unresized(pixels, encoding), cv2.cvtColor(pixels, code))

    @pytest.mark.parametrize(('encoding', 'code'), [('nv12', cv2.COLOR_YUV2RGB_NV12), ('nv21', cv2.COLOR_YUV2RGB_NV21)])
    @pytest.mark.parametrize(('width', 'height'), [(2, 2), (38, 26), (200, 100)])
    def test_semi_planar_is_equal(self, encoding, code, width, height):
        pixels = random_pixels(encoding, width, height)
        assert np.array_equal(unresized(pixels, encoding), cv2.cvtColor(pixels[..., 0], code))

    @pytest.mark.parametrize('encoding', ['bayer_gbrg8', 'bayer_grbg16', 'yuyv', 'nv12'])
    def test_resized_as_if_converted_before(self, encoding):
        """One pass gives what converting first and then resizing gives."""
        pixels = random_pixels(encoding, 60, 42)
        converted = unresized(pixels, encoding)
        is_16_bit = ENCODINGS[encoding].dtype == 'uint16'
        data, place = message(pixels, padding=6)
        place['height'] = 42
        size = {'out_width': 23, 'out_height': 17}
        result = ops.prepare_image(data, encoding=encoding, **place, **size).numpy()
        np.testing.assert_allclose(result, by_opencv(converted.astype(np.float32), 23, 17), rtol=0,
                                   atol=0.5 if is_16_bit else 1 / 64 + 1e-3)  # fmt: skip

    @pytest.mark.parametrize(
        ('width', 'height', 'out_width', 'out_height'),
        [
            (64, 48, 32, 24),
            (60, 40, 20, 8),
            (61, 37, 17, 29),
            (160, 90, 64, 38),
            (5, 3, 1, 1),
            (7, 5, 7, 5),
            (3, 2, 7, 5),
        ],
    )
    def test_area(self, width, height, out_width, out_height):
        """OpenCV leaves out slivers below 1/1000 pixel and adds up in another order; it rounds 8 bits to whole
        ones, and where it enlarges their weights too.
        """
        floats, whole = random_pixels('32FC1', width, height), random_pixels('bgr8', width, height)
        for encoding, pixels, tolerance in (
            ('32FC1', floats, 1e-2),
            ('rgb8', whole, 0.501 if out_width <= width else 1.0),
        ):
            data, place = message(pixels, padding=4)
            size = {'out_width': out_width, 'out_height': out_height}
            result = ops.prepare_image(data, encoding=encoding, **place, **size, resize='area')
            expected = by_opencv(pixels, out_width, out_height, cv2.INTER_AREA)
            np.testing.assert_allclose(result.numpy(), expected, rtol=0, atol=tolerance)

    def test_normalised_half(self):
        pixels = random_pixels('rgb8', 160, 90)
        data, place = message(pixels)
        result = ops.prepare_image(
            data, encoding='rgb8', **place, out_width=64, out_height=38, scale=1 / 255, mean=MEAN, std=STD,
            dtype=torch.float16,
        )  # fmt: skip
        expected = by_opencv(pixels.astype(np.float32), 64, 38) / 255
        expected = (expected - np.array(MEAN).reshape(3, 1, 1)) / np.array(STD).reshape(3, 1, 1)
        np.testing.assert_allclose(result.float().numpy(), expected, atol=2e-3, rtol=0)
