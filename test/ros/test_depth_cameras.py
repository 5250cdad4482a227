# SPDX-License-Identifier: Apache-2.0
"""Depth cameras: what their messages hold, in every form that drivers send, live and from a bag."""

from __future__ import annotations

import array
import math
import sys
from random import Random

import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image
from support import bags, bombs, depths
from support.cameras import make_info
from support.live import Live
from support.messages import header

from robocache_core import DataError, DepthConfig, backends, ops, payload
from robocache_ros import parameters
from robocache_ros.decode_depth import decode_compressed_depth, decode_depth
from robocache_ros.offline import fused_frames, make_pipeline

RAW = DepthConfig('depth', topic='/depth/image_raw')
PACKED = DepthConfig('depth', topic='/depth/image_raw/compressedDepth', max_pixels=10_000)
SCENE = depths.scene()
METRES = (SCENE * 0.001).astype(np.float32)


def image(pixels: np.ndarray, *, padding: int = 0, is_bigendian: bool = False) -> Image:
    pixels = pixels.astype(pixels.dtype.newbyteorder('>' if is_bigendian else '<'))
    rows = np.pad(np.ascontiguousarray(pixels).view(np.uint8), ((0, 0), (0, padding)), constant_values=0xAB)
    encoding = {2: '16UC1', 4: '32FC1'}[pixels.itemsize]
    message = Image(header=header(), height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    message.is_bigendian, message.step, message.data = (
        int(is_bigendian),
        rows.shape[1],
        array.array('B', rows.tobytes()),
    )
    return message


def packed(data: bytes, form: str) -> CompressedImage:
    return CompressedImage(header=header(), format=form, data=array.array('B', data))


def depth_of(sample, **settings) -> np.ndarray:
    """Metres of a sample, at its own size."""
    depth, _ = ops.prepare_depth(
        sample.data, encoding=sample.encoding, width=sample.width, height=sample.height, step=sample.step,
        is_bigendian=sample.is_bigendian, out_width=sample.width, out_height=sample.height, **settings,
    )  # fmt: skip
    return depth[0].numpy()


@pytest.mark.parametrize('is_bigendian', [False, True])
@pytest.mark.parametrize('padding', [0, 3])
@pytest.mark.parametrize('pixels', [SCENE, METRES], ids=['16UC1', '32FC1'])
def test_a_raw_image_of_any_layout(pixels, padding, is_bigendian):
    sample = decode_depth(image(pixels, padding=padding, is_bigendian=is_bigendian), RAW)
    np.testing.assert_array_equal(depth_of(sample), METRES)


@pytest.mark.parametrize('head', [0, -1, 1, 0x7FC00000])
@pytest.mark.parametrize(
    ('codec', 'form'),
    [
        ('png', '16UC1; compressedDepth png'),
        ('png', '16UC1; compressedDepth'),
        ('png', '16UC1; compressedDepth rvl'),  # it starts as a PNG
        ('png', 'compressedDepth'),
        ('png', '16uc1; COMPRESSEDDEPTH PNG'),
        ('rvl', '16UC1; compressedDepth rvl'),
        ('rvl', '16UC1; compressedDepth'),
    ],
)
def test_counts_come_back_from_any_codec_whatever_the_header_says(codec, form, head):
    data = depths.compressed_depth(SCENE, codec, head, (math.nan, math.inf))
    sample = decode_compressed_depth(packed(data + b'behind', form), PACKED).decode()
    assert (sample.encoding, sample.is_bigendian) == ('16UC1', sys.byteorder == 'big')
    np.testing.assert_array_equal(depth_of(sample), METRES)


@pytest.mark.parametrize('form', ['16UC1; png compressed ', '16UC1; png compressed', 'png', ''])
def test_a_plain_png_of_16_bits_is_depth(form):
    sample = decode_compressed_depth(packed(depths.png(SCENE), form), PACKED).decode()
    np.testing.assert_array_equal(depth_of(sample), METRES)


@pytest.mark.parametrize('codec', ['png', 'rvl'])
def test_the_quantisation_of_metres_is_undone(codec):
    metres = METRES.copy()
    metres[0, :4] = math.nan, math.inf, -1.0, 30.0
    counts, quantum = depths.quantised(metres)
    data = depths.compressed_depth(counts, codec, -1, quantum)
    sample = decode_compressed_depth(packed(data, f'32FC1; compressedDepth {codec}'), PACKED).decode()
    assert sample.encoding == '32FC1'
    found = depth_of(sample)
    expected = np.where(np.isfinite(metres) & (metres > 0) & (metres < 10), metres, 0)
    np.testing.assert_array_equal(found > 0, expected > 0)
    # A step of the quantisation is depth squared by depthQuantA.
    assert (np.abs(found - expected) <= 0.51 * expected**2 / quantum[0] + 1e-6).all()


BLACK = np.zeros((200, 200), np.uint16)
JPEG = b'\xff\xd8\xff\xe0' + bytes(20)


@pytest.mark.parametrize(
    ('data', 'form', 'reason', 'text'),
    [
        (JPEG, '16UC1; jpeg compressed ', 'unknown_encoding', 'record the topic of compressedDepth'),
        (JPEG, 'rgb8; jpeg compressed bgr8', 'unknown_encoding', 'must be of 16UC1 or 32FC1'),
        (bytes(40), '16UC1; png compressed', 'unknown_encoding', 'neither compressedDepth nor PNG'),
        (bytes(40), '16UC1; compressedDepth png', 'decode_failed', 'starts? as neither PNG nor RVL'),
        (b'', '16UC1; compressedDepth rvl', 'decode_failed', '0 bytes'),
        (bytes(12), '16UC1; compressedDepth rvl', 'decode_failed', '12 bytes'),
        (bytes(40), '16UC1; compressedDepth rvl', 'empty_image', '0 x 0'),
        (bytes(12) + b'\xff' * 8, '16UC1; compressedDepth rvl', 'bad_image_size', 'depth.max_pixels = 10000'),
        (depths.compressed_depth(BLACK), '16UC1; compressedDepth', 'bad_image_size', '200 x 200'),
        (depths.compressed_depth(SCENE)[:-9], '16UC1; compressedDepth', 'decode_failed', 'cut short'),
        (depths.compressed_depth(SCENE.astype(np.uint8)), '16UC1; compressedDepth', 'unknown_encoding', 'of 8 bits'),
        (bytes(12) + bombs.png(1 << 20, 9), '16UC1; compressedDepth', 'unknown_encoding', 'PNG'),
        (depths.compressed_depth(SCENE), '32FC1; compressedDepth', 'decode_failed', 'depthQuantA = 0'),
        (depths.compressed_depth(SCENE, quantum=(1.0, math.nan)), '32FC1; compressedDepth', 'decode_failed', 'nan'),
        (depths.png(SCENE), '32FC1; compressedDepth', 'decode_failed', 'quantisation is missing'),
        (b'\x00' * 5, '32FC1; compressedDepth rvl', 'decode_failed', 'quantisation is missing'),
    ],
)  # fmt: skip
def test_what_is_no_depth_image_is_refused_by_name(data, form, reason, text):
    with pytest.raises(DataError, match=text) as error:
        decode_compressed_depth(packed(data, form), PACKED)
    assert error.value.reason == reason


def test_damage_in_the_pixels_is_found_when_they_are_decoded():
    data = bytearray(depths.compressed_depth(SCENE, 'rvl'))
    encoded = decode_compressed_depth(packed(bytes(data[:-200]), '16UC1; compressedDepth rvl'), PACKED)
    with pytest.raises(DataError, match='less than 64 x 48 pixels') as error:
        encoded.decode()
    assert error.value.reason == 'decode_failed'


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'encoding': 'mono16'}, 'unknown_encoding'),
        ({'encoding': 'bgr8'}, 'unknown_encoding'),
        ({'width': 0}, 'empty_image'),
        ({'height': 0}, 'empty_image'),
        ({'step': 100}, 'step_too_small'),
        ({'height': 49}, 'data_too_short'),
        ({'width': 1 << 28}, 'bad_image_size'),
    ],
)
def test_a_raw_image_that_is_none_is_refused(changes, reason):
    message = image(SCENE)
    for name, value in changes.items():
        setattr(message, name, value)
    with pytest.raises(DataError) as error:
        decode_depth(message, RAW)
    assert error.value.reason == reason


