# SPDX-License-Identifier: Apache-2.0
"""Image messages built in process to samples; each malformed one has its own reason."""

from __future__ import annotations

import array
import struct

import cv2
import numpy as np
import pytest
import torch
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from support import bombs
from support.images import pixels_of
from support.messages import STAMP_NS, assert_refused, decode_whole, header, is_view

from robocache_core.config import CameraConfig
from robocache_core.encodings import ENCODINGS, JPEG_ENCODINGS
from robocache_ros import decode_image as decode

CAMERA = CameraConfig('front')


# ---- raw images -----------------------------------------------------------------------------------------------------


def make_image(encoding: str = 'bgr8', width: int = 4, height: int = 3, pad: int = 2) -> Image:
    step = ENCODINGS[encoding].row_bytes(width) + pad
    data = array.array('B', (np.arange(step * ENCODINGS[encoding].rows(height)) % 251).astype(np.uint8).tobytes())
    return Image(header=header(), width=width, height=height, encoding=encoding, step=step, data=data)


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_an_image_is_viewed(encoding: str) -> None:
    msg = make_image(encoding, height=4)
    frame = decode.decode_image(msg, CAMERA)
    assert is_view(frame.data, msg.data)
    assert (frame.stamp_ns, frame.frame_id) == (STAMP_NS, 'sensor')
    assert (frame.encoding, frame.width, frame.height, frame.step) == (encoding, 4, 4, msg.step)
    assert frame.is_bigendian is False


def test_a_bigendian_image() -> None:
    msg = make_image('mono16')
    msg.is_bigendian = 1
    assert decode.decode_image(msg, CAMERA).is_bigendian is True


@pytest.mark.parametrize(
    ('changes', 'reason', 'text'),
    [
        ({'encoding': 'bayer_xyz'}, 'unknown_encoding', "encoding 'bayer_xyz': must be one of rgb8, bgr8"),
        ({'encoding': ''}, 'unknown_encoding', "encoding ''"),
        *(({'encoding': name}, 'unknown_encoding', f"encoding '{name}': must") for name in JPEG_ENCODINGS),
        ({'step': 11}, 'step_too_small', 'step 11 < 12 bytes of 4 pixels bgr8'),
        ({'height': 4}, 'data_too_short', '42 bytes < step 14 x height 4'),
        ({'data': array.array('B')}, 'data_too_short', '0 bytes'),
        ({'width': 0}, 'empty_image', '0 x 3'),
        ({'height': 0}, 'empty_image', '4 x 0'),
        ({'header': Header()}, 'zero_stamp', 'did not set it'),
    ],
)
def test_a_bad_image(changes: dict, reason: str, text: str) -> None:
    msg = make_image()
    for name, value in changes.items():
        setattr(msg, name, value)
    assert_refused(reason, text, decode.decode_image, msg, CAMERA)


# ---- compressed images ----------------------------------------------------------------------------------------------


