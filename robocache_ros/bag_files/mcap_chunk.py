# SPDX-License-Identifier: Apache-2.0
"""A chunk of an MCAP file: where it is, and the records that it holds, unpacked and checked."""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from robocache_ros.bag_files import compression
from robocache_ros.bag_files.channel import FileError

#: First and last record time, size and checksum of the unpacked records, and the length of the compression's name.
_HEAD = struct.Struct('<QQQII')


class Chunk(NamedTuple):
    """A chunk: the first of its record times, where its content is in the file, and its channels, empty if unknown."""

    start_ns: int
    offset: int
    size: int
    keys: frozenset[int] = frozenset()


class ChunkError(FileError):
    """A chunk that cannot be read, or not to its end."""

    def __init__(self, chunk: Chunk, why: str) -> None:
        super().__init__(f'the chunk of {chunk.size} bytes at byte {chunk.offset} is {why}')


def unpacked(content: bytes, chunk: Chunk, is_whole: bool) -> bytes | memoryview:
    """Return the records of a chunk: of one that is not whole, as many as there are.

    Raises:
        ChunkError: the chunk is whole, and damaged; or its compression cannot be read.
    """
    if len(content) < _HEAD.size:
        return b''
    _, _, size, checksum, length = _HEAD.unpack_from(content)
    behind = _HEAD.size + length
    method = content[_HEAD.size : behind].decode(errors='replace')
    packed = memoryview(content)[behind + 8 :]  # behind their length
    if size > compression.MAX_BYTES:
        raise ChunkError(chunk, f'left out: it is said to hold {size} bytes')
    try:
        data = packed if method == '' else compression.decompressed(packed, method, size + 1)
    except FileError as error:
        raise ChunkError(chunk, f'left out: {error}') from error
    if is_whole and (len(data) != size or (checksum and zlib.crc32(data) != checksum)):
        raise ChunkError(chunk, 'damaged and left out')
    return data