# --- whole pipelines

VALUES = {
    'depths': ['raw', 'metres', 'png', 'rvl'],
    'sync.rate_hz': 10.0,
    'raw.topic': '/raw/depth',
    'metres.topic': '/metres/depth',
    'metres.rectify': True,
    'metres.voxel.output': 'sparse',
    'metres.voxel.size': [0.1, 0.1, 0.1],
    'png.topic': '/png/depth/compressedDepth',
    'rvl.topic': '/rvl/depth/compressedDepth',
    'rvl.resize': 'min',
    'rvl.letterbox': True,
}
for name in VALUES['depths']:
    VALUES |= {f'{name}.width': 40, f'{name}.height': 40}


def only(name: str) -> dict:
    """The parameters of one of the streams."""
    own = {key: value for key, value in VALUES.items() if key.partition('.')[0] in ('sync', name)}
    return own | {'depths': [name]}


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    messages = []
    for ms in range(0, 1000, 100):
        counts = depths.scene(seed=ms)
        metres = (counts * 0.001).astype(np.float32)
        quanta, quantum = depths.quantised(metres)
        png = depths.compressed_depth(quanta, 'png', 7, quantum)
        rvl = depths.compressed_depth(counts, 'rvl', -3)
        messages += [
            (ms, '/raw/depth', depths.depth_image(ms, counts)),
            (ms, '/metres/depth', depths.depth_image(ms, metres)),
            (ms - 1, '/metres/camera_info', depths.camera_info(ms, 64, 48, 60.0, d=(-0.2, 0.05, 0.001, 0.0, 0.0))),
            (ms, '/png/depth/compressedDepth', depths.compressed_image(ms, png, '32FC1; compressedDepth png')),
            (ms, '/rvl/depth/compressedDepth', depths.compressed_image(ms, rvl, '16UC1; compressedDepth rvl')),
        ]
    return bags.write(tmp_path_factory.mktemp('depth') / 'bag', messages)


