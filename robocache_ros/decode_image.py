# SPDX-License-Identifier: Apache-2.0
"""Decode Image, CompressedImage and CameraInfo messages.

Raw pixels are viewed, as points are. Of a compressed image its size is read and held against ``max_pixels`` before
anything is decoded, and its container is checked; its pixels are decoded when a frame uses them.
"""

from __future__ import annotations

import contextlib
import functools
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from sensor_msgs.msg import CameraInfo as CameraInfoMsg
from sensor_msgs.msg import CompressedImage, Image

from robocache_core import jpeg, png
from robocache_core.config import CameraConfig, DepthConfig
from robocache_core.encodings import DEPTH_ENCODINGS, ENCODINGS, encoding_of, message_encoding_of
from robocache_core.jpeg_planes import Planes, read_planes
from robocache_core.ledger import Reason
from robocache_core.samples import CameraFrame, CameraInfo, DataError, EncodedImage, Reduction
from robocache_core.text import shown
from robocache_ros.decode import stamp_ns
from robocache_ros.message_data import host_bytes, view_bytes
from robocache_ros.pixels import Pixels, decode_jpeg, decode_png

#: Names of encodings by their lower-case letters.
_ENCODING_NAMES = {name.lower(): name for name in ENCODINGS}


def decode_image(msg: Image, config: CameraConfig) -> CameraFrame:
    """Decode a raw image.

    Raises:
        DataError: as ``stamp_ns``; ``unknown_encoding``, ``empty_image``, ``bad_image_size``,
            ``step_too_small``, ``data_too_short``.
    """
    stamp = stamp_ns(msg.header, config)
    check_size(msg.width, msg.height, config)
    return view_image(msg, stamp)


def view_image(msg: Image, stamp: int) -> CameraFrame:
    """View the pixels of a raw image of stamp ``stamp``, ns.

    Raises:
        DataError: ``unknown_encoding``, ``empty_image``, ``bad_image_size``, ``step_too_small``, ``data_too_short``.
    """
    message_encoding_of(msg.encoding).check(msg.encoding, msg.width, msg.height, msg.step, len(msg.data))
    return CameraFrame(
        stamp_ns=stamp,
        frame_id=msg.header.frame_id,
        data=view_bytes(msg.data),
        encoding=msg.encoding,
        width=msg.width,
        height=msg.height,
        step=msg.step,
        is_bigendian=bool(msg.is_bigendian),
    )


def decode_camera_info(msg: CameraInfoMsg) -> CameraInfo:
    """Decode a camera's calibration, unchecked; its stamp does not matter."""
    return CameraInfo(
        width=msg.width,
        height=msg.height,
        distortion_model=msg.distortion_model,
        d=tuple(map(float, msg.d)),
        k=tuple(map(float, msg.k)),
        r=tuple(map(float, msg.r)),
        p=tuple(map(float, msg.p)),
        binning=(msg.binning_x, msg.binning_y),
        roi=(msg.roi.x_offset, msg.roi.y_offset, msg.roi.width, msg.roi.height),
        frame_id=msg.header.frame_id,
    )


def decode_compressed(msg: CompressedImage, config: CameraConfig) -> EncodedImage:
    """Decode a JPEG or PNG; its size and container are checked now, its pixels are decoded when a frame uses them.

    Decoded it is bgr8, bgra8, mono8, mono16, 16UC1 or a Bayer mosaic, or JPEG planes from which the same colours are
    made, of full resolution or, a JPEG, reduced by ``config.decode_scale``; an EXIF orientation is not applied. Bytes
    behind the end of the image are ignored.

    Raises:
        DataError: as ``stamp_ns``; ``unknown_encoding`` (another format, depth as JPEG, 16-bit colour, an
            animation), ``decode_failed`` (cut short), ``empty_image``, ``bad_image_size``, ``too_costly``,
            ``not_reducible``. Decoding raises ``decode_failed`` (damaged) and ``unknown_encoding`` (pixels that are not
            what ``format`` says). Of a JPEG that ``config.keeps_damaged`` what can be decoded is, with its ``damage``.
    """
    stamp = stamp_ns(msg.header, config)
    declared = Format.parse(msg.format)
    data = np.frombuffer(host_bytes(msg.data), dtype=np.uint8)
    start = data[:8].tobytes()
    if start.startswith(jpeg.START):
        container = _open_jpeg(data, declared, config)
    elif start == png.START:
        container = _open_png(data, config)
    else:
        raise DataError(
            Reason.DECODE_FAILED,
            f'format {shown(msg.format)}: {data.size} bytes that start as neither JPEG nor PNG',
        )
    decode = functools.partial(_decode_pixels, msg, declared, stamp, container)
    encoding = ''
    with contextlib.suppress(DataError):  # decoding raises it, where a frame uses the image
        encoding = declared.encoding_of(*container.pixels)
    return EncodedImage(stamp, msg.header.frame_id, data.size, decode, encoding=encoding)


