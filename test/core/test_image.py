# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.images import INF, MEAN, NAN, STD, images, message, random_pixels

from robocache_core import ops
from robocache_core.encodings import ENCODINGS
from robocache_core.samples import DataError

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


NORMALISATIONS = [(1.0, (0.0,) * 3, (1.0,) * 3), (1 / 255, MEAN, STD), (1e-6, (0.0,) * 3, (1.0, 2.0, 3.0))]


@given(
    images(),
    st.sampled_from(['bilinear', 'nearest', 'area']),
    st.booleans(),
    st.sampled_from(DTYPES),
    st.sampled_from(NORMALISATIONS),
    st.sampled_from([0.0, 114.0]),
)
@settings(max_examples=200, deadline=None)
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


@st.composite
def maps(draw, place):
    """Smooth and wild maps, over the edges of the image, on half and whole pixels, with NaN and infinities."""
    shape = (place['out_height'], place['out_width'], 2)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = np.array([place['width'], place['height']])
    values = rng.uniform(-1.5, 1.5 + size, shape)
    if draw(st.booleans()):
        values = np.rint(2 * values) / 2
    odd = rng.choice([NAN, INF, -INF, 1e30, -0.0, -0.5, 1e-7], shape)
    return torch.from_numpy(np.where(rng.random(shape) < 0.1, odd, values).astype(np.float32))


@given(st.data(), images(), st.sampled_from(['bilinear', 'nearest']), st.sampled_from(DTYPES))
@settings(max_examples=150, deadline=None)
def test_parity_of_maps(assert_parity, data, image, resize, dtype):
    pixels, place = image
    rectify = data.draw(maps(place))
    assert_parity(ops.prepare_image, pixels, **place, resize=resize, rectify=rectify, dtype=dtype, pad=3.0, scale=0.1)


@pytest.mark.parametrize('encoding', ['rgb8', 'bayer_rggb8', 'yuyv', 'nv12'])
def test_parity_of_maps_that_read_far_apart(assert_parity, encoding):
    """More rows for one row of the result than are unpacked at once, then few again."""
    width, height, out_width = 2000, 1100, 9
    pixels = random_pixels(encoding, width, height)
    data, place = message(pixels)
    place['height'] = height
    ends = [0, 500, 1099, 0, 1099, 3, 700, 1098, 1]
    far = np.stack([np.linspace(0, width, out_width), np.array(ends) - 0.25], axis=-1)
    near = np.stack([np.linspace(-2, width + 2, out_width), 1000 + np.arange(out_width) / 4], axis=-1)
    rectify = torch.from_numpy(np.stack([near, far, near, far, near]).astype(np.float32))
    assert_parity(ops.prepare_image, data, encoding=encoding, **place, out_width=out_width, out_height=5,
                  rectify=rectify)  # fmt: skip


# --- what is read


@pytest.mark.usefixtures('each_backend')
class TestRule:
    @pytest.mark.parametrize('encoding', [name for name, spec in ENCODINGS.items() if spec.layout == 'packed'])
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

    @pytest.mark.parametrize('encoding', ['bgr8', 'mono8', '16UC1', '32FC1'])
    @pytest.mark.parametrize('resize', ['bilinear', 'nearest', 'area'])
    def test_one_pixel_fills_the_result(self, encoding, resize):
        pixels = np.full((1, 1, ENCODINGS[encoding].channels), 77, ENCODINGS[encoding].dtype)
        data, place = message(pixels)
        result = ops.prepare_image(data, encoding=encoding, **place, out_width=9, out_height=4, resize=resize)
        assert (result == 77).all()

    def test_area_counts_a_cut_pixel_by_its_part(self):
        data, place = message(np.array([[[30], [60], [90]]], np.uint8))
        result = ops.prepare_image(data, encoding='mono8', **place, out_width=2, out_height=1, resize='area')
        assert result[0, 0].tolist() == pytest.approx([40, 80])

    def test_area_does_not_read_beside_its_box(self):
        pixels = np.array([1, 2, 3, 4, NAN, INF, 7, 8, 9], np.float32).reshape(1, 9, 1)
        data, place = message(pixels)
        result = ops.prepare_image(data, encoding='32FC1', **place, out_width=3, out_height=1, resize='area')
        assert result[0, 0, 0] == 2
        assert result[0, 0, 1].isnan()
        assert result[0, 0, 2] == pytest.approx(8)


# --- the same bits on any number of threads, at every level of SIMD

LEVELS = """
import hashlib, sys
import numpy as np, torch
from robocache_core import backends, ops
from robocache_core.encodings import ENCODINGS
import _robocache_core

assert backends.active().name == 'cpu'
digest = hashlib.sha256()
rng = np.random.default_rng(0)
for name, spec in ENCODINGS.items():
    # 200 columns: more than one block of each level and a rest; 31 to 900: scales that blocks span, and do not.
    for width, out_width in ((200, 200), (324, 70), (900, 37), (32, 203)):
        height, out_height = 48, 29
        step = spec.row_bytes(width) + 4
        raw = rng.integers(0, 256, step * spec.rows(height), dtype=np.uint8)
        if spec.dtype == 'float32':
            raw[3::4] = 64
        at = rng.uniform(-1, (width, height), (out_height, out_width, 2)).astype(np.float32)
        for options in ({}, {'resize': 'nearest'}, {'resize': 'area'}, {'rectify': torch.from_numpy(at)}):
            scaled = {'scale': 0.01, 'mean': (0.4, 0.5, 0.6), 'std': (0.3, 0.2, 0.1)}
            kinds = [(dtype, scaled) for dtype in (torch.float32, torch.float16, torch.bfloat16)]
            for dtype, normalisation in kinds + [(torch.uint8, {})] * (spec.dtype == 'uint8'):
                result = ops.prepare_image(
                    torch.from_numpy(raw), encoding=name, width=width, height=height, step=step, out_width=out_width,
                    out_height=out_height, dtype=dtype, **normalisation, **options
                )
                digest.update(result.view(torch.uint8).numpy().tobytes())
print(_robocache_core.simd, digest.hexdigest())
"""


