# SPDX-License-Identifier: Apache-2.0
"""Rectification maps: where each pixel of a rectified image is in the camera's, from its CameraInfo.

The map is in the geometry of the result, so that rectification and resizing are one look-up. Its arithmetic has no
library functions, so that it has the same bits wherever it is built.
"""

from __future__ import annotations

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections import deque
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from robocache_core import rotation
from robocache_core.ledger import Reason
from robocache_core.ops.image import image_region
from robocache_core.samples import CameraFrame, CameraInfo, DataError, EncodedImage, Reduction
from robocache_core.text import shown
from robocache_core.units import SECOND

Array = npt.NDArray[Any]

#: Maps that are kept, and at most made in a second of stamps: a calibration that changes with every image costs more.
MAX_MAPS = 4

#: Greatest share of padding in a result that a lens can explain.
MOST_PADDING = 0.9

#: Numbers of coefficients that a distortion model can have.
MODELS = {'plumb_bob': (0, 4, 5), 'rational_polynomial': (8, 12), 'equidistant': (4,)}

_ATAN_RATIO = [1 / (2 * k + 1) for k in range(13)]


class _Refusal(NamedTuple):
    """Why a calibration gives no table."""

    reason: Reason
    text: str


class CameraTables(ABC):
    """Gives the images of one camera, which may change in size, a table that is made from its calibration.

    Args:
        info_topic: where the calibration comes from, for messages.

    Attributes:
        info: the camera's calibration; None: it is not known yet.
    """

    def __init__(self, info_topic: str) -> None:
        self._info_topic = info_topic
        self.info: CameraInfo | None = None
        #: By calibration, size and reduction of the image, the last used at the end; or why there is none.
        self._tables: dict[tuple[CameraInfo, int, int, Reduction | None], torch.Tensor | _Refusal] = {}
        #: Stamps of the images for which the last tables were made, or refused, ns.
        self._made_ns: deque[int] = deque(maxlen=MAX_MAPS)

    @abstractmethod
    def make(self, info: CameraInfo, frame: CameraFrame) -> torch.Tensor:
        """Make the table of an image.

        Raises:
            DataError: the calibration cannot be that of the image.
        """

    @abstractmethod
    def with_table(self, frame: CameraFrame, table: torch.Tensor) -> CameraFrame:
        """Return the image with its table."""

    def apply(self, image: CameraFrame | EncodedImage) -> CameraFrame | EncodedImage:
        """Return ``image`` with its table: at once, or where it is encoded, when it is decoded.

        Raises:
            DataError: ``no_camera_info``, ``camera_info_changes``, or why ``make`` refuses it.
        """
        if self.info is None:
            raise DataError(Reason.NO_CAMERA_INFO, f'no CameraInfo has come on {self._info_topic}')
        if isinstance(image, EncodedImage):
            return dataclasses.replace(image, decode=functools.partial(self._decode, image, self.info))
        return self._complete(image, self.info)

    def _decode(self, image: EncodedImage, info: CameraInfo) -> CameraFrame:
        return self._complete(image.decode(), info)

    def _complete(self, frame: CameraFrame, info: CameraInfo) -> CameraFrame:
        key = info, frame.width, frame.height, frame.reduction
        found = self._tables.pop(key, None)
        if found is None:
            self._check_rate(frame)
            found = self._make(info, frame)
            if len(self._tables) == MAX_MAPS:
                self._tables.pop(next(iter(self._tables)))
        self._tables[key] = found
        if isinstance(found, _Refusal):
            raise DataError(*found)
        return self.with_table(frame, found)

    def _make(self, info: CameraInfo, frame: CameraFrame) -> torch.Tensor | _Refusal:
        try:
            return self.make(info, frame)
        except DataError as error:
            return _Refusal(error.reason, str(error))

    def _check_rate(self, frame: CameraFrame) -> None:
        made = self._made_ns
        if len(made) == MAX_MAPS and abs(frame.stamp_ns - made[0]) < SECOND:
            raise DataError(
                Reason.CAMERA_INFO_CHANGES,
                f'CameraInfo on {self._info_topic} has changed more than {MAX_MAPS} times in a second: '
                'a map is not made for each',
            )
        made.append(frame.stamp_ns)