@dataclass(frozen=True)
class _Container:
    """How the pixels in a JPEG or PNG are decoded.

    Attributes:
        decode: decodes them.
        pixels: NumPy name of the type of a value, and values of a pixel, once they are decoded.
        reduction: by which the image is decoded; None: to full resolution.
        find_damage: returns what is wrong with the bytes of the pixels; empty where nothing was found.
        keeps_damaged: whether an image with damage is decoded.
        read_planes: reads the planes of a JPEG, which are taken for its pixels; None where it has none.
    """

    decode: Callable[[], Pixels]
    pixels: tuple[str, int]
    reduction: Reduction | None = None
    find_damage: Callable[[], str] = str
    keeps_damaged: bool = False
    read_planes: Callable[[], Planes | None] = lambda: None


def _open_jpeg(data: np.ndarray, declared: Format, config: CameraConfig) -> _Container:
    declared.check_jpeg()
    found = jpeg.read_jpeg(data, may_be_cut=config.keeps_damaged)
    check_size(found.width, found.height, config)
    factor = config.decode_scale
    if factor > 1 and declared.encoding.startswith('bayer_') and found.num_channels == 1:
        raise _not_reducible(f'a mosaic ({shown(declared.text)})', config)
    return _Container(
        functools.partial(decode_jpeg, found, jpeg.ended(found, data), factor),
        ('uint8', 1 if found.num_channels == 1 else 3),
        reduction=Reduction(factor, found.width, found.height) if factor > 1 else None,
        find_damage=functools.partial(jpeg.damage_in, found, data),
        keeps_damaged=config.keeps_damaged,
        read_planes=functools.partial(read_planes, found, data, factor),
    )


def _open_png(data: np.ndarray, config: CameraConfig) -> _Container:
    found = png.read_png(data)
    check_size(found.width, found.height, config)
    if found.depth == 16 and found.num_channels > 1:
        raise DataError(Reason.UNKNOWN_ENCODING, f'an image of {found.num_channels} channels uint16 is not supported')
    if config.decode_scale > 1:
        raise _not_reducible('a PNG', config)
    channels = 4 if found.num_channels == 2 else found.num_channels  # OpenCV gives grey with alpha as b g r a
    return _Container(functools.partial(decode_png, data), ('uint16' if found.depth == 16 else 'uint8', channels))


def _not_reducible(what: str, config: CameraConfig) -> DataError:
    return DataError(
        Reason.NOT_REDUCIBLE,
        f'{what} cannot be reduced as it is decoded: {config.name}.decode_scale = {config.decode_scale}, must be 1',
    )


