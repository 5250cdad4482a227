# SPDX-License-Identifier: Apache-2.0
"""Images as uint8, as they were sent: the rule of rounding, the same bits everywhere, and what is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.driving import T0, image
from support.images import images, message, random_pixels

from robocache_core import ops, payload
from robocache_core.config import CameraConfig, PipelineConfig
from robocache_core.encodings import ENCODINGS
from robocache_core.pipeline import Pipeline
from robocache_core.tunable import ConfigError
from robocache_core.units import MS

EIGHT_BITS = [name for name, spec in ENCODINGS.items() if spec.dtype == 'uint8']


@given(
    images().filter(lambda image: image[1]['encoding'] in EIGHT_BITS),
    st.sampled_from(['bilinear', 'nearest', 'area']),
    st.booleans(),
    st.sampled_from([0.0, 114.0, 255.0]),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_a_value_is_that_of_float32_rounded_to_the_nearest_even(assert_parity, image, resize, letterbox, pad, mapped):
    data, place = image
    options = {'resize': resize, 'letterbox': letterbox, 'pad': pad}
    if mapped and resize != 'area':
        rng = np.random.default_rng(place['width'])
        size = (place['out_height'], place['out_width'], 2)
        options['rectify'] = torch.from_numpy(rng.uniform(-1, place['width'], size).astype(np.float32))
    result = assert_parity(ops.prepare_image, data, **place, **options, dtype=torch.uint8)
    exact = ops.prepare_image(data, **place, **options, dtype=torch.float32)
    assert result.dtype == torch.uint8
    np.testing.assert_array_equal(result.numpy(), np.rint(exact.numpy()).astype(np.uint8))


@pytest.mark.parametrize('size', [16, 17, 400])
def test_the_middle_of_two_pixels_goes_to_the_even_one(assert_parity, size):
    """Twice as wide an image: between p and p + 1 are quarters, and with a map halves."""
    pixels = np.tile(np.array([0, 1, 2, 3, 254, 255], np.uint8), size)[None, :, None].repeat(3, axis=2)
    data, place = message(pixels)
    at = np.zeros((1, 5 * size, 2), np.float32)
    at[0, :, 0] = np.arange(5 * size) + 0.5
    result = assert_parity(
        ops.prepare_image, data, **place, encoding='rgb8', out_width=5 * size, out_height=1,
        rectify=torch.from_numpy(at), dtype=torch.uint8,
    )  # fmt: skip
    row = pixels[0, :, 0].astype(float)
    np.testing.assert_array_equal(result[0, 0].numpy(), np.rint((row[:-1] + row[1:])[: 5 * size] / 2))


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', 'bgra8', 'mono8'])
def test_pixels_of_the_same_size_are_those_that_were_sent(encoding):
    pixels = random_pixels(encoding, 50, 20)
    data, place = message(pixels, padding=3)
    result = ops.prepare_image(data, **place, encoding=encoding, out_width=50, out_height=20, dtype=torch.uint8)
    sent = pixels[..., list(ENCODINGS[encoding].order)].transpose(2, 0, 1)
    np.testing.assert_array_equal(result.numpy(), sent)


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'scale': 0.5}, 'must be 1 and 0 with torch.uint8'),
        ({'mean': (1.0, 0.0, 0.0)}, 'must be 1 and 0 with torch.uint8'),
        ({'pad': 114.5}, r'pad = 114\.5: must be a whole number from 0 to 255'),
        ({'pad': 256.0}, r'pad = 256\.0: must be a whole number from 0 to 255'),
        ({'encoding': 'mono16', 'step': 12}, 'the pixels are uint16: must be of 8 bits'),
        ({'encoding': '32FC1', 'width': 3}, 'the pixels are float32: must be of 8 bits'),
    ],
)
def test_what_uint8_cannot_hold_is_refused(changes, said):
    place = {'encoding': 'rgb8', 'width': 4, 'height': 2, 'step': 12, 'out_width': 4, 'out_height': 2}
    with pytest.raises(ValueError, match=said):
        ops.prepare_image(torch.zeros(24, dtype=torch.uint8), **place | changes, dtype=torch.uint8)


# ---- in the pipeline -------------------------------------------------------------------------------------------------


def camera(**changes):
    return CameraConfig('front', **{'width': 4, 'height': 2, 'dtype': 'uint8', 'tolerance_ns': 10 * MS} | changes)


def frames_of(config, *samples):
    pipeline = Pipeline(PipelineConfig(cameras=(config,)))
    for sample in samples:
        pipeline.receive('front')
        pipeline.push('front', sample)
    return pipeline.poll(), pipeline


@pytest.mark.parametrize(('layout', 'shape'), [('chw', (3, 2, 4)), ('hwc', (2, 4, 3))])
def test_a_frame_holds_the_pixels_and_its_file_too(layout, shape):
    pixels = random_pixels('rgb8', 4, 2)
    sample = dataclasses.replace(image(T0), data=message(pixels)[0])
    config = camera(layout=layout)
    (frame,), _ = frames_of(config, sample)
    found = payload.decode(payload.encode(frame)).tensors['front']
    assert (found.dtype, tuple(found.shape)) == (torch.uint8, shape)
    assert torch.equal(found, frame.tensors['front'].cpu())
    np.testing.assert_array_equal(config.channels_first(found).numpy(), pixels.transpose(2, 0, 1))


@pytest.mark.parametrize('layout', ['chw', 'hwc'])
def test_without_an_image_a_frame_has_the_same_type_and_shape(layout):
    config = PipelineConfig(
        cameras=(camera(layout=layout, required=False), CameraConfig('rear', width=4, height=2)),
    )
    config = dataclasses.replace(config, sync=dataclasses.replace(config.sync, trigger='rear'))
    pipeline = Pipeline(config)
    pipeline.receive('rear')
    pipeline.push('rear', image(T0))
    pipeline.give_up()
    (frame,) = pipeline.poll()
    tensor = frame.tensors['front']
    assert (tensor.dtype, tuple(tensor.shape)) == (torch.uint8, {'chw': (3, 2, 4), 'hwc': (2, 4, 3)}[layout])
    assert not frame.valid['front']


@pytest.mark.parametrize('encoding', ['mono16', '16UC1', '32FC1'])
def test_an_image_of_more_than_8_bits_is_dropped_by_name(encoding):
    size = np.dtype(ENCODINGS[encoding].dtype).itemsize
    sample = dataclasses.replace(
        image(T0), data=torch.zeros(8 * size, dtype=torch.uint8), encoding=encoding, step=4 * size
    )
    frames, pipeline = frames_of(camera(), sample)
    assert frames == []
    assert pipeline.ledger['front'].counts().dropped == {'beyond_uint8': 1}


def test_settings_of_other_types_do_not_count():
    (default,), _ = frames_of(camera(), image(T0))
    (identity,), _ = frames_of(camera(scale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3), image(T0))
    assert default.tensors['front'].unique().tolist() == identity.tensors['front'].unique().tolist() == [128]


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'scale': 0.5}, "front.scale = 0.5: must be left out with front.dtype = 'uint8', whose pixels are not norm"),
        ({'mean': (0.5, 0.5, 0.5)}, 'front.mean = (0.5, 0.5, 0.5): must be left out'),
        ({'std': (0.5, 0.5, 0.5)}, 'front.std = (0.5, 0.5, 0.5): must be left out'),
        ({'pad': 114.5}, 'front.pad = 114.5: must be a whole number from 0 to 255'),
        ({'layout': 'nhwc'}, "front.layout = 'nhwc': must be one of chw, hwc"),
        ({'dtype': 'int8'}, "front.dtype = 'int8': must be one of float32, float16, bfloat16, uint8"),
    ],
)  # fmt: skip
def test_a_configuration_that_cannot_be_is_refused(changes, said):
    with pytest.raises(ConfigError) as refusal:
        camera(**changes)
    assert said in str(refusal.value)