class Rectifier(CameraTables):
    """Gives the images of one camera the map to rectify them by.

    Args:
        out_width: of the result, px.
        out_height: of the result, px.
        letterbox: keep the aspect ratio, centre, and pad; else stretch.
        info_topic: where the calibration comes from, for messages.
    """

    def __init__(self, *, out_width: int, out_height: int, letterbox: bool, info_topic: str) -> None:
        super().__init__(info_topic)
        self._out_width = out_width
        self._out_height = out_height
        self._letterbox = letterbox

    def make(self, info: CameraInfo, frame: CameraFrame) -> torch.Tensor:
        return rectify_map(
            decoded_info(info, frame.reduction),
            width=frame.width,
            height=frame.height,
            out_width=self._out_width,
            out_height=self._out_height,
            letterbox=self._letterbox,
        )

    def with_table(self, frame: CameraFrame, table: torch.Tensor) -> CameraFrame:
        return dataclasses.replace(frame, rectify=table)


def rectify_map(
    info: CameraInfo, *, width: int, height: int, out_width: int, out_height: int, letterbox: bool = False
) -> torch.Tensor:
    """Make the map that ``ops.prepare_image`` takes as ``rectify``.

    The result shows what the rectified image of ``info.width x info.height`` pixels shows that R and P describe,
    resized. An image of another size than ``info`` is taken for that image scaled.

    Args:
        info: the camera's calibration.
        width: of the camera's image, px.
        height: of the camera's image, px.
        out_width: of the result, px.
        out_height: of the result, px.
        letterbox: keep the aspect ratio, centre, and pad; else stretch.

    Returns:
        ``[out_height, out_width, 2]`` float32: x y of each pixel in the camera's image, px, its first pixel's centre at
        (0, 0); NaN for padding and for what is behind the camera.

    Raises:
        DataError: ``bad_camera_info`` (not calibrated, an unknown model, a wrong number of coefficients, a matrix that
            has no inverse or fixed elements of another value, a distortion that leaves nearly nothing but padding),
            ``camera_info_binning``, ``camera_info_roi``, ``camera_info_size`` (another aspect ratio).
    """
    check_info(info, width, height)
    left, top, region_width, region_height = image_region(width, height, out_width, out_height, letterbox)
    u = (np.arange(region_width) + 0.5) * (info.width / region_width) - 0.5
    v = (np.arange(region_height) + 0.5) * (info.height / region_height) - 0.5
    with np.errstate(over='ignore', invalid='ignore'):
        x, y = distorted(info, *_rays(info, u[None, :], v[:, None]))
    fx, skew, cx, _, fy, cy, *_ = info.k
    result = np.full((out_height, out_width, 2), np.nan, dtype=np.float32)
    region = result[top : top + region_height, left : left + region_width]
    with np.errstate(over='ignore', invalid='ignore'):  # beyond float32 is padding
        region[..., 0] = (fx * x + (skew * y if skew else 0.0) + cx + 0.5) * (width / info.width) - 0.5
        region[..., 1] = (fy * y + cy + 0.5) * (height / info.height) - 0.5
    if any(info.d):
        _check_padding(region, width, height)
    return torch.from_numpy(result)


def result_info(
    info: CameraInfo, *, width: int, height: int, out_width: int, out_height: int, letterbox: bool, rectified: bool
) -> CameraInfo:
    """Return the calibration of the result of ``ops.prepare_image``: of the image resized, and rectified or not.

    A rectified image has no distortion, K is its projection and R the identity. Arguments and errors as of
    ``rectify_map``.
    """
    check_info(info, width, height)
    left, top, region_width, region_height = image_region(width, height, out_width, out_height, letterbox)
    scale = region_width / info.width, region_height / info.height
    result = _resized(info, scale, (left, top), (out_width, out_height))
    if not rectified:
        return result
    inverse_of(np.array(info.p).reshape(3, 4)[:, :3], np.array(info.r).reshape(3, 3))  # raises where there is none
    p = result.p
    return dataclasses.replace(
        result,
        distortion_model='plumb_bob',
        d=(0.0,) * 5,
        k=(*p[0:3], *p[4:7], *p[8:11]),
        r=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    )