@dataclass(frozen=True)
class Format:
    """What ``CompressedImage.format`` says: ``<encoding>; jpeg compressed <target>``, or less.

    Attributes:
        text: all of it.
        encoding: of the raw image that was compressed; empty: not stated.
        target: what it was converted to before it was compressed; empty: not stated.
    """

    text: str
    encoding: str = ''
    target: str = ''

    @staticmethod
    def parse(text: str) -> Format:
        """Read a format in any of the forms that image_transport and camera drivers write.

        Raises:
            DataError: ``unknown_encoding``: another compression, or a depth image with a header of its own.
        """
        lowered = text[:200].lower()
        if 'compresseddepth' in lowered or (lowered and not re.search(r'\b(m?jpe?g|png)\b', lowered)):
            raise DataError(Reason.UNKNOWN_ENCODING, f'format {shown(text)} is not JPEG or PNG')
        before, separator, after = lowered.partition(';')
        encoding = _ENCODING_NAMES.get(before.strip(), '') if separator else ''
        _, _, target = (after if separator else before).partition('compressed')
        return Format(text, encoding, target.strip())

    def check_jpeg(self) -> None:
        """Refuse what a JPEG, of 8 bits, cannot hold.

        Raises:
            DataError: ``unknown_encoding``.
        """
        is_depth = self.encoding in DEPTH_ENCODINGS
        is_deep = self.encoding and ENCODINGS[self.encoding].dtype != 'uint8'
        if is_depth or (is_deep and not self.target):
            raise DataError(Reason.UNKNOWN_ENCODING, f'format {shown(self.text)}: a JPEG has 8 bits, not those of it')

    def encoding_of(self, dtype: str, channels: int) -> str:
        """Return the encoding of decoded pixels.

        Raises:
            DataError: ``unknown_encoding``: there is none, or the pixels are not what the format says.
        """
        if channels == 1 and (self.encoding.startswith('bayer_') or self.encoding == '16UC1'):
            found = self.encoding if self.target in ('', self.encoding.lower()) else ''
        else:
            # image_transport says 'compressed rgb' for pixels whose channels were swapped before they were compressed.
            order = 'rgb' if self.target.startswith('rgb') else 'bgr'
            found = {1: 'mono8' if dtype == 'uint8' else 'mono16', 3: f'{order}8', 4: f'{order}a8'}.get(channels, '')
        if not found or ENCODINGS[found].dtype != dtype:
            raise DataError(
                Reason.UNKNOWN_ENCODING, f'format {shown(self.text)} with pixels of {channels} channels {dtype}'
            )
        return found


def check_size(width: int, height: int, config: CameraConfig | DepthConfig) -> None:
    """Refuse an image without pixels, or with more than the stream allows.

    Raises:
        DataError: ``empty_image``, ``bad_image_size``.
    """
    if width < 1 or height < 1:
        raise DataError(Reason.EMPTY_IMAGE, f'an image of {width} x {height} pixels')
    if width * height > config.max_pixels:
        raise DataError(
            Reason.BAD_IMAGE_SIZE,
            f'{width} x {height} pixels: must be at most {config.name}.max_pixels = {config.max_pixels}',
        )


def _decode_pixels(msg: CompressedImage, declared: Format, stamp: int, container: _Container) -> CameraFrame:
    planes = container.read_planes()
    if planes is not None:
        return _frame_of_planes(msg, declared, stamp, planes, container.reduction)
    found = container.find_damage()
    damage = f'the image of {len(msg.data)} bytes is damaged: {found}' if found else ''
    if damage and not container.keeps_damaged:
        raise DataError(Reason.DECODE_FAILED, damage)
    image = container.decode()
    channels = image.shape[2] if image.ndim == 3 else 1
    height, width = image.shape[:2]
    frame = CameraFrame(
        stamp_ns=stamp,
        frame_id=msg.header.frame_id,
        data=torch.from_numpy(np.ascontiguousarray(image).reshape(-1).view(np.uint8)),
        encoding=declared.encoding_of(image.dtype.name, channels),
        width=width,
        height=height,
        step=width * channels * image.itemsize,
        is_bigendian=sys.byteorder == 'big',
        reduction=container.reduction,
        damage=damage,
    )
    encoding_of(frame.encoding).check(frame.encoding, width, height, frame.step, frame.nbytes)
    return frame


def _frame_of_planes(
    msg: CompressedImage, declared: Format, stamp: int, planes: Planes, reduction: Reduction | None
) -> CameraFrame:
    return CameraFrame(
        stamp_ns=stamp,
        frame_id=msg.header.frame_id,
        data=torch.from_numpy(planes.data),
        encoding=declared.encoding_of('uint8', 3 if planes.sampling else 1),
        width=planes.width,
        height=planes.height,
        step=planes.step,
        sampling=planes.sampling,
        reduction=reduction,
    )