@pytest.mark.usefixtures('assert_parity')
def test_every_level_of_simd_gives_the_same_bits():
    def run(level: str) -> list[str]:
        environment = {**os.environ, 'ROBOCACHE_SIMD': level, 'ROBOCACHE_BACKEND': 'cpu'}
        done = subprocess.run([sys.executable, '-c', LEVELS], env=environment, capture_output=True, text=True)
        if 'this CPU has' in done.stderr:
            return [level, '']
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    results = dict(map(run, ('default', 'avx2', 'avx512')))
    assert results['default']
    assert set(results) == {'default', 'avx2', 'avx512'}
    assert {digest for digest in results.values() if digest} == {results['default']}


@pytest.mark.usefixtures('assert_parity')
def test_a_level_that_does_not_exist_is_refused():
    environment = {**os.environ, 'ROBOCACHE_SIMD': 'sse9', 'ROBOCACHE_BACKEND': 'cpu'}
    code = 'from robocache_core import backends; backends.active()'
    done = subprocess.run([sys.executable, '-c', code], env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert 'ROBOCACHE_SIMD=sse9: must be default, avx2 or avx512' in done.stderr


@pytest.mark.usefixtures('assert_parity')
@pytest.mark.parametrize('resize', ['bilinear', 'area'])
def test_every_number_of_threads_gives_the_same_bits(resize):
    results = []
    before = ops.num_threads()
    try:
        for encoding in ('bgr8', 'bayer_rggb8'):
            pixels = random_pixels(encoding, 1920, 1080)
            data, place = message(pixels)
            for threads in (1, 2, 3, 7):
                ops.set_num_threads(threads)
                results.append(ops.prepare_image(data, encoding=encoding, **place, out_width=640, out_height=384,
                                                 resize=resize, dtype=torch.float16))  # fmt: skip
    finally:
        ops.set_num_threads(before)
    assert all(torch.equal(result, results[0]) for result in results[:4])
    assert all(torch.equal(result, results[4]) for result in results[4:])


# --- refusals

GOOD = {'encoding': 'bgr8', 'width': 4, 'height': 2, 'step': 12, 'out_width': 3, 'out_height': 3}


@pytest.mark.parametrize(
    ('arguments', 'reason', 'message'),
    [
        ({'encoding': 'bayer_rgbg8'}, 'unknown_encoding', 'bayer_rgbg8'),
        ({'encoding': ''}, 'unknown_encoding', "''"),
        ({'step': 11}, 'step_too_small', 'step 11 < 12'),
        ({'encoding': '32FC1', 'step': 15}, 'step_too_small', 'step 15 < 16'),
        ({'step': 13}, 'data_too_short', '24 bytes < step 13 x height 2'),
        ({'height': 3}, 'data_too_short', 'height 3'),
        ({'encoding': 'bayer_rggb8', 'step': 4}, 'bad_image_size', '4 x 2 pixels bayer_rggb8: needs 3 x 3'),
        ({'encoding': 'yuyv', 'width': 3}, 'bad_image_size', '3 x 2 pixels yuyv: the width must be even'),
        ({'encoding': 'nv12', 'width': 3}, 'bad_image_size', 'the width must be even'),
        ({'encoding': 'nv12', 'height': 3}, 'bad_image_size', 'the height must be even'),
        ({'encoding': 'yuv422', 'step': 7}, 'step_too_small', 'step 7 < 8'),
        ({'encoding': 'nv12', 'step': 9}, 'data_too_short', '24 bytes < step 9 x 3 rows of height 2'),
        ({'width': 0}, 'empty_image', '0 x 2'),
        ({'width': 1 << 21}, 'bad_image_size', '2097152 x 2 pixels: must be at most 1048576 along an axis'),
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
        ({'scale': INF}, ValueError, 'scale = inf'),
        ({'pad': NAN}, ValueError, 'pad = nan'),
        ({'scale': 1e39}, ValueError, r'scale = 1e\+39: scale / std must be -3.402823e\+38 to 3.402823e\+38'),
        ({'scale': -1e30, 'std': (1, 1e-9, 1)}, ValueError, r'scale = -1e\+30: scale / std must be'),
        ({'mean': (0, 0, 1e30), 'std': (1, 1, 1e-9)}, ValueError, r'mean = \(0.0, 0.0, 1e\+30\): -mean / std must be'),
        ({'std': (1e-300, 1, 1)}, ValueError, r'scale = 1.0: scale / std must be'),
        ({'pad': 1e39}, ValueError, r'pad = 1e\+39: it must be -3.402823e\+38 to 3.402823e\+38'),
        ({'pad': -1e38, 'scale': 10}, ValueError, r'pad = -1e\+38: pad \* scale / std must be'),
        ({'pad': 3e38, 'mean': (-3e38,) * 3}, ValueError, r'pad = 3e\+38: \(pad \* scale - mean\) / std must be'),
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
