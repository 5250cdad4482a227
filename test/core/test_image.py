# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robocache_core import ops
from robocache_core.plan import ENCODINGS
from robocache_core.types import DataError

INF, NAN = math.inf, math.nan
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def message(pixels: np.ndarray, padding: int = 0, is_bigendian: bool = False) -> tuple[torch.Tensor, dict]:
    """Bytes of ``pixels [H, W, C]`` with ``padding`` bytes of noise after each row, and how they lie."""
    height, width, _ = pixels.shape
    pixels = pixels.astype(pixels.dtype.newbyteorder('>' if is_bigendian else '<'))
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(height, -1)
    data = np.full((height, rows.shape[1] + padding), 0xAB, np.uint8)
    data[:, : rows.shape[1]] = rows
    place = {'width': width, 'height': height, 'step': data.shape[1], 'is_bigendian': is_bigendian}
    return torch.from_numpy(data.reshape(-1)), place


def random_pixels(encoding: str, width: int, height: int, seed: int = 0, special: bool = False) -> np.ndarray:
    rng = np.random.default_rng(seed)
    spec = ENCODINGS[encoding]
    shape = (height, width, spec.channels)
    if spec.dtype != 'float32':
        return rng.integers(0, np.iinfo(spec.dtype).max, shape, dtype=spec.dtype, endpoint=True)
    values = rng.uniform(0, 50, shape)
    if special:
        odd = rng.choice([NAN, INF, -INF, -0.0, 1e-42, 3e38, 65520.0, 6e-8], shape)
        values = np.where(rng.random(shape) < 0.2, odd, values)
    return values.astype(np.float32)


@st.composite
def images(draw):
    encoding = draw(st.sampled_from(list(ENCODINGS)))
    size = st.integers(1, 24)
    pixels = random_pixels(encoding, draw(size), draw(size), draw(st.integers(0, 2**32 - 1)), special=True)
    data, place = message(pixels, draw(st.integers(0, 7)), draw(st.booleans()))
    return data, {'encoding': encoding, 'out_width': draw(size), 'out_height': draw(size), **place}


@given(
    images(),
    st.sampled_from(['bilinear', 'nearest']),
    st.booleans(),
    st.sampled_from(DTYPES),
    st.sampled_from([(1.0, (0.0,) * 3, (1.0,) * 3), (1 / 255, MEAN, STD), (1e-6, (0.0,) * 3, (1.0, 2.0, 3.0))]),
    st.sampled_from([0.0, 114.0]),
)
@settings(max_examples=400, deadline=None)
def test_parity(assert_parity, image, resize, letterbox, dtype, normalisation, pad):
    data, place = image
    scale, mean, std = normalisation
    result = assert_parity(
        ops.prepare_image, data, **place, resize=resize, letterbox=letterbox, dtype=dtype,
        scale=scale, mean=mean, std=std, pad=pad,
    )  # fmt: skip
    channels = len(ENCODINGS[place['encoding']].order)
    assert result.shape == (channels, place['out_height'], place['out_width'])


@pytest.mark.parametrize('dtype', DTYPES)
def test_every_half_float_is_rounded_alike(assert_parity, dtype):
    """Values on, beside and between all 65536 halves, both signs, subnormals, overflow, NaN with any payload."""
    bits = np.arange(65536, dtype=np.uint32) << (13 if dtype == torch.float16 else 16)
    exact = (
        torch.arange(65536, dtype=torch.int32).to(torch.int16).view(dtype if dtype != torch.float32 else torch.float16)
    )
    middles = exact.float().numpy()
    with np.errstate(all='ignore'):
        middles = (middles[:-1] + middles[1:]) / 2
        near = [np.nextafter(middles, np.float32(side)) for side in (-INF, INF)]
    pixels = np.concatenate([bits.view(np.float32), exact.float().numpy(), middles, *near]).astype(np.float32)
    data, place = message(pixels.reshape(1, -1, 1))
    size = {'out_width': place['width'], 'out_height': 1}
    result = assert_parity(ops.prepare_image, data, **place, **size, encoding='32FC1', dtype=dtype)
    torch.testing.assert_close(result[0, 0], torch.from_numpy(pixels).to(dtype), rtol=0, atol=0, equal_nan=True)
    assert result.isnan().any()


# --- against OpenCV, which rounds weights and results of 8-bit images to fixed point: within one step of 8 bits


def by_opencv(pixels: np.ndarray, width: int, height: int, interpolation: int = cv2.INTER_LINEAR) -> np.ndarray:
    resized = cv2.resize(pixels, (width, height), interpolation=interpolation)
    return resized.reshape(height, width, pixels.shape[2]).transpose(2, 0, 1)


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


# --- what is read