def picture(channels: int, dtype: type = np.uint8) -> np.ndarray:
    """A smooth picture [24, 32(, channels)], each channel different."""
    y, x = np.mgrid[0:24, 0:32]
    planes = [(x * (3 + i) + y * (5 - i)) % 256 // 2 + 40 * i for i in range(channels)]
    image = np.stack(planes, axis=-1).astype(dtype)
    return image[..., 0] if channels == 1 else image


def compress(image: np.ndarray, suffix: str) -> bytes:
    ok, data = cv2.imencode(suffix, image)
    assert ok
    return data.tobytes()


def make_compressed(data: bytes, format_: str) -> CompressedImage:
    return CompressedImage(header=header(), format=format_, data=array.array('B', data))


def pixels(frame) -> np.ndarray:
    dtype = np.uint16 if frame.encoding == 'mono16' else np.uint8
    channels = ENCODINGS[frame.encoding].channels
    image = frame.data.numpy().view(dtype).reshape(frame.height, frame.step // np.dtype(dtype).itemsize)
    image = image[:, : frame.width * channels]
    return image if channels == 1 else image.reshape(frame.height, frame.width, channels)


@pytest.mark.parametrize(
    ('channels', 'dtype', 'encoding'),
    [(1, np.uint8, 'mono8'), (3, np.uint8, 'bgr8'), (4, np.uint8, 'bgra8'), (1, np.uint16, 'mono16')],
)
@pytest.mark.parametrize('format_', ['png', 'bgr8; png compressed bgr8', ''])
def test_a_png_is_decoded_exactly(channels: int, dtype: type, encoding: str, format_: str) -> None:
    image = picture(channels, dtype)
    if dtype == np.uint16:
        image = image * 257
    frame = decode_whole(make_compressed(compress(image, '.png'), format_), CAMERA)
    assert (frame.encoding, frame.width, frame.height) == (encoding, 32, 24)
    assert (frame.stamp_ns, frame.frame_id) == (STAMP_NS, 'sensor')
    assert np.array_equal(pixels(frame), image)


@pytest.mark.parametrize(('channels', 'encoding'), [(1, 'mono8'), (3, 'bgr8')])
@pytest.mark.parametrize('format_', ['jpeg', 'jpg', 'JPEG', 'bgr8; jpeg compressed bgr8', 'rgb8; jpeg compressed bgr8'])
def test_a_jpeg_is_decoded(channels: int, encoding: str, format_: str) -> None:
    image = picture(channels)
    data = compress(image, '.jpg')
    frame = decode_whole(make_compressed(data, format_), CAMERA)
    assert (frame.encoding, frame.sampling) == (encoding, '4:2:0' if channels == 3 else '')
    assert np.array_equal(pixels_of(frame), cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))


@pytest.mark.parametrize(
    ('format_', 'suffix', 'channels', 'dtype', 'encoding'),
    [
        # ROS 1 and 2, compressed_image_transport; '' is refused.
        ('rgb8; jpeg compressed bgr8', '.jpg', 3, np.uint8, 'bgr8'),
        ('bgr8; jpeg compressed bgr8', '.jpg', 3, np.uint8, 'bgr8'),
        ('rgb8; png compressed rgb8', '.png', 3, np.uint8, 'rgb8'),
        ('rgba8; png compressed bgra8', '.png', 4, np.uint8, 'bgra8'),
        ('RGB8; JPEG compressed BGR8', '.jpg', 3, np.uint8, 'bgr8'),
        ('mono8; jpeg compressed mono8', '.jpg', 1, np.uint8, 'mono8'),
        ('mono8; jpeg compressed ', '.jpg', 1, np.uint8, 'mono8'),
        ('mono8; png compressed mono8', '.png', 1, np.uint8, 'mono8'),
        ('mono16; jpeg compressed mono8', '.jpg', 1, np.uint8, 'mono8'),
        ('mono16; jpeg compressed ', '.jpg', 1, np.uint8, ''),
        ('mono16; png compressed mono16', '.png', 1, np.uint16, 'mono16'),
        ('mono16; png compressed ', '.png', 1, np.uint16, 'mono16'),
        ('16UC1; jpeg compressed ', '.jpg', 1, np.uint8, ''),
        ('16UC1; jpeg compressed mono8', '.jpg', 1, np.uint8, ''),
        ('16UC1; png compressed ', '.png', 1, np.uint16, '16UC1'),
        ('16UC1; png compressed ', '.png', 1, np.uint8, ''),
        ('32FC1; jpeg compressed ', '.jpg', 1, np.uint8, ''),
        ('bayer_rggb8; jpeg compressed bgr8', '.jpg', 3, np.uint8, 'bgr8'),
        ('bayer_rggb8; jpeg compressed bgr8', '.jpg', 1, np.uint8, ''),
        ('bayer_rggb8; jpeg compressed ', '.jpg', 1, np.uint8, 'bayer_rggb8'),
        ('bayer_rggb8; png compressed ', '.png', 1, np.uint8, 'bayer_rggb8'),
        ('bayer_gbrg8; png compressed bayer_gbrg8', '.png', 1, np.uint8, 'bayer_gbrg8'),
        ('bayer_rggb8; png compressed ', '.png', 1, np.uint16, ''),
        ('bayer_grbg16; png compressed ', '.png', 1, np.uint16, 'bayer_grbg16'),
        ('yuv422; jpeg compressed bgr8', '.jpg', 3, np.uint8, 'bgr8'),
        # Drivers, and web cameras.
        ('jpeg', '.jpg', 3, np.uint8, 'bgr8'),
        ('jpg', '.jpg', 3, np.uint8, 'bgr8'),
        ('JPEG', '.jpg', 3, np.uint8, 'bgr8'),
        ('mjpeg', '.jpg', 3, np.uint8, 'bgr8'),
        ('MJPG', '.jpg', 3, np.uint8, 'bgr8'),
        ('.jpg', '.jpg', 3, np.uint8, 'bgr8'),
        ('image/jpeg', '.jpg', 3, np.uint8, 'bgr8'),
        ('rgb8; jpeg', '.jpg', 3, np.uint8, 'bgr8'),
        ('png', '.png', 1, np.uint16, 'mono16'),
        ('PNG', '.png', 3, np.uint8, 'bgr8'),
        ('', '.png', 4, np.uint8, 'bgra8'),
    ],
)
def test_what_a_format_says_is_held_against_the_pixels(
    format_: str, suffix: str, channels: int, dtype: type, encoding: str
) -> None:
    message = make_compressed(compress(picture(channels, dtype), suffix), format_)
    if encoding:
        assert decode_whole(message, CAMERA).encoding == encoding
    else:
        assert_refused('unknown_encoding', 'format', decode_whole, message, CAMERA)


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
@pytest.mark.parametrize('behind', [bytes(1), bytes(96), bytes(10_000), b'\xff', b'\r\n', b'GPS 12.3', b'\xff\xd8\xff'])
def test_bytes_behind_the_end_are_ignored(suffix: str, behind: bytes) -> None:
    data = compress(picture(3), suffix)
    plain = decode_whole(make_compressed(data, ''), CAMERA)
    assert torch.equal(decode_whole(make_compressed(data + behind, ''), CAMERA).data, plain.data)


def test_a_jpeg_that_lost_half_of_its_bytes_and_kept_its_end_is_refused() -> None:
    data = compress(picture(3), '.jpg')
    begin = data.index(b'\xff\xda') + 14
    message = make_compressed(data[: (begin + len(data)) // 2] + data[-2:], 'jpeg')
    assert_refused('decode_failed', 'is damaged: its data end too early', decode_whole, message, CAMERA)


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_a_truncated_image_is_refused_wherever_it_ends(suffix: str) -> None:
    data = compress(picture(3), suffix)
    for size in [0, 1, 2, 3, 7, 8, 9, 40, *range(60, len(data), 97), len(data) - 3, len(data) - 1]:
        for padding in (0, 5000):
            message = make_compressed(data[:size] + bytes(padding), 'jpeg')
            assert_refused(
                'decode_failed',
                'cut short|start as neither|cannot be decoded',
                decode.decode_compressed,
                message,
                CAMERA,
            )


def test_damage_inside_a_png_is_refused() -> None:
    data = bytearray(compress(picture(3), '.png'))
    data[len(data) // 2] ^= 0x55
    message = make_compressed(bytes(data), 'png')
    assert_refused('decode_failed', 'cannot be decoded', decode_whole, message, CAMERA)


def test_a_jpeg_without_an_image_is_refused() -> None:
    message = make_compressed(b'\xff\xd8\xff\xe0\x00\x04\x00\x00\xff\xd9', 'jpeg')
    assert_refused('decode_failed', 'cannot be decoded', decode_whole, message, CAMERA)


@pytest.mark.parametrize('content', [b'', bytes(12), struct.pack('>IIBBBBB', 9, 6, 8, 7, 0, 0, 0)])
def test_a_png_with_a_malformed_header(content: bytes) -> None:
    data = bombs.PNG_START + bombs.chunk(b'IHDR', content)
    text = rf'its header of {len(content)} bytes \({content.hex()}\) is malformed'
    assert_refused('decode_failed', text, decode.decode_compressed, make_compressed(data, 'png'), CAMERA)


@pytest.mark.parametrize(
    'format_', ['16UC1; compressedDepth png', '32FC1; compressedDepth', 'h264', 'tiff', 'rgb8; theora', 'webp']
)
def test_another_format_is_refused(format_: str) -> None:
    message = make_compressed(compress(picture(1), '.png'), format_)
    assert_refused('unknown_encoding', 'is not JPEG or PNG', decode.decode_compressed, message, CAMERA)


def test_another_container_is_refused() -> None:
    message = make_compressed(compress(picture(3), '.bmp'), 'png')
    assert_refused('decode_failed', 'neither JPEG nor PNG', decode.decode_compressed, message, CAMERA)


def test_sixteen_bit_colour_is_refused() -> None:
    message = make_compressed(compress(picture(3, np.uint16), '.png'), 'png')
    assert_refused('unknown_encoding', '3 channels uint16', decode_whole, message, CAMERA)


def test_a_compressed_image_with_a_stamp_of_zero() -> None:
    message = make_compressed(compress(picture(3), '.jpg'), 'jpeg')
    message.header = Header()
    assert_refused('zero_stamp', 'did not set it', decode.decode_compressed, message, CAMERA)


def test_exif_orientation_is_not_applied() -> None:
    data = compress(picture(3), '.jpg')
    tiff = b'MM\x00*\x00\x00\x00\x08' + struct.pack('>HHHIHHI', 1, 0x0112, 3, 1, 6, 0, 0)
    exif = b'Exif\x00\x00' + tiff
    turned = data[:2] + b'\xff\xe1' + struct.pack('>H', len(exif) + 2) + exif + data[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (32, 24, 3)  # it would be
    frame = decode_whole(make_compressed(turned, 'jpeg'), CAMERA)
    assert (frame.width, frame.height) == (32, 24)
