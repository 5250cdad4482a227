# SPDX-License-Identifier: Apache-2.0
"""Damage in a JPEG is found where it can be, and never where there is none."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from support.jpegs import changed, picture

from robocache_core import backends, jpeg
from robocache_core.samples import DataError

ENCODERS = {
    '4:2:0': (cv2.IMWRITE_JPEG_QUALITY, 80),
    '4:4:4': (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    '4:2:2': (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422),
    'poor': (cv2.IMWRITE_JPEG_QUALITY, 5),
    'best': (cv2.IMWRITE_JPEG_QUALITY, 100),
    'optimised': (cv2.IMWRITE_JPEG_OPTIMIZE, 1),
    'restarts': (cv2.IMWRITE_JPEG_RST_INTERVAL, 3),
    'progressive': (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
}


def encoded(image: np.ndarray, encoder: str = '4:2:0') -> np.ndarray:
    return cv2.imencode('.jpg', image, ENCODERS[encoder])[1].reshape(-1)


def damage(data: np.ndarray) -> str:
    return jpeg.damage_in(jpeg.read_jpeg(data), data)


def fault(data: np.ndarray) -> str:
    """Why an image is refused, by its markers or its codes; empty where it is not."""
    try:
        return damage(data)
    except DataError as error:
        return str(error)


def fault_of_codes_alone(data: np.ndarray) -> str:
    """``fault`` of an image that ends with its last code, so that a sanitizer sees a read behind it."""
    try:
        found = jpeg.read_jpeg(data)
        return jpeg.damage_in(found, data[: max(segment.data[1] for segment in found.segments)].copy())
    except DataError as error:
        return str(error)


def span(data: np.ndarray) -> tuple[int, int]:
    """Where the entropy-coded data are."""
    (scan,) = (segment for segment in jpeg.read_jpeg(data).segments if segment.marker == 0xDA)
    return scan.data


@pytest.mark.parametrize('backend', backends.NAMES)
@pytest.mark.parametrize('encoder', ENCODERS)
@pytest.mark.parametrize(('height', 'width'), [(48, 64), (41, 35), (1, 1), (8, 200)])
@pytest.mark.parametrize('channels', [1, 3])
def test_a_whole_image_has_no_damage(backend: str, encoder: str, height: int, width: int, channels: int) -> None:
    data = encoded(picture(height, width, channels), encoder)
    with backends.use(backend):
        assert damage(data) == ''
    found = jpeg.read_jpeg(data)
    assert (found.width, found.height, found.num_channels) == (width, height, channels)


@pytest.mark.parametrize('behind', [b'', bytes(96), b'\xff', b'\xff\xff', b'\r\n', b'\xff\xd8\xff', b'GPS 12.3'])
def test_bytes_behind_the_end_are_ignored(behind: bytes) -> None:
    data = np.append(encoded(picture(48, 64)), np.frombuffer(behind, np.uint8))
    assert damage(data) == ''


@pytest.mark.parametrize('backend', backends.NAMES)
@pytest.mark.parametrize('encoder', sorted(ENCODERS.keys() - {'progressive'}))
@pytest.mark.parametrize('kept', [0.0, 0.1, 0.5, 0.9, 0.99])
def test_an_image_that_lost_data_and_kept_its_end_is_damaged(backend: str, encoder: str, kept: float) -> None:
    data = encoded(picture(48, 64), encoder)
    begin, end = span(data)
    cut = np.concatenate([data[: begin + int(kept * (end - begin))], data[end:]])
    with backends.use(backend):
        assert damage(cut)


def test_an_image_without_its_end_is_cut_short() -> None:
    data = encoded(picture(48, 64))
    for size in range(3, data.size, 7):
        with pytest.raises(DataError, match='cut short') as caught:
            jpeg.read_jpeg(data[:size])
        assert caught.value.reason == 'decode_failed'


@pytest.mark.parametrize('encoder', ['4:2:0', '4:4:4', 'restarts', 'best', 'optimised'])
def test_all_that_libjpeg_warns_of_is_damage(encoder: str, capfd: pytest.CaptureFixture[str]) -> None:
    data = encoded(picture(120, 160), encoder)
    rng = np.random.default_rng(1)
    begin, end = span(data)
    warned = 0
    for _ in range(200):
        flipped = data.copy()
        flipped[rng.integers(begin, end)] ^= 1 << rng.integers(8)
        cv2.imdecode(flipped, cv2.IMREAD_UNCHANGED)
        warning = capfd.readouterr().err
        if 'Corrupt JPEG data' in warning:
            warned += 1
            assert fault(flipped), warning
    assert warned > 5


@pytest.mark.parametrize(('encoder', 'share'), [('4:2:0', 0.6), ('4:4:4', 0.7), ('best', 0.85)])
def test_most_flipped_bits_that_spoil_an_image_are_found(encoder: str, share: float) -> None:
    """A code may turn into another of the same length: what cannot be found is a change that another image could be."""
    data = encoded(picture(240, 320), encoder)
    whole = cv2.imdecode(data, cv2.IMREAD_UNCHANGED).astype(int)
    rng = np.random.default_rng(1)
    begin, end = span(data)
    found = []
    for _ in range(200):
        flipped = data.copy()
        flipped[rng.integers(begin, end)] ^= 1 << rng.integers(8)
        seen = cv2.imdecode(flipped, cv2.IMREAD_UNCHANGED)
        if (np.abs(seen.astype(int) - whole).max(-1) > 8).mean() > 0.02:
            found.append(bool(fault(flipped)))
    assert len(found) > 30
    assert np.mean(found) >= share


@pytest.mark.parametrize('encoder', ENCODERS)
def test_an_image_that_is_cut_short_in_its_data_can_be_decoded(encoder: str) -> None:
    data = encoded(picture(48, 64), encoder)
    first = next(segment for segment in jpeg.read_jpeg(data).segments if segment.marker == 0xDA).data[0]
    for size in range(first, data.size, max(1, data.size // 97)):
        found = jpeg.read_jpeg(data[:size], may_be_cut=True)
        assert (found.width, found.height, found.is_whole) == (64, 48, False)
        assert jpeg.damage_in(found, data[:size]) == 'it is cut short: its end is missing'
        assert cv2.imdecode(jpeg.ended(found, data[:size]), cv2.IMREAD_UNCHANGED).shape == (48, 64, 3)
    for size in range(2, first, 7):
        with pytest.raises(DataError, match='cut short'):
            jpeg.read_jpeg(data[:size], may_be_cut=True)


@pytest.mark.parametrize('encoder', ENCODERS)
@pytest.mark.parametrize('channels', [1, 3])
def test_any_change_is_judged_within_the_bytes_that_there_are(encoder: str, channels: int) -> None:
    """What `make sanitize` watches: half of the changes are anywhere, half in the codes, behind tables that hold."""
    rng = np.random.default_rng(3)
    whole = encoded(picture(17, 23, channels), encoder)
    begin = jpeg.read_jpeg(whole).segments[-1].data[0]
    images = [changed(whole, rng, first) for first in (2, begin) for _ in range(200)]
    faults = [fault_of_codes_alone(image) for image in images]
    assert faults == [fault(image) for image in images]
    assert len({text.partition(':')[0] for text in faults}) > 3


def test_both_backends_find_the_same() -> None:
    rng = np.random.default_rng(2)
    pictures = [picture(33, 50, channels, noise) for channels in (1, 3) for noise in (0.0, 8.0, 60.0)]
    for i in range(480):
        data = changed(encoded(pictures[i // len(ENCODERS) % len(pictures)], list(ENCODERS)[i % len(ENCODERS)]), rng)
        found = []
        for backend in backends.NAMES:
            with backends.use(backend):
                found.append(fault(data))
        assert found[0] == found[1]


@pytest.mark.parametrize('encoder', ['4:2:0', 'restarts'])
@pytest.mark.parametrize('stray', [b'\xff\xff', b'\xff\xff\x00', b'\xff\xff\xff\xff', b'\xff\x00\xff\xff\x00'])
def test_both_backends_end_the_codes_at_a_stray_byte(encoder: str, stray: bytes) -> None:
    data = encoded(picture(17, 23), encoder)
    begin, end = span(data)
    for at in range(begin, end, 5):
        changed = np.concatenate([data[:at], np.frombuffer(stray, np.uint8), data[at + len(stray) :]])
        found = []
        for backend in backends.NAMES:
            with backends.use(backend):
                found.append(fault(changed))
        assert found[0] == found[1] != '', at


@pytest.mark.parametrize('encoder', ['4:2:0', 'restarts', 'progressive'])
@pytest.mark.parametrize('place', [5, 7], ids=['height', 'width'])
def test_an_image_without_pixels_is_refused(encoder: str, place: int) -> None:
    data = encoded(picture(16, 16), encoder)
    frame = data.tobytes().index(b'\xff\xc2' if encoder == 'progressive' else b'\xff\xc0')
    data[frame + place : frame + place + 2] = 0
    with pytest.raises(DataError, match=r'a JPEG of (0 x 16|16 x 0) pixels') as error:
        jpeg.read_jpeg(data)
    assert error.value.reason == 'empty_image'


@pytest.mark.parametrize(
    ('marker', 'reason'), [(0xC3, 'unknown_encoding'), (0xC9, 'unknown_encoding'), (0xC5, 'unknown_encoding')]
)
def test_a_process_that_no_camera_uses_is_refused(marker: int, reason: str) -> None:
    data = encoded(picture(48, 64))
    data[data.tobytes().index(b'\xff\xc0') + 1] = marker
    with pytest.raises(DataError, match='sequential or progressive') as caught:
        jpeg.read_jpeg(data)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ('find', 'place', 'value'),
    [
        (b'\xff\xda', 4, 9),  # components of the scan
        (b'\xff\xda', 5, 77),  # a component that is none
        (b'\xff\xda', 6, 0x33),  # tables that are not there
        (b'\xff\xda', 7, 1),  # a component twice
        (b'\xff\xc0', 9, 200),  # components of the image
        (b'\xff\xc0', 11, 0x00),  # no samples
        (b'\xff\xc0', 12, 3),  # a quantisation that is not there
        (b'\xff\xc4', 5, 255),  # codes of one bit
    ],
)
def test_malformed_tables_are_damage(find: bytes, place: int, value: int) -> None:
    data = encoded(picture(48, 64))
    data[data.tobytes().index(find) + place] = value
    assert damage(data)
