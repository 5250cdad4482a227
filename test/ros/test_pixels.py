# SPDX-License-Identifier: Apache-2.0
"""Pixels of JPEGs: the bits do not depend on what decodes them."""

from __future__ import annotations

import io
import itertools

import cv2
import numpy as np
import pytest
from PIL import Image

from robocache_core import jpeg
from robocache_core.ledger import Reason
from robocache_core.samples import DataError
from robocache_ros import pixels

SIZES = ((1, 1), (7, 9), (16, 16), (33, 17), (121, 240))
SAMPLINGS = (0x111111, 0x211111, 0x221111, 0x121111, 0x411111)  # 4:4:4, 4:2:2, 4:2:0, 4:4:0, 4:1:1


def picture(height, width, channels=3):
    noise = np.random.default_rng(height * width).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (5, 5), 0)


def by_opencv_and_simplejpeg(data, monkeypatch):
    """The pixels, by either."""
    data = np.frombuffer(data, np.uint8)
    found = jpeg.read_jpeg(data)
    ours = pixels.decode_jpeg(found, data, 1)
    with monkeypatch.context() as patch:
        patch.setattr(pixels, 'simplejpeg', None)
        return pixels.decode_jpeg(found, data, 1), ours


def saved(image, **options):
    file = io.BytesIO()
    image.save(file, 'JPEG', **options)
    return file.getvalue()


def without_tables(data):
    """A JPEG without its Huffman tables, as a webcam's MJPEG is."""
    parts, at = [data[:2]], 2
    while data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], 'big')
        parts += [] if data[at + 1] == 0xC4 else [data[at:end]]
        at = end
    return b''.join(parts) + data[at:]


def damaged(data):
    cut = len(data) // 2
    return data[:cut] + bytes(40) + data[cut + 40 :]


def cases():
    for (height, width), sampling, quality in itertools.product(SIZES, SAMPLINGS, (10, 95)):
        for progressive, restart in ((0, 0), (1, 0), (0, 3)):
            options = [
                cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling,
                cv2.IMWRITE_JPEG_PROGRESSIVE, progressive, cv2.IMWRITE_JPEG_RST_INTERVAL, restart,
            ]  # fmt: skip
            yield cv2.imencode('.jpg', picture(height, width), options)[1].tobytes()
    image = Image.fromarray(picture(217, 333))
    turned = Image.Exif()
    turned[0x0112] = 6
    yield saved(image.convert('L'))
    yield saved(image.convert('CMYK'))
    yield saved(image, keep_rgb=True)
    yield saved(image, exif=turned)
    yield saved(image) + bytes(96)
    yield without_tables(saved(image))
    yield damaged(saved(image))
    yield damaged(saved(image.convert('L')))


def test_both_decoders_give_the_same_bits(monkeypatch):
    assert pixels.JPEG_DECODER == 'simplejpeg', 'not installed: this test would compare OpenCV with itself'
    shapes = set()
    for number, data in enumerate(cases()):
        by_opencv, by_simplejpeg = by_opencv_and_simplejpeg(data, monkeypatch)
        assert by_opencv.dtype == by_simplejpeg.dtype == np.uint8
        assert np.array_equal(by_opencv, by_simplejpeg), number
        shapes.add(by_opencv.shape)
    assert {(217, 333), (217, 333, 3), (1, 1, 3)} < shapes


def broken(data):
    """A progressive JPEG whose first scan is damaged, and whose last has an impossible table: nothing is decoded."""
    begin = data.index(b'\xff\xda') + 60
    table = data.rindex(b'\xff\xc4') + 5
    return data[:begin] + bytes(40) + data[begin + 40 : table] + b'\xff' * 16 + data[table + 16 :]


def test_an_image_of_which_nothing_is_decoded_is_refused_by_both(monkeypatch):
    data = np.frombuffer(broken(saved(Image.fromarray(picture(60, 90)), progressive=True)), np.uint8)
    found = jpeg.read_jpeg(data)
    assert jpeg.damage_in(found, data) == ''
    for decoder in (pixels.simplejpeg, None):
        monkeypatch.setattr(pixels, 'simplejpeg', decoder)
        with pytest.raises(DataError, match='cannot be decoded'):
            pixels.decode_jpeg(found, data, 1)


@pytest.mark.parametrize('decoder', ['simplejpeg', 'OpenCV'])
def test_what_cannot_be_decoded_is_refused(monkeypatch, decoder):
    if decoder == 'OpenCV':
        monkeypatch.setattr(pixels, 'simplejpeg', None)
    whole = np.frombuffer(saved(Image.fromarray(picture(16, 16))), np.uint8)
    found = jpeg.read_jpeg(whole)
    without_frame = whole.copy()
    without_frame[np.flatnonzero((whole[:-1] == 0xFF) & (whole[1:] == 0xC0))[0] + 1] = 0xCB  # arithmetic, lossless
    with pytest.raises(DataError, match='cannot be decoded') as refused:
        pixels.decode_jpeg(found, without_frame, 1)
    assert refused.value.reason == Reason.DECODE_FAILED
