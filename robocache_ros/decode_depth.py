# SPDX-License-Identifier: Apache-2.0
"""Decode the images of depth cameras: Image, and CompressedImage as PNG or by the transport ``compressedDepth``.

That transport puts 12 bytes before what it has compressed: a number that drivers fill with anything, which nothing here
reads, and the two floats by which 32FC1 was quantised. Whether PNG or RVL follows is seen by the start of a PNG.
"""

from __future__ import annotations

import functools
import math
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sensor_msgs.msg import CompressedImage, Image

from robocache_core import jpeg, png
from robocache_core.config import DepthConfig
from robocache_core.encodings import DEPTH_ENCODINGS
from robocache_core.ledger import Reason
from robocache_core.ops.depth import check_depth_encoding
from robocache_core.rvl import decode_rvl
from robocache_core.samples import CameraFrame, DataError, EncodedImage
from robocache_core.text import shown
from robocache_ros.decode import stamp_ns
from robocache_ros.decode_image import check_size, view_image
from robocache_ros.message_data import host_bytes
from robocache_ros.pixels import decode_png

#: Bytes before what compressedDepth has compressed: a number, and two floats.
_HEADER = struct.Struct('<iff')
#: Bytes before RVL's data: columns and rows.
_SIZE = struct.Struct('<II')

Counts = npt.NDArray[np.uint16]


def decode_depth(msg: Image, config: DepthConfig) -> CameraFrame:
    """Decode a raw depth image, whose bytes are viewed.

    Raises:
        DataError: as ``stamp_ns``; ``unknown_encoding`` (neither 16UC1 nor 32FC1), ``empty_image``,
            ``bad_image_size``, ``step_too_small``, ``data_too_short``.
    """
    stamp = stamp_ns(msg.header, config)
    check_size(msg.width, msg.height, config)
    check_depth_encoding(msg.encoding)
    return view_image(msg, stamp)


def decode_compressed_depth(msg: CompressedImage, config: DepthConfig) -> EncodedImage:
    """Decode a compressed depth image: its size is checked now, its pixels are decoded when a frame uses them.

    Decoded it is 16UC1, or 32FC1 whose quantisation is undone. Bytes behind the end of the image are ignored.

    Raises:
        DataError: as ``stamp_ns``; ``unknown_encoding`` (of another encoding, or compressed in another way),
            ``decode_failed`` (cut short, or damaged), ``empty_image``, ``bad_image_size``, ``too_costly``. Decoding
            raises ``decode_failed``.
    """
    stamp = stamp_ns(msg.header, config)
    data = np.frombuffer(host_bytes(msg.data), dtype=np.uint8)
    found = open_depth(data, msg.format)
    check_size(found.width, found.height, config)
    decode = functools.partial(_decode, found, stamp, msg.header.frame_id)
    return EncodedImage(stamp, msg.header.frame_id, data.size, decode, encoding=found.encoding)


@dataclass(frozen=True)
class CompressedDepth:
    """A compressed depth image whose pixels are not decoded yet.

    Attributes:
        encoding: of the image that was compressed, 16UC1 or 32FC1.
        codec: PNG or RVL.
        width, height: of the image, px.
        counts: decodes its values ``[height, width]``: distances of 16UC1, quantised inverse ones of 32FC1.
        quantum: of 32FC1: a value v that is not 0 means ``quantum[0] / (v - quantum[1])`` metres.
    """

    encoding: str
    codec: str
    width: int
    height: int
    counts: Callable[[], Counts]
    quantum: tuple[float, float]


