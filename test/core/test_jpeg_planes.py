# SPDX-License-Identifier: Apache-2.0
"""Planes of a JPEG give the bits of the pixels that libjpeg-turbo decodes, at every size, or there are none."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.jpegs import SAMPLINGS, changed, encoded, picture
from support.planes import assert_same, has_planes, in_image, planes_of

from robocache_core import backends, jpeg
from robocache_core.backends import Backend
from robocache_core.samples import DataError

QUALITY, RESTART, PROGRESSIVE = cv2.IMWRITE_JPEG_QUALITY, cv2.IMWRITE_JPEG_RST_INTERVAL, cv2.IMWRITE_JPEG_PROGRESSIVE
SIZES = ((16, 16), (33, 17), (7, 9), (121, 240), (9, 1100), (1, 5))
FACTORS = (1, 2, 4, 8)


@pytest.mark.parametrize('backend', backends.NAMES)
@pytest.mark.parametrize('sampling', [*SAMPLINGS, 'grey'])
@pytest.mark.parametrize('factor', FACTORS)
def test_planes_give_the_pixels_of_every_encoder(backend: str, sampling: str, factor: int) -> None:
    reduced = {'grey': '', '4:2:0': '4:2:0' if factor == 1 else '4:4:4'}.get(sampling, sampling)
    options = [(QUALITY, quality, RESTART, restart) for quality in (5, 80, 100) for restart in (0, 3)]
    sizes = SIZES if backend == 'cpu' else SIZES[:3]
    with backends.use(backend):
        for height, width in sizes:
            image = picture(height, width, 1 if sampling == 'grey' else 3, noise=20.0)
            for option in options:
                data = encoded(image, '4:2:0' if sampling == 'grey' else sampling, *option)
                if has_planes(sampling, width, factor):
                    assert assert_same(data, factor=factor).sampling == reduced
                else:
                    assert planes_of(data, factor) is None


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
@pytest.mark.parametrize(('colours', 'factor'), [('bgr8', 1), ('rgb8', 1), ('bgr8', 2), ('rgb8', 4)])
def test_planes_give_every_result_that_pixels_do(
    way: str, sampling: str, colours: str, factor: int, each_backend: Backend
) -> None:
    assert_same(encoded(picture(75, 133), sampling, QUALITY, 90), colours, factor, **WAYS[way])


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


@settings(deadline=None, max_examples=200)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    sampling=st.sampled_from([*SAMPLINGS, 'grey']),
    quality=st.integers(1, 100),
    restart=st.integers(0, 9),
    noise=st.sampled_from([0.0, 8.0, 90.0]),
    factor=st.sampled_from(FACTORS),
)
def test_any_image_gives_the_pixels_or_has_no_planes(
    height: int, width: int, sampling: str, quality: int, restart: int, noise: float, factor: int
) -> None:
    """Noise may go beyond what decoders agree in."""
    image = picture(height, width, 1 if sampling == 'grey' else 3, noise)
    data = encoded(image, '4:2:0' if sampling == 'grey' else sampling, QUALITY, quality, RESTART, restart)
    if planes_of(data, factor) is not None:
        assert has_planes(sampling, width, factor)
        assert_same(data, factor=factor)
    else:
        assert not has_planes(sampling, width, factor) or noise > 8


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


def noisy() -> np.ndarray:
    return encoded(picture(48, 64, noise=60.0), '4:2:0', QUALITY, 95)


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
    'one that no reduced image shows': lambda: replaced(noisy(), b'\xff\xdb', 5 + 39, 255),  # the middle of a block
}


@pytest.mark.parametrize('backend', backends.NAMES)
@pytest.mark.parametrize('what', WITHOUT_PLANES)
@pytest.mark.parametrize('factor', FACTORS)
def test_what_no_camera_makes_has_no_planes(backend: str, what: str, factor: int) -> None:
    with backends.use(backend):
        if what != 'four columns' or factor == 1:
            assert planes_of(WITHOUT_PLANES[what](), factor) is None
        assert planes_of(encoded(picture(48, 64)), factor) is not None


@pytest.mark.parametrize('backend', backends.NAMES)
@pytest.mark.parametrize('quality', [50, 100])
@pytest.mark.parametrize('factor', FACTORS)
def test_extremes_give_the_pixels_or_have_no_planes(backend: str, quality: int, factor: int) -> None:
    data = encoded(extreme(), '4:4:4', QUALITY, quality)
    with backends.use(backend):
        if planes_of(data, factor) is not None:
            assert_same(data, factor=factor)


def with_larger_steps(data: np.ndarray, by: float) -> np.ndarray:
    """``data`` with all coefficients ``by`` times as large, and so pixels beyond black and white."""
    data = data.copy()
    at = -1
    while (at := data.tobytes().find(b'\xff\xdb', at + 1)) >= 0:
        steps = data[at + 5 : at + 69]
        steps[:] = np.clip(np.rint(steps * by), 1, 255)
    return data


@pytest.mark.parametrize('factor', FACTORS)
def test_saturated_pixels_are_those_of_every_decoder_or_there_are_no_planes(factor: int) -> None:
    """And both backends agree in which of the two."""
    num_alike = num_beyond = 0
    for seed in range(24):
        image = np.random.default_rng(seed).integers(0, 2, (9, 7, 3), dtype=np.uint8) * 255
        image = cv2.resize(image, (56, 72), interpolation=cv2.INTER_NEAREST if seed % 2 else cv2.INTER_LINEAR)
        whole = encoded(image, list(SAMPLINGS)[seed % 5 % (5 if factor < 8 else 1)], QUALITY, 60)
        for by in (1.0, 1.2, 1.6, 2.0):
            data = with_larger_steps(whole, by)
            found = []
            for backend in backends.NAMES:
                with backends.use(backend):
                    planes = planes_of(data, factor)
                    found.append(None if planes is None else in_image(planes))
            assert found[0] == found[1]
            if found[0] is not None:
                assert_same(data, factor=factor)
                num_alike += b'\x00' in found[0] and b'\xff' in found[0]
            num_beyond += found[0] is None
    assert num_alike > 10
    assert num_beyond > 10


@pytest.mark.parametrize('sampling', ['4:2:0', '4:4:4'])
@pytest.mark.parametrize('restart', [0, 3])
@pytest.mark.parametrize('factor', FACTORS)
def test_a_changed_image_gives_the_pixels_or_has_no_planes(sampling: str, restart: int, factor: int) -> None:
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
            if planes_of(data, factor) is None:
                num_damaged += bool(damage)
                continue
            assert not damage
            assert_same(data, factor=factor)
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
                    planes = planes_of(data, FACTORS[i // 5 % 4])
                except DataError:
                    planes = None
                read.append(None if planes is None else in_image(planes))
        assert read[0] == read[1]
        found.append(read[0] is not None)
    assert 30 < sum(found) < 110


def digest() -> str:
    """Of the planes of images in every sampling, at every size."""
    total = hashlib.sha256()
    for sampling, factor in itertools.product(SAMPLINGS, FACTORS):
        for height, width in ((16, 16), (33, 47), (120, 232)):
            planes = planes_of(encoded(picture(height, width, noise=20.0), sampling, QUALITY, 85), factor)
            total.update(b'' if planes is None else in_image(planes))
    return total.hexdigest()


def test_planes_do_not_depend_on_the_vector_instructions() -> None:
    """On a CPU that has fewer than there is code for, those are left out."""
    here = Path(__file__).parent
    folders = os.pathsep.join((str(here), str(here.parent), os.environ.get('PYTHONPATH', '')))
    expected = digest()
    for level in ('default', 'avx2'):
        environment = {**os.environ, 'PYTHONPATH': folders, 'ROBOCACHE_BACKEND': 'cpu', 'ROBOCACHE_SIMD': level}
        command = [sys.executable, '-c', 'from test_jpeg_planes import digest; print(digest())']
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if 'this CPU has' in done.stderr and level != 'default':
            continue
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == expected, level
