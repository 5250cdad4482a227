# SPDX-License-Identifier: Apache-2.0
"""Images, compressed images and calibrations that are whole, and what is done to them."""

from __future__ import annotations

import functools
import struct
from random import Random
from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from support import bombs
from support.fuzz.changes import HEADER, Changes, bytes_changed, count, header, number, text
from support.images import random_pixels

from robocache_core.encodings import ENCODINGS

PERIOD_NS = 300_000_000  # more would be a calibration that changes too often

IMAGE = Changes()
COMPRESSED = Changes()
INFO = Changes()

SIZES = ('empty_image', 'bad_image_size', 'step_too_small', 'data_too_short')


def image(rng: Random, serial: int, width: int = 0, height: int = 0) -> Image:
    """An image of any encoding, with bytes between its rows or behind it."""
    encoding = rng.choice(list(ENCODINGS))
    width, height = width or rng.choice((4, 6, 32)), height or rng.choice((4, 6, 24))
    big = rng.random() < 0.2
    pixels = random_pixels(encoding, width, height, rng.randrange(1 << 30))
    rows = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder('>' if big else '<')))
    rows = rows.view(np.uint8).reshape(len(pixels), -1)
    rows = np.pad(rows, ((0, 0), (0, rng.choice((0, 0, 5)))))
    message = Image(header=header(serial, 'camera', PERIOD_NS), width=width, height=height, encoding=encoding)
    message.step, message.is_bigendian = rows.shape[1], int(big)
    message.data = rows.tobytes() + rng.choice((b'', b'', b'behind'))
    return message


@IMAGE('unknown_encoding', *SIZES)
def encoding_changed(rng: Random, message: Any) -> None:
    message.encoding = rng.choice((text(rng), 'RGB8', '32FC3', 'rgb16', *ENCODINGS))


@IMAGE(*SIZES)
def size_changed(rng: Random, message: Any) -> None:
    for name in rng.sample(('width', 'height', 'step'), rng.choice((1, 1, 2))):
        setattr(message, name, count(rng))


@IMAGE()
def bytes_in_another_order(rng: Random, message: Any) -> None:
    message.is_bigendian = rng.randrange(256)


@IMAGE('data_too_short')
def pixels_changed(rng: Random, message: Any) -> None:
    message.data = bytes_changed(rng, bytes(message.data))


@functools.cache
def _pictures() -> list[tuple[bytes, tuple[str, ...]]]:
    """Images as encoders make them, and the formats that state them."""
    rng, found = np.random.default_rng(0), []
    mono = ('mono8; jpeg compressed ', 'bayer_rggb8; jpeg compressed bayer_rggb8', 'jpeg', '')
    colour = ('jpeg', '', 'rgb8; jpeg compressed bgr8', 'bgr8; jpeg compressed rgb8', 'mjpeg', 'JPG', 'nv12; jpeg')
    for shape, formats in (((24, 32), mono), ((24, 32, 3), colour), ((4, 4, 3), colour), ((9, 5), mono[2:])):
        smooth = cv2.GaussianBlur(rng.integers(0, 256, shape, np.uint8), (5, 5), 0)
        for flags in ((), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 1), (1, 100), (1, 3)):
            found.append((cv2.imencode('.jpg', smooth, flags)[1].tobytes(), formats))
    png = {
        ('png', '', 'mono8; png compressed ', 'bayer_gbrg8; png compressed '): (
            rng.integers(0, 256, (24, 32), np.uint8)
        ),
        ('png', 'mono16; png compressed ', '16UC1; png compressed '): rng.integers(0, 65536, (24, 32), np.uint16),
        ('png', 'rgb8; png compressed bgr8'): rng.integers(0, 256, (6, 9, 3), np.uint8),
        ('png', 'bgra8; png compressed bgra8'): rng.integers(0, 256, (6, 9, 4), np.uint8),
    }
    found += [(cv2.imencode('.png', pixels)[1].tobytes(), formats) for formats, pixels in png.items()]
    return found


def compressed(rng: Random, serial: int) -> CompressedImage:
    """A JPEG or PNG in any of its forms, in a format that states it."""
    data, formats = rng.choice(_pictures())
    message = CompressedImage(header=header(serial, 'camera', PERIOD_NS), format=rng.choice(formats))
    message.data = data + rng.choice((b'', b'', b'behind', bytes(9)))
    return message


