# SPDX-License-Identifier: Apache-2.0
"""Preparation of depth images: the same bits on every backend, OpenCV's pixels, and nothing where nothing was seen."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cameras import HEIGHT, WIDTH, make_info
from support.images import INF, NAN, message, random_pixels

from robocache_core import ops
from robocache_core.encodings import DEPTH_ENCODINGS, MAX_PIXELS
from robocache_core.rectify import rectify_map
from robocache_core.samples import DataError

ODD = np.float32([[0.0, -0.0, NAN, INF, -INF, -1.0, 1e-42, 3e38]])


@st.composite
def depth_images(draw):
    encoding = draw(st.sampled_from(DEPTH_ENCODINGS))
    width, height = draw(st.integers(1, 70)), draw(st.integers(1, 24))
    pixels = random_pixels(encoding, width, height, draw(st.integers(0, 2**32 - 1)), special=True)
    pixels[np.random.default_rng(0).random(pixels.shape) < draw(st.sampled_from([0.0, 0.3, 1.0]))] = 0
    data, place = message(pixels, draw(st.integers(0, 7)), draw(st.booleans()))
    out = {'out_width': draw(st.integers(1, 70)), 'out_height': draw(st.integers(1, 24))}
    return data, {'encoding': encoding, **out, **place}


@given(
    depth_images(),
    st.sampled_from(['nearest', 'min']),
    st.booleans(),
    st.sampled_from([0.0, 0.001, 0.00025, 1e30]),
    st.sampled_from([(0.0, math.inf), (0.5, 20.0), (20.0, 60.0)]),
)
@settings(max_examples=150, deadline=None)
def test_parity(assert_parity, image, resize, letterbox, unit, limits):
    data, place = image
    depth, valid = assert_parity(
        ops.prepare_depth, data, **place, resize=resize, letterbox=letterbox, unit=unit, min_depth=limits[0],
        max_depth=limits[1],
    )  # fmt: skip
    assert depth.shape == valid.shape == (1, place['out_height'], place['out_width'])
    assert torch.equal(valid, depth > 0)
    assert not valid.any() or (limits[0] <= depth[valid].min() and depth[valid].max() <= limits[1])


def prepare(pixels, encoding, width, height, **settings):
    data, place = message(pixels[..., None])
    depth, valid = ops.prepare_depth(data, encoding=encoding, out_width=width, out_height=height, **place, **settings)
    return depth[0].numpy(), valid[0].numpy()


@pytest.mark.usefixtures('each_backend')
def test_millimetres_and_metres():
    counts = np.uint16([[0, 1, 1500, 20000, 20001, 65535]])
    depth, valid = prepare(counts, '16UC1', 6, 1, max_depth=20.0)
    np.testing.assert_array_equal(depth, np.float32([[0, 0.001, 1.5, 20.0, 0, 0]]))
    assert valid.tolist() == [[False, True, True, True, False, False]]
    assert prepare(counts, '16UC1', 6, 1, unit=1e-4)[0][0, -1] == np.float32(6.5535)
    assert prepare(np.float32([[1500.0]]), '32FC1', 1, 1, unit=0.001)[0] == 1.5
    depth, valid = prepare(ODD, '32FC1', 8, 1)
    np.testing.assert_array_equal(depth, np.float32([[0, 0, 0, 0, 0, 0, 1e-42, 3e38]]))
    np.testing.assert_array_equal(valid, depth > 0)
    assert not np.signbit(depth).any()


@pytest.mark.usefixtures('each_backend')
def test_the_nearest_of_what_is_covered():
    pixels = np.float32([[5, 4, 0, 0, 9], [3, NAN, 0, 0, 0], [7, 8, 0, 0, 0.5]])
    assert prepare(pixels, '32FC1', 2, 1, resize='min')[0].tolist() == [[3.0, 0.5]]
    assert prepare(pixels, '32FC1', 2, 1, resize='min', min_depth=1.0)[0].tolist() == [[3.0, 9.0]]
    assert prepare(pixels, '32FC1', 5, 1, resize='min')[0].tolist() == [[3.0, 4.0, 0.0, 0.0, 0.5]]
    np.testing.assert_array_equal(
        prepare(pixels, '32FC1', 10, 6, resize='min')[0], np.nan_to_num(pixels).repeat(2, 0).repeat(2, 1)
    )


@pytest.mark.parametrize(('width', 'height'), [(320, 240), (640, 480), (160, 100), (213, 77)])
def test_resized_as_opencv_does(width, height):
    pixels = random_pixels('16UC1', 640, 480)[..., 0]
    expected = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    depth, _ = prepare(pixels, '16UC1', width, height, max_depth=1000.0)
    # Where a centre is on the edge between two pixels either is as near, and OpenCV may take the left one.
    rows, columns = (
        ((2 * np.arange(n) + 1) * size % (2 * n) != 0) | (size % n == 0) for n, size in ((height, 480), (width, 640))
    )
    where = rows[:, None] & columns[None]
    np.testing.assert_array_equal(depth[where], (expected * 0.001).astype(np.float32)[where])
    assert where.mean() > 0.75


@pytest.mark.parametrize('model', ['plumb_bob', 'rational_polynomial', 'equidistant'])
def test_rectified_as_opencv_does(assert_parity, model):
    info = make_info(model)
    rectify = rectify_map(info, width=WIDTH, height=HEIGHT, out_width=160, out_height=100)
    pixels = random_pixels('16UC1', WIDTH, HEIGHT)
    data, place = message(pixels)
    depth, _ = assert_parity(
        ops.prepare_depth, data, encoding='16UC1', out_width=160, out_height=100, rectify=rectify, max_depth=1000.0,
        **place,
    )  # fmt: skip
    at = rectify.numpy()
    expected = cv2.remap(pixels, at[..., 0], at[..., 1], cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
    # OpenCV rounds to 1/32 pixel first: two of its pixels are as near where it is half-way between them.
    middle = np.abs(at - np.floor(at) - 0.5).min(axis=-1) > 1 / 32
    np.testing.assert_array_equal(depth[0].numpy()[middle], (expected * 0.001).astype(np.float32)[middle])
    assert middle.mean() > 0.8


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'encoding': 'mono16'}, 'unknown_encoding'),
        ({'encoding': 'rgb8'}, 'unknown_encoding'),
        ({'width': 0}, 'empty_image'),
        ({'height': 0}, 'empty_image'),
        ({'step': 15}, 'step_too_small'),
        ({'height': 5}, 'data_too_short'),
        ({'width': MAX_PIXELS + 1}, 'bad_image_size'),
    ],
)
def test_an_image_that_cannot_be_read_is_refused(changes, reason):
    place = {'encoding': '16UC1', 'width': 8, 'height': 4, 'step': 16, 'out_width': 4, 'out_height': 4} | changes
    with pytest.raises(DataError) as error:
        ops.prepare_depth(torch.zeros(64, dtype=torch.uint8), **place)
    assert error.value.reason == reason


@pytest.mark.parametrize(
    ('changes', 'text'),
    [
        ({'unit': -1.0}, 'unit = -1.0'),
        ({'unit': math.nan}, 'unit = nan'),
        ({'min_depth': 3.0, 'max_depth': 3.0}, 'min_depth = 3.0, max_depth = 3.0'),
        ({'max_depth': math.nan}, 'max_depth = nan'),
        ({'resize': 'bilinear'}, "resize = 'bilinear': must be one of nearest, min"),
        ({'resize': 'min', 'rectify': torch.zeros(4, 4, 2)}, 'must be nearest with rectify'),
        ({'rectify': torch.zeros(4, 5, 2)}, 'rectify has shape'),
        ({'out_width': 0}, 'out_width = 0'),
        ({'out': (torch.zeros(1, 4, 4), torch.zeros(1, 4, 5, dtype=torch.bool))}, r'out\[1\] \(valid\)'),
    ],
)
def test_an_argument_that_is_not_allowed_is_named(changes, text):
    place = {'encoding': '16UC1', 'width': 8, 'height': 4, 'step': 16, 'out_width': 4, 'out_height': 4} | changes
    with pytest.raises(ValueError, match=text):
        ops.prepare_depth(torch.zeros(64, dtype=torch.uint8), **place)


@pytest.mark.usefixtures('each_backend')
def test_a_result_is_written_where_the_caller_wants_it():
    data, place = message(np.full((4, 8, 1), 1500, np.uint16))
    out = torch.full((1, 4, 4), -1.0), torch.zeros(1, 4, 4, dtype=torch.bool)
    found = ops.prepare_depth(data, encoding='16UC1', out_width=4, out_height=4, out=out, **place)
    assert found[0] is out[0]
    assert (out[0] == 1.5).all()
    assert out[1].all()