def decoded_info(info: CameraInfo, reduction: Reduction | None) -> CameraInfo:
    """Return the calibration of an image as it was decoded, from that of the image that was sent.

    Column u of the image that was sent is (u + 0.5) / factor - 0.5 of the reduced one. Errors as of ``rectify_map``.
    """
    if reduction is None:
        return info
    factor, width, height = reduction.factor, reduction.width, reduction.height
    check_info(info, width, height)
    scale = width / info.width / factor, height / info.height / factor
    return _resized(info, scale, (0, 0), (-(-width // factor), -(-height // factor)))


def _resized(
    info: CameraInfo, scale: tuple[float, float], corner: tuple[int, int], size: tuple[int, int]
) -> CameraInfo:
    """The calibration of an image of ``size`` px that shows that of ``info``, scaled, from px ``corner`` on."""
    (x, y), (left, top) = scale, corner
    resized = np.array([[x, 0, left + 0.5 * x - 0.5], [0, y, top + 0.5 * y - 0.5], [0, 0, 1]])
    with np.errstate(over='ignore', invalid='ignore'):
        p = resized @ np.array(info.p).reshape(3, 4)
        k = resized @ np.array(info.k).reshape(3, 3)
    if not (np.isfinite(p).all() and np.isfinite(k).all()):
        raise _bad(f'K = {info.k}, P = {info.p}: must be finite for the image resized, too')
    return dataclasses.replace(
        info,
        width=size[0],
        height=size[1],
        k=tuple(map(float, k.flat)),
        p=tuple(map(float, p.flat)),
        binning=(0, 0),
        roi=(0, 0, 0, 0),
    )


def _bad(what: str) -> DataError:
    return DataError(Reason.BAD_CAMERA_INFO, f'CameraInfo: {what}')


def _check_padding(region: Array, width: int, height: int) -> None:
    """Refuse a map of which nearly nothing is in the image: the coefficients are not those of a lens."""
    x, y = region[..., 0], region[..., 1]
    padding = 1 - np.mean((x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5))
    if padding > MOST_PADDING:
        raise _bad(f'{100 * padding:.1f} % of the rectified image would be padding, more than any lens gives')


def _check_fixed(name: str, matrix: tuple[float, ...], fixed: dict[int, float]) -> None:
    """Refuse a matrix by columns, or one that was never filled in."""
    for at, value in fixed.items():
        if abs(matrix[at] - value) > 1e-9:
            raise _bad(f'{name} = {matrix}: element {at} is {matrix[at]}, must be {value:g}, by rows')


def check_info(info: CameraInfo, width: int, height: int) -> None:
    """Refuse a calibration that cannot be that of an image of ``width x height`` px.

    Raises:
        DataError: as ``rectify_map``, but for padding.
    """
    if info.width < 1 or info.height < 1 or not (info.k[0] > 0 and info.k[4] > 0):
        raise _bad(f'{info.width} x {info.height} pixels, K = {info.k}: the camera is not calibrated')
    if not np.isfinite([*info.d, *info.k, *info.r, *info.p]).all():
        raise _bad('D, K, R, P must be finite')
    _check_fixed('K', info.k, {3: 0, 6: 0, 7: 0, 8: 1})
    if info.distortion_model not in MODELS and (info.distortion_model or info.d):
        raise _bad(f'distortion_model {shown(info.distortion_model)}: must be one of {", ".join(MODELS)}')
    if abs(info.k[1]) > info.k[0]:
        raise _bad(f'K = {info.k}: element 1, the skew, is greater than element 0')
    allowed = MODELS.get(info.distortion_model, (0,))
    if len(info.d) not in allowed:
        raise _bad(f'D has {len(info.d)} elements: {info.distortion_model} has {" or ".join(map(str, allowed))}')
    if any(binning not in (0, 1) for binning in info.binning):
        raise DataError(Reason.CAMERA_INFO_BINNING, f'CameraInfo has binning {info.binning}: must be 0 or 1')
    if info.roi not in ((0, 0, 0, 0), (0, 0, info.width, info.height)):
        raise DataError(
            Reason.CAMERA_INFO_ROI, f'CameraInfo has the region of interest {info.roi}: must be the whole image'
        )
    check_size((info.width, info.height), width, height)


def check_size(calibrated: tuple[int, int], width: int, height: int) -> None:
    """Refuse an image of ``width x height`` px that is not the ``calibrated`` one, scaled.

    Raises:
        DataError: ``camera_info_size``.
    """
    info_width, info_height = calibrated
    # A scaled image has whole pixels, so its aspect ratio is that of the calibration to a pixel.
    if abs(width * info_height - height * info_width) > max(calibrated):
        raise DataError(
            Reason.CAMERA_INFO_SIZE,
            f'CameraInfo is of {info_width} x {info_height} pixels, the image has {width} x {height}: '
            'must be the same, or scaled',
        )


def _rays(info: CameraInfo, u: Array, v: Array) -> tuple[Array, Array]:
    """Rays of pixels of the rectified image in the camera, x / z and y / z; NaN where z is not positive."""
    inverse = inverse_of(np.array(info.p).reshape(3, 4)[:, :3], np.array(info.r).reshape(3, 3))
    x, y, z = (row[0] * u + row[1] * v + row[2] for row in inverse)
    with np.errstate(divide='ignore', invalid='ignore'):
        scale = np.where(z > 0, 1 / z, np.nan)
    return x * scale, y * scale


def inverse_of(p: Array, r: Array) -> list[list[float]]:
    """Return the rows of the inverse of ``p @ r``.

    Raises:
        DataError: ``bad_camera_info``: there is none.
    """
    m = [[sum(p[i, k] * r[k, j] for k in range(3)) for j in range(3)] for i in range(3)]

    def cofactor(i: int, j: int) -> float:
        (a, b), (c, d) = ([m[k % 3][n % 3] for n in (j + 1, j + 2)] for k in (i + 1, i + 2))
        return float(a * d - b * c)

    determinant = sum(m[0][j] * cofactor(0, j) for j in range(3))
    if not abs(determinant) > 0:
        raise DataError(Reason.BAD_CAMERA_INFO, f'CameraInfo: P = {p.tolist()}, R = {r.tolist()}: P R has no inverse')
    return [[cofactor(i, j) / determinant for i in range(3)] for j in range(3)]


def distorted(info: CameraInfo, x: Array, y: Array) -> tuple[Array, Array]:
    """Return where the lens bends rays x / z, y / z to."""
    r2 = x * x + y * y
    if info.distortion_model == 'equidistant':
        k1, k2, k3, k4 = info.d
        r = np.sqrt(r2)
        theta = _atan(r)
        t2 = theta * theta
        bent = theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))))
        scale = np.where(r > 0, bent / np.where(r > 0, r, 1), 1)
        return x * scale, y * scale
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = (*info.d, *[0.0] * 12)[:12]
    radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    xy2 = 2 * x * y
    return (
        x * radial + p1 * xy2 + p2 * (r2 + 2 * x * x) + r2 * (s1 + r2 * s2),
        y * radial + p1 * (r2 + 2 * y * y) + p2 * xy2 + r2 * (s3 + r2 * s4),
    )


def _atan(t: Array) -> Array:
    """Arc tangent of t >= 0: the angle is halved three times, then a series takes it."""
    for _ in range(3):
        t = t / (1 + np.sqrt(1 + t * t))
    u = t * t  # <= tan(pi / 16)^2 < 0.04
    theta: Array = 8 * t * rotation.alternating(_ATAN_RATIO, u)
    return theta