@COMPRESSED('unknown_encoding')
def format_changed(rng: Random, message: Any) -> None:
    formats = [each for _, formats in _pictures() for each in formats]
    odd = ('16UC1; compressedDepth png', '32FC1; jpeg compressed', 'jpeg' + text(rng), 'h264', ';;;jpeg', 'png;jpeg')
    message.format = rng.choice((text(rng), rng.choice(odd), rng.choice(formats)))


@COMPRESSED('decode_failed', 'unknown_encoding', 'empty_image', 'bad_image_size', 'too_costly')
def data_changed(rng: Random, message: Any) -> None:
    message.data = bytes_changed(rng, bytes(message.data))


@COMPRESSED('decode_failed', 'unknown_encoding', 'empty_image', 'bad_image_size', 'too_costly')
def header_changed(rng: Random, message: Any) -> None:
    """What is damaged in the first bytes is what sizes and tables say."""
    data = bytes(message.data)
    message.data = bytes_changed(rng, data[:64]) + data[64:]


@COMPRESSED('decode_failed', 'empty_image', 'bad_image_size', 'unknown_encoding')
def another_size_claimed(rng: Random, message: Any) -> None:
    data = bytes(message.data)
    if data.startswith(b'\xff\xd8'):
        at = next((data.index(b'\xff' + mark) for mark in (b'\xc0', b'\xc2') if b'\xff' + mark in data), len(data))
        message.data = data[: at + 5] + struct.pack('>HH', *(count(rng) & 0xFFFF for _ in 'hw')) + data[at + 9 :]
    else:
        message.data = bombs.png(count(rng) & 0x7FFFFFFF, rng.choice((0, 1, 9)), colour=rng.choice((0, 2, 6)))


def info(rng: Random, serial: int) -> CameraInfo:
    """The calibration of an image of 32 x 24 pixels."""
    f = rng.uniform(15, 60)
    models = (('', 0), ('plumb_bob', 5), ('plumb_bob', 4), ('rational_polynomial', 8), ('equidistant', 4))
    model, num = rng.choice(models)
    message = CameraInfo(header=header(serial, 'camera', PERIOD_NS), width=32, height=24, distortion_model=model)
    message.d = [rng.uniform(-0.01, 0.01) for _ in range(num)]
    message.k = [f, 0.0, 15.5, 0.0, f, 11.5, 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [f, 0.0, 15.5, 0.0, 0.0, f, 11.5, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message


@INFO()
def header_of_no_matter(rng: Random, message: Any) -> None:
    rng.choice(HEADER).apply(rng, message)


@INFO('bad_camera_info', 'camera_info_size')
def numbers_changed(rng: Random, message: Any) -> None:
    for name in rng.sample(('k', 'r', 'p', 'd'), rng.choice((1, 2))):
        values = list(getattr(message, name))
        for _ in range(rng.choice((1, 2, 20))):
            if values:
                values[rng.randrange(len(values))] = number(rng)
        setattr(message, name, values)


@INFO('bad_camera_info')
def another_model(rng: Random, message: Any) -> None:
    message.distortion_model = rng.choice((text(rng), '', 'plumb_bob', 'rational_polynomial', 'equidistant'))


@INFO('bad_camera_info')
def coefficients_of_another_number(rng: Random, message: Any) -> None:
    message.d = [rng.choice((0.0, number(rng))) for _ in range(rng.choice((0, 1, 4, 5, 8, 12, 14, 300)))]


@INFO('bad_camera_info', 'camera_info_size', 'camera_info_roi')
def image_of_another_size(rng: Random, message: Any) -> None:
    message.width, message.height = rng.choice(((0, 0), (64, 48), (33, 24), (count(rng), count(rng))))


@INFO('camera_info_binning', 'camera_info_roi')
def part_of_the_sensor(rng: Random, message: Any) -> None:
    message.binning_x, message.binning_y = rng.choice((0, 1, 2)), count(rng)
    message.roi.width, message.roi.x_offset = rng.choice((0, 32, count(rng))), rng.choice((0, count(rng)))
