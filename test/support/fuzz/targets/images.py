# SPDX-License-Identifier: Apache-2.0
"""Images as cameras send them, raw and compressed, and calibrations."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from sensor_msgs.msg import CameraInfo, Image
from support import bombs
from support.fuzz import images as makers
from support.fuzz.targets.target import Target, Unlike, exact, messages, received, refusals, same_bits

from robocache_core import backends, jpeg, ops
from robocache_core.config import CameraConfig
from robocache_core.encodings import ENCODINGS, in_planes
from robocache_core.rectify import rectify_map, result_info
from robocache_core.samples import CameraFrame
from robocache_ros.decode_image import decode_camera_info, decode_compressed, decode_image

#: What an image may have; above it nothing may be decoded.
MAX_PIXELS = 1 << 14
#: Blocks of a JPEG up to which the slow backend looks for damage too.
_FEW_BLOCKS = 256
STAMP = SimpleNamespace(frame_id='camera', stamp=SimpleNamespace(sec=1, nanosec=0))
_FORMATS = (
    'jpeg',
    'png',
    '',
    'mono16; png compressed ',
    'bayer_rggb8; jpeg compressed bayer_rggb8',
    'rgb8; jpeg compressed bgr8',
)
_SIZE = ('empty_image', 'bad_image_size', 'step_too_small', 'data_too_short')
_CONTAINER = ('decode_failed', 'too_costly', 'unknown_encoding', 'empty_image', 'bad_image_size', 'not_reducible')


def _config(setting: int, message: str) -> CameraConfig:
    return CameraConfig(
        'camera',
        message=message,
        required=False,
        width=5,
        height=4,
        max_pixels=MAX_PIXELS,
        decode_scale=(1, 2, 4, 8)[setting % 4] if message == 'compressed' else 1,
        damaged=('drop', 'keep')[setting // 4 % 2],
        resize=('bilinear', 'nearest', 'area')[setting % 3],
        letterbox=bool(setting & 32),
        dtype='float32',
    )


def check_compressed(data: bytes) -> None:
    """A byte of settings, and the bytes of a CompressedImage."""
    if not data:
        return
    config = _config(data[0], 'compressed')
    content = np.frombuffer(data, np.uint8)[1:].copy()
    message = SimpleNamespace(header=STAMP, format=_FORMATS[data[0] // 8 % len(_FORMATS)], data=content.data)
    with refusals(*_CONTAINER):
        frame = decode_compressed(message, config).decode()
        sent = frame.reduction or frame
        assert 0 < sent.width * sent.height <= MAX_PIXELS, sent
        assert config.damaged == 'keep' or not frame.damage, frame.damage
        _prepared(frame, config)


def check_damage(data: bytes) -> None:
    """A JPEG: both backends find the same damage in it, within the bytes that there are."""
    content = np.frombuffer(jpeg.START + data, np.uint8)
    with refusals('decode_failed', 'too_costly', 'unknown_encoding', 'empty_image'):
        found = jpeg.read_jpeg(content)
        end = max(segment.data[1] for segment in found.segments)
        codes = content[:end].copy()
        with backends.use('cpu'):
            damage = jpeg.damage_in(found, codes)
        assert damage.isprintable()
        if found.width * found.height <= 64 * _FEW_BLOCKS:
            with backends.use('reference'):
                assert jpeg.damage_in(found, codes) == damage, f'the backends differ: {damage}'


def check_raw(data: bytes) -> None:
    """A byte of settings, and an Image."""
    if not data:
        return
    config = _config(data[0], 'raw')
    with refusals('bad_frame_id', 'bad_stamp', 'zero_stamp', 'unknown_encoding', *_SIZE):
        frame = decode_image(received(data[1:], Image), config)
        _prepared(frame, config)


def check_calibration(data: bytes) -> None:
    """Two bytes, of the size of an image, and a CameraInfo."""
    if len(data) < 2:
        return
    width, height = 1 + data[0] % 64, 1 + data[1] % 64
    with refusals('bad_camera_info', 'camera_info_binning', 'camera_info_roi', 'camera_info_size'):
        info = decode_camera_info(received(data[2:], CameraInfo))
        if data[0] & 64:
            width, height = min(info.width, 4096) or 1, min(info.height, 4096) or 1
        size = {'width': width, 'height': height, 'out_width': 6, 'out_height': 5, 'letterbox': bool(data[0] & 128)}
        shown = rectify_map(info, **size)
        assert shown.shape == (5, 6, 2)
        result = result_info(info, **size, rectified=bool(data[1] & 128))
        assert (result.width, result.height) == (6, 5)
        image = {'encoding': 'mono8', 'width': 9, 'height': 7, 'step': 9, 'out_width': 6, 'out_height': 5}
        resize = 'nearest' if data[1] & 64 else 'bilinear'
        _same(torch.arange(9 * 7, dtype=torch.uint8), **image, resize=resize, rectify=shown)


def _prepared(frame: CameraFrame, config: CameraConfig) -> None:
    if frame.width * frame.height > MAX_PIXELS:
        raise Unlike
    image = _same(
        exact(frame.data),
        encoding=in_planes(frame.encoding, frame.sampling),
        width=frame.width,
        height=frame.height,
        step=frame.step,
        is_bigendian=frame.is_bigendian,
        out_width=config.width,
        out_height=config.height,
        resize=config.resize,
        letterbox=config.letterbox,
        scale=config.scale,
    )
    assert image.shape[1:] == (config.height, config.width)
    # An image of floats keeps its infinities and NaN.
    assert ENCODINGS[frame.encoding].dtype == 'float32' or bool(image.isfinite().all())


def _same(data: torch.Tensor, **settings: Any) -> torch.Tensor:
    found: torch.Tensor = same_bits(lambda: ops.prepare_image(data, **settings), lambda image: [image])
    return found


def _compressed_seeds() -> Iterator[bytes]:
    for serial in range(24):
        message = makers.compressed(Random(serial), serial)
        if len(message.data) < 3000:
            yield bytes([serial % 64]) + bytes(message.data)
    yield from (b'\0' + bomb for _, bomb in bombs.BOMBS.values() if len(bomb) < 1000)


def _calibration_seeds() -> Iterator[bytes]:
    return (b'\x1f' + seed for seed in messages('CameraInfo', settings=(23, 87)))


def _jpeg_seeds() -> Iterator[bytes]:
    """Without the bytes that every JPEG begins with."""
    for seed in _compressed_seeds():
        if seed[1:].startswith(jpeg.START):
            yield seed[1 + len(jpeg.START) :]


TARGETS = {
    'compressed': Target(check_compressed, _compressed_seeds),
    'jpeg': Target(check_damage, _jpeg_seeds),
    'image': Target(check_raw, lambda: messages('Image', settings=(0, 1, 2, 33))),
    'calibration': Target(check_calibration, _calibration_seeds),
}
