# SPDX-License-Identifier: Apache-2.0
"""Small compressed images that cost a decoder much memory or time."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np

PNG_START = b'\x89PNG\r\n\x1a\n'


def chunk(kind: bytes, content: bytes = b'') -> bytes:
    """A chunk of a PNG."""
    return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))


def png(width: int, height: int, *, colour: int = 0, depth: int = 8, before: bytes = b'') -> bytes:
    """A PNG whose pixels are black, and end early where it is large; ``before``: chunks before the pixels."""
    channels = {0: 1, 2: 3, 6: 4}[colour]
    rows = bytes(min(1 << 20, height * (1 + width * channels * depth // 8)))
    head = chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, depth, colour, 0, 0, 0))
    return PNG_START + head + before + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND')


def jpeg(width: int = 32, height: int = 24, *, progressive: bool = False) -> bytes:
    """A JPEG of a small picture, whose header claims another size."""
    y, x = np.mgrid[0:24, 0:32]
    picture = np.stack([(x * (3 + i) + y * (5 - i)) % 256 // 2 + 40 * i for i in range(3)], axis=-1).astype(np.uint8)
    data = cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)])[1].tobytes()
    at = data.index(b'\xff\xc2' if progressive else b'\xff\xc0') + 5
    return data[:at] + struct.pack('>HH', height, width) + data[at + 4 :]


def scans(num: int) -> bytes:
    """A progressive JPEG of ``num`` scans more than it needs."""
    data = jpeg(4000, 4000, progressive=True)
    last = data.rindex(b'\xff\xda')
    return data[:last] + data[last:-2] * (num + 1) + data[-2:]


#: By what makes it costly: the reason for which it is refused, and its bytes.
BOMBS = {
    'a PNG of 30000 x 30000': ('bad_image_size', png(30_000, 30_000)),
    'a PNG of 18000 x 18000 RGB': ('bad_image_size', png(18_000, 18_000, colour=2)),
    'a PNG of 2^31 - 1 pixels in a row': ('bad_image_size', png((1 << 31) - 1, 1)),
    'a PNG of no pixels': ('empty_image', png(0, 10)),
    'an animated PNG': ('unknown_encoding', png(8000, 8000, before=chunk(b'acTL', struct.pack('>II', 1000, 0)))),
    'a PNG with 20 MB of text': ('too_costly', png(8, 8, before=chunk(b'tEXt', b'a\0' + bytes(20_000_000)))),
    'a PNG with inflating text': (
        'too_costly',
        png(8, 8, before=chunk(b'zTXt', b'a\0\0' + zlib.compress(bytes(100_000_000)))),
    ),
    'a PNG of 100,000 chunks': ('too_costly', png(8, 8, before=chunk(b'IDAT') * 100_000)),
    'a JPEG of 30000 x 30000': ('bad_image_size', jpeg(30_000, 30_000)),
    'a progressive JPEG of 30000 x 30000': ('bad_image_size', jpeg(30_000, 30_000, progressive=True)),
    'a JPEG of 8000 x 8000 that ends at once': ('decode_failed', jpeg(8000, 8000)),
    'a JPEG of 2,000 scans': ('too_costly', scans(2000)),
    'a JPEG of 20 MB of comments': (
        'too_costly',
        jpeg()[:2] + (b'\xff\xfe\x00\x03a' * 4_000_000) + jpeg()[2:],
    ),
}
