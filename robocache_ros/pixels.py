# SPDX-License-Identifier: Apache-2.0
"""The pixels of PNG images, and of JPEGs that ``robocache_core.jpeg_planes`` does not read.

JPEGs are decoded by libjpeg-turbo. That of simplejpeg has its SIMD code; that of OpenCV's wheels has not, and takes 2.5
times as long. Both give the same bits, so a frame does not depend on which of them there is.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from robocache_core.jpeg import Jpeg
from robocache_core.ledger import Reason
from robocache_core.samples import DataError

try:
    import simplejpeg
except ModuleNotFoundError as error:
    if error.name != 'simplejpeg':
        raise
    simplejpeg = None

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

#: What decodes JPEGs of full resolution that are not read to planes.
JPEG_DECODER = 'OpenCV' if simplejpeg is None else 'simplejpeg'
#: By the number of channels, what simplejpeg calls the pixels that OpenCV gives.
_LAYOUTS = {1: 'GRAY', 3: 'BGR'}
#: By the factor, what OpenCV calls it: a JPEG's transform then gives fewer pixels. As grey, and in colour.
_REDUCED = {
    2: (cv2.IMREAD_REDUCED_GRAYSCALE_2, cv2.IMREAD_REDUCED_COLOR_2),
    4: (cv2.IMREAD_REDUCED_GRAYSCALE_4, cv2.IMREAD_REDUCED_COLOR_4),
    8: (cv2.IMREAD_REDUCED_GRAYSCALE_8, cv2.IMREAD_REDUCED_COLOR_8),
}


def decode_jpeg(image: Jpeg, data: npt.NDArray[np.uint8], factor: int) -> Pixels:
    """Return the pixels of a JPEG ``[nbytes] uint8``: ``[H, W]``, or ``[H, W, 3]`` b g r, whatever its orientation.

    Args:
        image: its markers.
        data: all of it; what is damaged gives any pixels.
        factor: 1, 2, 4 or 8: by which it is reduced along each axis, sizes rounded up.

    Raises:
        DataError: ``decode_failed``.
    """
    if factor > 1:
        return _by_opencv(data, _REDUCED[factor][image.num_channels > 1] | cv2.IMREAD_IGNORE_ORIENTATION)
    if simplejpeg is None or image.num_channels not in _LAYOUTS:
        return _by_opencv(data, cv2.IMREAD_UNCHANGED)
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(data, _LAYOUTS[image.num_channels])
    except ValueError as error:
        # Of damaged data. What simplejpeg calls recoverable can be an image of which it has written nothing.
        return _by_opencv(data, cv2.IMREAD_UNCHANGED, str(error))
    return pixels[..., 0] if image.num_channels == 1 else pixels


def decode_png(data: npt.NDArray[np.uint8]) -> Pixels:
    """Return the pixels of a PNG ``[nbytes] uint8``: ``[H, W]``, or ``[H, W, C]`` b g r and alpha.

    Raises:
        DataError: ``decode_failed``.
    """
    return _by_opencv(data, cv2.IMREAD_UNCHANGED)


def _by_opencv(data: npt.NDArray[np.uint8], flags: int, why: str = 'OpenCV cannot read it') -> Pixels:
    try:
        pixels: Pixels | None = cv2.imdecode(data, flags)
    except cv2.error as error:
        raise _failed(data, str(error)) from error
    if pixels is None:
        raise _failed(data, why)
    return pixels


def _failed(data: npt.NDArray[np.uint8], why: str) -> DataError:
    return DataError(Reason.DECODE_FAILED, f'the image of {data.size} bytes cannot be decoded: {why}')