def frames_of(bag, values=VALUES):
    config, _ = parameters.from_dict(values, warn=pytest.fail)
    pipeline = make_pipeline(config)
    frames = list(fused_frames(bag, config, pipeline))
    assert {reason for account in pipeline.ledger.values() for reason in account.counts().dropped} <= {'unselected'}
    return frames


def test_a_frame_holds_metres_and_validity(bag):
    frames = frames_of(bag)
    assert len(frames) >= 9
    for frame in frames:
        for name in VALUES['depths']:
            depth, valid = frame.tensors[name], frame.tensors[f'{name}.valid']
            assert (tuple(depth.shape), str(depth.dtype)) == ((1, 40, 40), 'torch.float32')
            assert (tuple(valid.shape), str(valid.dtype)) == ((1, 40, 40), 'torch.bool')
            assert 0.5 < valid.double().mean() < 1
            assert ((depth > 0) == valid).all()
        assert not frame.tensors['rvl.valid'][0, :5].any(), 'padding'
        assert frame.tensors['metres.counts'].sum() > 2000
        assert frame.frame_id == 'depth_optical'
        assert frame.views['metres'].info.d == (0.0,) * 5
        assert frame.views['metres'].frame_id == 'depth_optical'


def test_live_and_offline_give_the_same_bits(bag):
    live, offline = Live(bag, VALUES), frames_of(bag)
    assert len(live.frames) >= 8
    assert [payload.digest(frame) for frame in live.frames] == [
        payload.digest(frame) for frame in offline[: len(live.frames)]
    ]


