# SPDX-License-Identifier: Apache-2.0
"""What a PNG says of itself, read without decoding it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robocache_core.ledger import Reason
from robocache_core.samples import DataError

START = b'\x89PNG\r\n\x1a\n'

#: Most chunks, and most bytes of all that are not pixels: each may be text that inflates to many times its size.
MAX_CHUNKS, MAX_ANCILLARY = 1 << 16, 1 << 16

_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}


@dataclass(frozen=True)
class Png:
    """An image whose chunks are whole: its size, px, channels and bits of a channel."""

    width: int
    height: int
    num_channels: int
    depth: int


def read_png(data: npt.NDArray[np.uint8]) -> Png:
    """Read the chunks of a PNG ``[nbytes] uint8``, whatever follows its end.

    Raises:
        DataError: ``decode_failed`` (cut short, or damaged), ``too_costly``, ``unknown_encoding`` (an animation).
    """
    view = data.data
    header = bytes(view[16:29])
    at, ancillary = len(START), 0
    for number in range(MAX_CHUNKS):
        if at + 12 > data.size:
            raise _cut_short(data)
        size, kind = int.from_bytes(view[at : at + 4], 'big'), bytes(view[at + 4 : at + 8])
        end = at + 12 + size
        if end > data.size:
            raise _cut_short(data)
        if (number == 0) != (kind == b'IHDR'):
            raise DataError(Reason.DECODE_FAILED, f'the PNG cannot be decoded: chunk {number} is {kind!r}')
        if number == 0 and (size != 13 or header[9] not in _CHANNELS):
            raise DataError(
                Reason.DECODE_FAILED,
                f'the PNG cannot be decoded: its header of {size} bytes ({header[:size].hex()}) is malformed',
            )
        if kind == b'acTL':
            raise DataError(Reason.UNKNOWN_ENCODING, 'an animated PNG is not supported')
        ancillary += size + 12 if kind[0] & 0x20 else 0
        if ancillary > MAX_ANCILLARY:
            raise DataError(
                Reason.TOO_COSTLY, f'a PNG of more than {MAX_ANCILLARY} bytes that are no pixels: cameras make none'
            )
        if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], 'big'):
            raise DataError(Reason.DECODE_FAILED, f'the PNG cannot be decoded: chunk {number}, {kind!r}, is damaged')
        if kind == b'IEND':
            width, height = int.from_bytes(header[:4], 'big'), int.from_bytes(header[4:8], 'big')
            return Png(width, height, _CHANNELS[header[9]], header[8])
        at = end
    raise DataError(Reason.TOO_COSTLY, f'a PNG of more than {MAX_CHUNKS} chunks: cameras make none')


def _cut_short(data: npt.NDArray[np.uint8]) -> DataError:
    return DataError(Reason.DECODE_FAILED, f'the PNG of {data.size} bytes is cut short: its end is missing')
