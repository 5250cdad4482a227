# SPDX-License-Identifier: Apache-2.0
"""Headers of JPEGs: how the planes of a camera's images are read is kept, whatever else differs between them."""

from __future__ import annotations

import cv2
import numpy as np
from support.jpegs import encoded, picture
from support.planes import assert_same, planes_of

from robocache_core import jpeg_planes

QUALITY, RESTART = cv2.IMWRITE_JPEG_QUALITY, cv2.IMWRITE_JPEG_RST_INTERVAL


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, 'big') + content


def behind_start(data: np.ndarray, *segments: bytes) -> np.ndarray:
    """A JPEG with segments behind its first marker."""
    return np.frombuffer(data[:2].tobytes() + b''.join(segments) + data[2:].tobytes(), np.uint8)


def test_images_of_other_headers_do_not_share_what_is_kept() -> None:
    """Cameras in turn, each with a change of its own: tables, size, sampling, restarts, what says R G B."""
    image = picture(48, 64, 3, noise=20.0)
    jfif = segment(0xE0, b'JFIF\0' + bytes(9))
    images = [
        encoded(image, '4:2:0', QUALITY, 80),
        encoded(image, '4:2:0', QUALITY, 30),
        encoded(image, '4:2:2', QUALITY, 80),
        encoded(image, '4:2:0', QUALITY, 80, RESTART, 2),
        encoded(image[:40], '4:2:0', QUALITY, 80),
        encoded(image, '4:2:0', QUALITY, 80, cv2.IMWRITE_JPEG_OPTIMIZE, 1),
        behind_start(encoded(image, '4:2:0', QUALITY, 80), jfif, segment(0xFE, b'made by hand')),
    ]
    for factor in (1, 2):
        for _ in range(2):
            for data in images:
                assert_same(data, factor=factor)


def test_what_applications_write_is_not_looked_at() -> None:
    """Of a camera that writes the time, or a thumbnail, into each image."""
    data = encoded(picture(48, 64, 3), '4:2:0', QUALITY, 80)
    plain = planes_of(data)
    before = jpeg_planes._kept_plan.cache_info().misses
    for number in range(30):
        thumbnail = segment(0xE1, b'Exif\0\0' + bytes(10) + number.to_bytes(4, 'big') + bytes(30_000))
        found = planes_of(behind_start(data, thumbnail))
        assert plain is not None
        assert found is not None
        assert np.array_equal(found.data, plain.data)
    assert jpeg_planes._kept_plan.cache_info().misses <= before + 1


def test_too_many_tables_to_keep_leave_an_image_without_planes() -> None:
    data = encoded(picture(48, 64, 3), '4:2:0', QUALITY, 80)
    tables = segment(0xDB, b'\1' + bytes(range(1, 65)))
    assert planes_of(behind_start(data, *[tables] * 20)) is not None  # they are overwritten
    assert planes_of(behind_start(data, *[tables] * 70)) is None