def test_every_backend_gives_the_same_bits(bag):
    found = []
    for name in backends.NAMES:
        with backends.use(name):
            found.append([payload.digest(frame) for frame in frames_of(bag)])
    assert found[0] == found[1]


def test_a_depth_camera_that_is_missing_is_blank(bag):
    frames = frames_of(
        bag, only('raw') | {'depths': ['raw', 'gone'], 'gone.required': False, 'gone.width': 8, 'gone.height': 4}
    )
    assert all(not frame.valid['gone'] and frame.valid['raw'] for frame in frames)
    assert all(tuple(frame.tensors['gone.valid'].shape) == (1, 4, 8) for frame in frames)
    assert not any(frame.tensors['gone'].any() or frame.tensors['gone.valid'].any() for frame in frames)


def test_an_image_of_which_no_point_is_in_a_voxel_is_a_warning_by_the_parameters_that_it_has(bag):
    config, _ = parameters.from_dict(
        only('metres') | {'metres.voxel.lower': [20.0, 20.0, 20.0], 'metres.voxel.upper': [30.0, 30.0, 30.0]}
    )
    frames = fused_frames(bag, config)
    assert len(list(frames)) >= 9
    (line,) = frames.warnings
    assert 'frames have no voxel of metres (points dropped so far: ' in line
    assert line.endswith('do metres.voxel.lower and upper, min_depth, max_depth and extrinsics fit?')


def test_a_turned_camera_is_not_rectified():
    config, _ = parameters.from_dict(only('metres'), warn=pytest.fail)
    pipeline = make_pipeline(config)
    pipeline.set_camera_info('metres', make_info())
    refused = []
    pipeline.on_refused = lambda *args: refused.append(args)
    pipeline.receive('metres')
    pipeline.push('metres', decode_depth(image(METRES), RAW))
    ((_, reason, text),) = refused
    assert reason == 'bad_camera_info'
    assert 'must be the identity for metres.rectify' in text


def test_whatever_comes_as_compressed_depth_is_decoded_or_refused_by_name():
    """Bytes turned, cut and put in, under any format."""
    rng = Random(0)
    packings = ('compressedDepth png', 'compressedDepth rvl', 'compressedDepth', 'png compressed')
    formats = [f'{encoding}; {packing}' for encoding in ('16UC1', '32FC1') for packing in packings]
    formats += ['', '\x00;', 'bgr8; jpeg compressed bgr8']
    quanta, quantum = depths.quantised(METRES)
    whole = [depths.compressed_depth(SCENE, codec) for codec in ('png', 'rvl')]
    whole += [depths.compressed_depth(quanta, codec, -1, quantum) for codec in ('png', 'rvl')] + [
        depths.png(SCENE),
        JPEG,
    ]
    decoded, reasons = 0, set()
    for _ in range(1500):
        data = bytearray(rng.choice(whole))
        for _ in range(rng.choice((0, 0, 1, 3))):
            data[rng.choice((rng.randrange(32), rng.randrange(len(data)))) % len(data)] = rng.choice(
                (0, 255, rng.randrange(256))
            )
        data = data[: rng.randrange(len(data))] if rng.random() < 0.1 else data
        try:
            sample = decode_compressed_depth(packed(bytes(data), rng.choice(formats)), PACKED).decode()
        except DataError as error:
            reasons.add(error.reason)
        else:
            decoded += 1
            assert depth_of(sample).shape == (sample.height, sample.width)
    assert decoded > 200
    assert reasons <= {'unknown_encoding', 'decode_failed', 'empty_image', 'bad_image_size', 'too_costly'}