@pytest.mark.usefixtures('each_backend')
class TestRule:
    @pytest.mark.parametrize('encoding', list(ENCODINGS))
    @pytest.mark.parametrize('is_bigendian', [False, True])
    def test_the_same_size_gives_the_pixels_in_rgb_order(self, encoding, is_bigendian):
        pixels = random_pixels(encoding, 5, 3)
        data, place = message(pixels, padding=3, is_bigendian=is_bigendian)
        result = ops.prepare_image(data, encoding=encoding, **place, out_width=5, out_height=3)
        wanted = pixels[..., [2, 1, 0]] if 'bgr' in encoding or encoding == '8UC3' else pixels[..., :3]
        assert np.array_equal(result.numpy(), wanted.astype(np.float32).transpose(2, 0, 1))

    def test_letterbox_keeps_the_aspect_ratio_and_pads(self):
        data, place = message(np.full((2, 4, 3), 200, np.uint8))
        result = ops.prepare_image(
            data, encoding='rgb8', **place, out_width=8, out_height=8, letterbox=True, pad=100.0,
            scale=0.01, mean=(0, 1, 2), std=(1, 1, 2),
        )  # fmt: skip
        padding, image = torch.tensor([1.0, 0.0, -0.5]), torch.tensor([2.0, 1.0, 0.0])
        expected = padding.reshape(3, 1, 1).repeat(1, 8, 8)
        expected[:, 2:6] = image.reshape(3, 1, 1)
        torch.testing.assert_close(result, expected)

    def test_letterbox_beside_the_image(self):
        data, place = message(np.full((4, 2, 1), 7, np.uint8))
        result = ops.prepare_image(data, encoding='mono8', **place, out_width=5, out_height=4, letterbox=True, pad=1.0)
        assert result[0].tolist() == [[1, 7, 7, 1, 1]] * 4

    def test_letterbox_never_vanishes(self):
        data, place = message(np.full((1000, 1, 1), 7, np.uint8))
        result = ops.prepare_image(data, encoding='mono8', **place, out_width=3, out_height=3, letterbox=True)
        assert result[0].tolist() == [[0, 7, 0]] * 3

    @pytest.mark.parametrize('resize', ['bilinear', 'nearest'])
    def test_what_is_not_finite_passes_through_and_does_not_spread(self, resize):
        pixels = np.array([[1, NAN, 3, INF, 5], [6, 7, -INF, 9, 10]], np.float32)
        data, place = message(pixels[..., None])
        result = ops.prepare_image(data, encoding='32FC1', **place, out_width=5, out_height=2, resize=resize)
        assert np.array_equal(result[0].numpy(), pixels, equal_nan=True)

    def test_one_channel_takes_the_first_mean_and_std(self):
        data, place = message(np.full((1, 1, 1), 30, np.uint8))
        result = ops.prepare_image(
            data, encoding='mono8', **place, out_width=1, out_height=1, mean=(10, 0, 0), std=(4, 1, 1)
        )
        assert result.item() == 5

    def test_out_is_written(self):
        data, place = message(random_pixels('rgb8', 6, 4))
        size = {'encoding': 'rgb8', 'out_width': 5, 'out_height': 7}
        out = torch.full((3, 7, 5), NAN, dtype=torch.bfloat16)
        result = ops.prepare_image(data, **place, **size, dtype=torch.bfloat16, out=out)
        assert result is out
        assert torch.equal(out, ops.prepare_image(data, **place, **size, dtype=torch.bfloat16))


# --- refusals

GOOD = {'encoding': 'bgr8', 'width': 4, 'height': 2, 'step': 12, 'out_width': 3, 'out_height': 3}


@pytest.mark.parametrize(
    ('arguments', 'reason', 'message'),
    [
        ({'encoding': 'bayer_rggb8'}, 'unknown_encoding', 'bayer_rggb8'),
        ({'encoding': ''}, 'unknown_encoding', "''"),
        ({'step': 11}, 'step_too_small', 'step 11 < 12'),
        ({'encoding': '32FC1', 'step': 15}, 'step_too_small', 'step 15 < 16'),
        ({'step': 13}, 'data_too_short', '24 bytes < step 13 x height 2'),
        ({'height': 3}, 'data_too_short', 'height 3'),
        ({'width': 0}, 'empty_image', '0 x 2'),
        ({'height': 0}, 'empty_image', '4 x 0'),
    ],
)
def test_unusable_images(arguments, reason, message):
    with pytest.raises(DataError, match=message) as error:
        ops.prepare_image(torch.zeros(24, dtype=torch.uint8), **{**GOOD, **arguments})
    assert error.value.reason == reason


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        ({'out_width': 0}, ValueError, 'out_width = 0'),
        ({'out_height': -1}, ValueError, 'out_height = -1'),
        ({'resize': 'cubic'}, ValueError, "resize = 'cubic'"),
        ({'mean': (0, 0)}, ValueError, 'mean'),
        ({'mean': (0, NAN, 0)}, ValueError, 'mean'),
        ({'std': (1, 0, 1)}, ValueError, 'std'),
        ({'scale': INF}, ValueError, 'scale'),
        ({'pad': NAN}, ValueError, 'pad'),
        ({'dtype': torch.float64}, TypeError, 'dtype'),
        ({'data': torch.zeros(24)}, TypeError, 'data'),
        ({'data': torch.zeros(48, dtype=torch.uint8)[::2]}, ValueError, 'data'),
        ({'out': torch.empty(3, 3, 4)}, ValueError, 'out has shape'),
        ({'out': torch.empty(3, 3, 3, dtype=torch.float16)}, TypeError, 'out is'),
        ({'out': torch.empty(3, 3, 3).transpose(1, 2)}, ValueError, 'out has strides'),
    ],
)
def test_arguments_that_are_not_allowed(arguments, error, message):
    with pytest.raises(error, match=message):
        ops.prepare_image(**{'data': torch.zeros(24, dtype=torch.uint8), **GOOD, **arguments})