def open_depth(data: npt.NDArray[np.uint8], text: str) -> CompressedDepth:
    """Find out what a compressed depth image ``[nbytes]`` of the format ``text`` is.

    Raises:
        DataError: as ``decode_compressed_depth``, but for its size.
    """
    encoding = _encoding(text)
    has_header = _start(data) != png.START
    body = data[_HEADER.size :] if has_header else data
    quantum = _quantum(data, text, has_header) if encoding == '32FC1' else (0.0, 0.0)
    if _start(body) == png.START:
        found = png.read_png(body)
        if found.depth != 16 or found.num_channels != 1:
            raise DataError(
                Reason.UNKNOWN_ENCODING,
                f'format {shown(text)} with a PNG of {found.num_channels} channels of {found.depth} bits: depth has '
                'one of 16',
            )
        return CompressedDepth(
            encoding, 'PNG', found.width, found.height, functools.partial(_png, body, found), quantum
        )
    _check_rvl(data, body, text)
    width, height = _SIZE.unpack_from(body.data)
    counts = functools.partial(decode_rvl, body[_SIZE.size :], width, height)
    return CompressedDepth(encoding, 'RVL', width, height, counts, quantum)


def _start(data: npt.NDArray[np.uint8]) -> bytes:
    return data[:8].tobytes()


def _encoding(text: str) -> str:
    """The encoding that a format names before its ``;``; 16UC1 where it names none."""
    before, separator, _ = text[:200].partition(';')
    names = {encoding.lower(): encoding for encoding in DEPTH_ENCODINGS}
    name = before.strip().lower()
    if separator and name not in names:
        raise DataError(
            Reason.UNKNOWN_ENCODING, f'format {shown(text)}: of depth it must be of {" or ".join(DEPTH_ENCODINGS)}'
        )
    return names.get(name, '16UC1')


def _quantum(data: npt.NDArray[np.uint8], text: str, has_header: bool) -> tuple[float, float]:
    """The two floats by which 32FC1 was quantised."""
    if not has_header or data.size < _HEADER.size:
        raise DataError(Reason.DECODE_FAILED, f'format {shown(text)}: its quantisation is missing')
    _, a, b = _HEADER.unpack_from(data.data)
    if not (math.isfinite(a) and math.isfinite(b) and a > 0):
        raise DataError(
            Reason.DECODE_FAILED, f'format {shown(text)}: depthQuantA = {a:g}, depthQuantB = {b:g} are no quantisation'
        )
    return a, b


def _check_rvl(data: npt.NDArray[np.uint8], body: npt.NDArray[np.uint8], text: str) -> None:
    """Refuse what, as it is no PNG, is no RVL either."""
    lowered = text[:200].lower()
    if _start(data).startswith(jpeg.START) or _start(body).startswith(jpeg.START):
        raise DataError(
            Reason.UNKNOWN_ENCODING,
            f'format {shown(text)}: a JPEG, of 8 bits, holds no distances: record the topic of compressedDepth',
        )
    if 'compresseddepth' not in lowered:
        raise DataError(
            Reason.UNKNOWN_ENCODING, f'format {shown(text)}: {data.size} bytes that are neither compressedDepth nor PNG'
        )
    if 'png' in lowered or body.size < _SIZE.size:
        raise DataError(
            Reason.DECODE_FAILED, f'format {shown(text)}: {data.size} bytes that start as neither PNG nor RVL'
        )


def _png(body: npt.NDArray[np.uint8], found: png.Png) -> Counts:
    counts: npt.NDArray[Any] = decode_png(body)
    if counts.dtype != np.uint16 or counts.shape != (found.height, found.width):
        raise DataError(Reason.DECODE_FAILED, f'the PNG has pixels {counts.shape} {counts.dtype}, not those it says')
    return counts


def _decode(found: CompressedDepth, stamp: int, frame_id: str) -> CameraFrame:
    pixels: npt.NDArray[Any] = found.counts()
    if found.encoding == '32FC1':
        a, b = map(np.float32, found.quantum)
        with np.errstate(all='ignore'):
            pixels = np.where(pixels == 0, np.float32(0), a / (pixels.astype(np.float32) - b))
    pixels = np.ascontiguousarray(pixels)
    return CameraFrame(
        stamp_ns=stamp,
        frame_id=frame_id,
        data=torch.from_numpy(pixels.reshape(-1).view(np.uint8)),
        encoding=found.encoding,
        width=found.width,
        height=found.height,
        step=found.width * pixels.itemsize,
        is_bigendian=sys.byteorder == 'big',
    )
