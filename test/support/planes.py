# SPDX-License-Identifier: Apache-2.0
"""Planes of JPEGs beside the pixels that OpenCV decodes."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from robocache_core import jpeg, ops
from robocache_core.encodings import JPEG_SAMPLINGS, in_planes
from robocache_core.jpeg_planes import Planes, read_planes

#: By the factor, how OpenCV decodes; in colour, and grey.
FLAGS = {
    1: (cv2.IMREAD_UNCHANGED, cv2.IMREAD_UNCHANGED),
    2: (cv2.IMREAD_REDUCED_COLOR_2, cv2.IMREAD_REDUCED_GRAYSCALE_2),
    4: (cv2.IMREAD_REDUCED_COLOR_4, cv2.IMREAD_REDUCED_GRAYSCALE_4),
    8: (cv2.IMREAD_REDUCED_COLOR_8, cv2.IMREAD_REDUCED_GRAYSCALE_8),
}


def planes_of(data: np.ndarray, factor: int = 1) -> Planes | None:
    """The planes of a JPEG, which ends in memory with its last code, so that a sanitizer sees a read behind it."""
    found = jpeg.read_jpeg(data)
    return read_planes(found, data[: max(segment.data[1] for segment in found.segments)].copy(), factor)


def pixels_of(data: np.ndarray, factor: int) -> np.ndarray:
    return cv2.imdecode(data, FLAGS[factor][jpeg.read_jpeg(data).num_channels == 1] | cv2.IMREAD_IGNORE_ORIENTATION)


def has_planes(sampling: str, width: int, factor: int) -> bool:
    """Whether libjpeg blends the chroma of an image of so many columns, or has not to."""
    is_halved = {'4:2:2': (True, False), '4:4:0': (False, True), '4:2:0': (factor == 1, factor == 1)}
    across, down = is_halved.get(sampling, (False, False))
    return not (across and -(-width // factor) <= 4) and not (factor == 8 and (across or down))


def in_image(planes: Planes) -> bytes:
    """The bytes of planes that are in the image, of each plane."""
    across, down = JPEG_SAMPLINGS[planes.sampling or '4:4:4']
    begin, found = 0, []
    for x, y in ((1, 1), *[(across, down)] * (2 if planes.sampling else 0)):
        step, height, width = planes.step // x, -(-planes.height // y), -(-planes.width // x)
        rows = -(-planes.height // (8 * down)) * 8 * (down // y)
        found.append(planes.data[begin : begin + rows * step].reshape(rows, step)[:height, :width].tobytes())
        begin += rows * step
    assert begin == planes.data.size
    return b''.join(found)


def prepared(data: torch.Tensor, encoding: str, size: tuple[int, int], step: int, **settings) -> torch.Tensor:
    height, width = size
    settings = {'out_width': width, 'out_height': height, **settings}
    return ops.prepare_image(data, encoding=encoding, width=width, height=height, step=step, **settings)


def assert_same(data: np.ndarray, colours: str = 'bgr8', factor: int = 1, **settings) -> Planes:
    """That planes and pixels give the same result; return the planes."""
    planes = planes_of(data, factor)
    assert planes is not None
    pixels = pixels_of(data, factor)
    size, channels = pixels.shape[:2], pixels.size // (pixels.shape[0] * pixels.shape[1])
    assert (planes.height, planes.width) == size
    name = colours if channels == 3 else 'mono8'
    expected = prepared(torch.from_numpy(pixels).reshape(-1), name, size, channels * size[1], **settings)
    name = in_planes(name, planes.sampling)
    result = prepared(torch.from_numpy(planes.data), name, size, planes.step, **settings)
    assert torch.equal(result, expected)
    return planes
