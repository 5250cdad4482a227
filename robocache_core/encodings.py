# SPDX-License-Identifier: Apache-2.0
"""Image encodings of ROS: how the bytes of a message hold pixels, and which sizes an image can have."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from robocache_core.ledger import Reason
from robocache_core.samples import DataError
from robocache_core.text import shown

#: Most pixels along an axis of an image.
MAX_PIXELS = 1 << 20


@dataclass(frozen=True)
class Encoding:
    """How a ROS encoding holds its pixels.

    Attributes:
        dtype: of a value.
        channels: values in a row for each pixel.
        order: where the channels of the result (R G B, or one) are. packed: value of a pixel; bayer: place of R, a G
            and B in a tile of 2 x 2 pixels; yuv422: of the first Y, U and V in the four values of two pixels;
            semi_planar: of nothing, U and V in the two values of 2 x 2 pixels, whose rows follow those of Y; jpeg: of
            the channels of the result in R G B.
        layout: packed, bayer, yuv422, semi_planar or jpeg: planes of luma and twice chroma, of whole blocks of 8 x 8.
        sampling: of jpeg: pixels of luma for one of chroma, along x and y.
    """

    dtype: str
    channels: int
    order: tuple[int, ...]
    layout: str = 'packed'
    sampling: tuple[int, int] = (1, 1)

    def rows(self, height: int) -> int:
        """Rows of data that an image of ``height`` pixels has."""
        if self.layout == 'jpeg':
            across, down = self.sampling
            luma = -(-height // (8 * down)) * 8 * down
            return luma + 2 * luma // (across * down)
        return height + height // 2 if self.layout == 'semi_planar' else height

    def row_bytes(self, width: int) -> int:
        """Bytes of a row of data that hold pixels."""
        return width * self._pixel_bytes

    @functools.cached_property
    def _pixel_bytes(self) -> int:
        """Bytes that a pixel takes in a row of data; NumPy is asked once."""
        return self.channels * np.dtype(self.dtype).itemsize

    def check(self, name: str, width: int, height: int, step: int, nbytes: int) -> None:
        """Check that an image of this encoding, called ``name``, is inside ``nbytes`` bytes, rows ``step`` apart.

        Raises:
            DataError: ``empty_image``, ``bad_image_size``, ``step_too_small`` or ``data_too_short``.
        """
        if width < 1 or height < 1:
            raise DataError(Reason.EMPTY_IMAGE, f'an image of {width} x {height} pixels')
        if max(width, height) > MAX_PIXELS:
            raise DataError(
                Reason.BAD_IMAGE_SIZE, f'{width} x {height} pixels: must be at most {MAX_PIXELS} along an axis'
            )
        if self.layout == 'bayer' and min(width, height) < 3:
            raise DataError(Reason.BAD_IMAGE_SIZE, f'{width} x {height} pixels {name}: needs 3 x 3 at the least')
        if self.layout in ('yuv422', 'semi_planar') and width % 2:
            raise DataError(Reason.BAD_IMAGE_SIZE, f'{width} x {height} pixels {name}: the width must be even')
        if self.layout == 'semi_planar' and height % 2:
            raise DataError(Reason.BAD_IMAGE_SIZE, f'{width} x {height} pixels {name}: the height must be even')
        if step % self.sampling[0]:
            raise DataError(Reason.BAD_IMAGE_SIZE, f'step {step} of {name}: must be a multiple of {self.sampling[0]}')
        row, rows = self.row_bytes(width), self.rows(height)
        if step < row:
            raise DataError(Reason.STEP_TOO_SMALL, f'step {step} < {row} bytes of {width} pixels {name}')
        if nbytes < step * rows:
            of = f'height {height}' if rows == height else f'{rows} rows of height {height}'
            raise DataError(Reason.DATA_TOO_SHORT, f'{nbytes} bytes < step {step} x {of}')


#: Pixels of luma for one of chroma, along x and y, of the samplings that encoders know.
JPEG_SAMPLINGS = {'4:4:4': (1, 1), '4:2:2': (2, 1), '4:2:0': (2, 2), '4:4:0': (1, 2), '4:1:1': (4, 1)}

ENCODINGS = {
    'rgb8': Encoding('uint8', 3, (0, 1, 2)),
    'bgr8': Encoding('uint8', 3, (2, 1, 0)),
    'rgba8': Encoding('uint8', 4, (0, 1, 2)),
    'bgra8': Encoding('uint8', 4, (2, 1, 0)),
    'mono8': Encoding('uint8', 1, (0,)),
    'mono16': Encoding('uint16', 1, (0,)),
    '8UC1': Encoding('uint8', 1, (0,)),
    '8UC3': Encoding('uint8', 3, (2, 1, 0)),
    '16UC1': Encoding('uint16', 1, (0,)),
    '32FC1': Encoding('float32', 1, (0,)),
    **{
        f'bayer_{pattern}{bits}': Encoding(f'uint{bits}', 1, order, 'bayer')
        for bits in (8, 16)
        for pattern, order in (('rggb', (0, 1, 3)), ('bggr', (3, 1, 0)), ('gbrg', (2, 0, 1)), ('grbg', (1, 0, 2)))
    },
    **dict.fromkeys(('yuv422', 'uyvy'), Encoding('uint8', 2, (1, 0, 2), 'yuv422')),
    **dict.fromkeys(('yuv422_yuy2', 'yuyv'), Encoding('uint8', 2, (0, 1, 3), 'yuv422')),
    'nv12': Encoding('uint8', 1, (0, 0, 1), 'semi_planar'),
    'nv21': Encoding('uint8', 1, (0, 1, 0), 'semi_planar'),
}


def in_planes(encoding: str, sampling: str) -> str:
    """Return the name of the encoding of JPEG planes of which pixels of ``encoding`` could be made.

    ``sampling``: of ``JPEG_SAMPLINGS``; empty: they are no planes.
    """
    return f'{encoding} in JPEG planes {sampling}' if sampling else encoding


#: Planes of JPEGs, which no message holds.
JPEG_ENCODINGS = {
    in_planes(encoding, name): Encoding('uint8', 1, order, 'jpeg', sampling)
    for name, sampling in JPEG_SAMPLINGS.items()
    for encoding, order in (('bgr8', (0, 1, 2)), ('rgb8', (2, 1, 0)))
}

#: Those whose pixels are distances.
DEPTH_ENCODINGS = ('16UC1', '32FC1')


def encoding_of(name: str) -> Encoding:
    """Return the encoding that ROS calls ``name``, or that of JPEG planes.

    Raises:
        DataError: ``unknown_encoding``.
    """
    planes = JPEG_ENCODINGS.get(name) if isinstance(name, str) else None
    return message_encoding_of(name) if planes is None else planes


def message_encoding_of(name: str) -> Encoding:
    """Return the encoding that ROS calls ``name``.

    Raises:
        DataError: ``unknown_encoding``.
    """
    if not isinstance(name, str) or name not in ENCODINGS:
        raise DataError(Reason.UNKNOWN_ENCODING, f'encoding {shown(name)}: must be one of {", ".join(ENCODINGS)}')
    return ENCODINGS[name]
