# SPDX-License-Identifier: Apache-2.0
"""Planes of a JPEG give the bits of the pixels that libjpeg-turbo decodes, or there are none."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.jpegs import SAMPLINGS, changed, encoded, picture

from robocache_core import backends, jpeg, ops
from robocache_core.backends import Backend
from robocache_core.encodings import in_planes
from robocache_core.jpeg_planes import Planes, read_planes
from robocache_core.samples import DataError

QUALITY, RESTART, PROGRESSIVE = cv2.IMWRITE_JPEG_QUALITY, cv2.IMWRITE_JPEG_RST_INTERVAL, cv2.IMWRITE_JPEG_PROGRESSIVE
SIZES = ((16, 16), (33, 17), (7, 9), (121, 240), (9, 1100), (1, 5))


def planes_of(data: np.ndarray) -> Planes | None:
    """The planes of a JPEG, which ends in memory with its last code, so that a sanitizer sees a read behind it."""
    found = jpeg.read_jpeg(data)
    return read_planes(found, data[: max(segment.data[1] for segment in found.segments)].copy())


def prepared(data: torch.Tensor, encoding: str, size: tuple[int, int], step: int, **settings) -> torch.Tensor:
    height, width = size
    settings = {'out_width': width, 'out_height': height, **settings}
    return ops.prepare_image(data, encoding=encoding, width=width, height=height, step=step, **settings)


def assert_same(data: np.ndarray, colours: str = 'bgr8', **settings) -> Planes:
    """That planes and pixels give the same result; return the planes."""
    planes = planes_of(data)
    assert planes is not None
    pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    size, channels = pixels.shape[:2], pixels.size // (pixels.shape[0] * pixels.shape[1])
    name = colours if channels == 3 else 'mono8'
    expected = prepared(torch.from_numpy(pixels).reshape(-1), name, size, channels * size[1], **settings)
    name = in_planes(name, planes.sampling)
    result = prepared(torch.from_numpy(planes.data), name, size, planes.step, **settings)
    assert torch.equal(result, expected)
    return planes


@pytest.mark.parametrize('backend', backends.NAMES)
@pytest.mark.parametrize('sampling', [*SAMPLINGS, 'grey'])
def test_planes_give_the_pixels_of_every_encoder(backend: str, sampling: str) -> None:
    options = [(QUALITY, quality, RESTART, restart) for quality in (5, 80, 100) for restart in (0, 3)]
    sizes = SIZES if backend == 'cpu' else SIZES[:3]
    with backends.use(backend):
        for height, width in sizes:
            image = picture(height, width, 1 if sampling == 'grey' else 3, noise=20.0)
            for option in options:
                data = encoded(image, '4:2:0' if sampling == 'grey' else sampling, *option)
                assert assert_same(data).sampling == ('' if sampling == 'grey' else sampling)


WAYS = {
    'bilinear': {'out_width': 37, 'out_height': 29},
    'larger': {'out_width': 300, 'out_height': 200},
    'nearest': {'out_width': 40, 'out_height': 31, 'resize': 'nearest'},
    'area': {'out_width': 37, 'out_height': 29, 'resize': 'area'},
    'letterbox': {'out_width': 64, 'out_height': 64, 'letterbox': True, 'pad': 114.0},
    'normalised': {
        'out_width': 37,
        'out_height': 29,
        'scale': 1 / 255,
        'mean': (0.4, 0.5, 0.6),
        'std': (0.2, 0.3, 0.4),
    },
    'float16': {'out_width': 37, 'out_height': 29, 'dtype': torch.float16},
    'bfloat16': {'out_width': 37, 'out_height': 29, 'dtype': torch.bfloat16},
}


@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('sampling', SAMPLINGS)
@pytest.mark.parametrize('colours', ['bgr8', 'rgb8'])
def test_planes_give_every_result_that_pixels_do(way: str, sampling: str, colours: str, each_backend: Backend) -> None:
    assert_same(encoded(picture(75, 133), sampling, QUALITY, 90), colours, **WAYS[way])


@pytest.mark.parametrize('resize', ['bilinear', 'nearest'])
@pytest.mark.parametrize('sampling', SAMPLINGS)
def test_planes_are_rectified_as_pixels_are(resize: str, sampling: str, each_backend: Backend) -> None:
    rng = np.random.default_rng(4)
    grid = np.stack(np.meshgrid(np.linspace(-4, 136, 50), np.linspace(-4, 78, 40)), axis=-1) + rng.normal(
        0, 2, (40, 50, 2)
    )
    rectify = torch.from_numpy(grid.astype(np.float32))
    data = encoded(picture(75, 133), sampling, QUALITY, 90)
    assert_same(data, out_width=50, out_height=40, resize=resize, rectify=rectify)


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 40),
    width=st.integers(5, 60),
    sampling=st.sampled_from(list(SAMPLINGS)),
    quality=st.integers(1, 100),
    restart=st.integers(0, 9),
    noise=st.sampled_from([0.0, 8.0, 90.0]),
)
def test_any_image_gives_the_pixels_or_has_no_planes(
    height: int, width: int, sampling: str, quality: int, restart: int, noise: float
) -> None:
    data = encoded(picture(height, width, noise=noise), sampling, QUALITY, quality, RESTART, restart)
    if planes_of(data) is not None:
        assert_same(data)


def saved(image: np.ndarray, mode: str = 'RGB', **options) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).convert(mode).save(file, 'JPEG', **options)
    return np.frombuffer(file.getvalue(), np.uint8)


def with_segment(data: np.ndarray, marker: int, content: bytes) -> np.ndarray:
    segment = bytes((0xFF, marker, 0, len(content) + 2)) + content
    return np.concatenate([data[:2], np.frombuffer(segment, np.uint8), data[2:]])


def replaced(data: np.ndarray, find: bytes, place: int, value: int) -> np.ndarray:
    data = data.copy()
    data[data.tobytes().index(find) + place] = value
    return data


def extreme() -> np.ndarray:
    """Noise of black and white: sums of it are beyond 16 bits, in some decoders."""
    return np.random.default_rng(0).integers(0, 2, (64, 64, 3), dtype=np.uint8) * 255


def usual(quality: int = 90) -> np.ndarray:
    return encoded(picture(48, 64), '4:2:0', QUALITY, quality)


def of_adobe() -> np.ndarray:
    return replaced(with_segment(usual(), 0xEE, b'Adobe' + bytes(7)), b'JFIF', 0, 0)


def in_another_order() -> np.ndarray:
    return replaced(replaced(usual(), b'\xff\xda', 7, 3), b'\xff\xda', 9, 2)


def without_a_header_of_its_scan() -> np.ndarray:
    data = usual().tobytes()
    at = data.index(b'\xff\xda') + 2
    return np.frombuffer(data[:at] + b'\0\2' + data[at + int.from_bytes(data[at : at + 2], 'big') :], np.uint8)


WITHOUT_PLANES = {
    'progressive': lambda: encoded(picture(48, 64), '4:2:0', PROGRESSIVE, 1),
    'CMYK': lambda: saved(picture(48, 64), 'CMYK'),
    'R G B': lambda: saved(picture(48, 64), keep_rgb=True),
    'four columns': lambda: encoded(picture(48, 4)),
    'an Adobe segment and no JFIF': of_adobe,
    'an unknown segment': lambda: with_segment(usual(), 0xF3, bytes(4)),
    'a difference of 16 bits': lambda: replaced(usual(), b'\xff\xc4', 4 + 17 + 11, 16),
    'codes beyond the fourth table': lambda: with_segment(usual(), 0xC4, b'\x04\x01' + bytes(16)),
    'quanta beyond the fourth table': lambda: with_segment(usual(), 0xDB, b'\x04' + bytes(64)),
    'a restart interval of three bytes': lambda: with_segment(usual(), 0xDD, bytes(3)),
    'spectral selection': lambda: replaced(usual(), b'\xff\xda', 4 + 1 + 6, 1),
    'components in another order': in_another_order,
    'a scan without a header': without_a_header_of_its_scan,
    'a value that is too large': lambda: replaced(usual(95), b'\xff\xdb', 5, 255),
}


@pytest.mark.parametrize('backend', backends.NAMES)
@pytest.mark.parametrize('what', WITHOUT_PLANES)
def test_what_no_camera_makes_has_no_planes(backend: str, what: str) -> None:
    with backends.use(backend):
        assert planes_of(WITHOUT_PLANES[what]()) is None
        assert planes_of(encoded(picture(48, 64))) is not None


@pytest.mark.parametrize('backend', backends.NAMES)
@pytest.mark.parametrize('quality', [50, 100])
def test_extremes_give_the_pixels_or_have_no_planes(backend: str, quality: int) -> None:
    data = encoded(extreme(), '4:4:4', QUALITY, quality)
    with backends.use(backend):
        if planes_of(data) is not None:
            assert_same(data)


@pytest.mark.parametrize('sampling', ['4:2:0', '4:4:4'])
@pytest.mark.parametrize('restart', [0, 3])
def test_a_changed_image_gives_the_pixels_or_has_no_planes(sampling: str, restart: int) -> None:
    """Half of the changes are anywhere, half in the codes; what is refused is what has damage, or is not usual."""
    rng = np.random.default_rng(5)
    whole = encoded(picture(33, 50), sampling, RESTART, restart, QUALITY, 75)
    begin = jpeg.read_jpeg(whole).segments[-1].data[0]
    num_alike = num_damaged = 0
    for first in (2, begin):
        for _ in range(250):
            data = changed(whole, rng, first)
            try:
                found = jpeg.read_jpeg(data)
            except DataError:
                continue
            if max(found.width, found.height) > 2000:
                continue
            damage = jpeg.damage_in(found, data)
            if planes_of(data) is None:
                num_damaged += bool(damage)
                continue
            assert not damage
            assert_same(data)
            num_alike += 1
    assert num_alike > 30
    assert num_damaged > 100


def test_both_backends_read_the_same() -> None:
    rng = np.random.default_rng(6)
    found = []
    for i in range(120):
        sampling = list(SAMPLINGS)[i % len(SAMPLINGS)]
        whole = encoded(picture(17, 23, noise=(0.0, 60.0)[i % 2]), sampling, QUALITY, 60 + i % 3 * 20)
        data = changed(whole, rng, jpeg.read_jpeg(whole).segments[-1].data[0]) if i % 3 else whole
        read = []
        for backend in backends.NAMES:
            with backends.use(backend):
                try:
                    planes = planes_of(data)
                except DataError:
                    planes = None
                read.append(None if planes is None else planes.data.tobytes())
        assert read[0] == read[1]
        found.append(read[0] is not None)
    assert 30 < sum(found) < 110
