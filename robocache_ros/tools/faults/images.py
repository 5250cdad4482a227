# SPDX-License-Identifier: Apache-2.0
"""Faults of images: another encoding, another size."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from robocache_core.encodings import ENCODINGS
from robocache_core.tunable import tunable
from robocache_ros.tools.faults.contents import COMPRESSED, IMAGE, Contents

Pixels = npt.NDArray[Any]

#: OpenCV's suffix of a compression.
_SUFFIXES = {'png': '.png', 'jpeg': '.jpg'}


@dataclass(frozen=True)
class Encoding(Contents):
    """Images have another encoding or compression, of the same pixels as far as it can hold them."""

    types = (IMAGE, COMPRESSED)

    to: str = tunable(
        'auto',
        'the encoding; auto: mono8 of an Image, png of a CompressedImage',
        choices=('auto', 'mono8', 'rgb8', 'bgr8', '16UC1', *_SUFFIXES),
    )

    def edit(self, found: Any, random: Random) -> str | None:
        if not hasattr(found, 'encoding'):
            return _compress(found, 'png' if self.to == 'auto' else self.to, 1)
        to, pixels = 'mono8' if self.to == 'auto' else self.to, _colour(found)
        if to in _SUFFIXES or pixels is None:
            return None
        before = found.encoding
        _put(found, to, _encoded(pixels, to))
        return f'{before} to {to}'


@dataclass(frozen=True)
class Resolution(Contents):
    """Images have fewer pixels along each axis."""

    types = (IMAGE, COMPRESSED)

    divide: int = tunable(2, 'of so many pixels in a row or column one is left', low=2, high=1024)

    def edit(self, found: Any, random: Random) -> str | None:
        if not hasattr(found, 'encoding'):
            return _compress(found, 'png' if 'png' in found.format.lower() else 'jpeg', self.divide)
        pixels = _packed(found)
        if pixels is None:
            return None
        before = f'{found.width} x {found.height}'
        _put(found, found.encoding, pixels[:: self.divide, :: self.divide])
        return f'{before} to {found.width} x {found.height}'


def _compress(found: Any, to: str, divide: int) -> str | None:
    """Compress the image of a CompressedImage once more."""
    pixels = cv2.imdecode(found.data, cv2.IMREAD_COLOR) if found.data.size else None
    if pixels is None or to not in _SUFFIXES:
        return None
    _, found.data = cv2.imencode(_SUFFIXES[to], pixels[::divide, ::divide])
    found.format = f'bgr8; {to} compressed bgr8'
    return f'{pixels.shape[1]} x {pixels.shape[0]} to {to}, one in {divide}'


def _packed(image: Any) -> Pixels | None:
    """Return the bytes of each pixel ``[height, width, nbytes]``; None where pixels are not one beside the other."""
    encoding = ENCODINGS.get(image.encoding)
    if encoding is None or encoding.layout != 'packed':
        return None
    size = encoding.row_bytes(image.width)
    if not size or image.step < size or len(image.data) < image.height * image.step:
        return None
    rows: Pixels = image.data[: image.height * image.step].reshape(image.height, image.step)
    return rows[:, :size].reshape(image.height, image.width, -1)


def _colour(image: Any) -> Pixels | None:
    """Return an image of 8 bits as blue, green, red ``[height, width, 3]``; None where it is no such."""
    pixels = _packed(image)
    if pixels is None or ENCODINGS[image.encoding].dtype != 'uint8':
        return None
    order = ENCODINGS[image.encoding].order
    return pixels[:, :, list(order[::-1]) if len(order) == 3 else [0, 0, 0]]


def _encoded(bgr: Pixels, to: str) -> Pixels:
    if to == 'rgb8':
        return bgr[:, :, ::-1]
    if to == 'bgr8':
        return bgr
    grey: Pixels = bgr.mean(axis=2)
    return grey.astype(np.uint8) if to == 'mono8' else grey.astype('<u2').view(np.uint8).reshape(*grey.shape, 2)


def _put(image: Any, encoding: str, pixels: Pixels) -> None:
    image.height, image.width = pixels.shape[:2]
    image.encoding, image.is_bigendian = encoding, 0
    image.data = np.ascontiguousarray(pixels).reshape(-1)
    image.step = image.data.size // max(image.height, 1)
