# SPDX-License-Identifier: Apache-2.0
"""A chunk of an MCAP file: where it is, what it says of its records, and how they are unpacked and checked."""

from __future__ import annotations

import struct
from collections.abc import Callable
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


class ChunkHead(NamedTuple):
    """What a chunk says of its records.

    Attributes:
        size: bytes that they take, unpacked.
        checksum: of them; 0: there is none.
        compression: its name; empty: they are as they are.
        nbytes: that are ahead of them in the chunk.
    """

    size: int
    checksum: int
    compression: str
    nbytes: int

    @staticmethod
    def of(content: bytes, chunk: Chunk) -> ChunkHead:
        """Read the head of a chunk from the begin of its content; one that is cut off holds nothing.

        Raises:
            ChunkError: it is said to hold more than is read.
        """
        if len(content) < _HEAD.size:
            return ChunkHead(0, 0, '', len(content))
        _, _, size, checksum, length = _HEAD.unpack_from(content)
        if size > compression.MAX_BYTES:
            raise ChunkError(chunk, f'left out: it is said to hold {size} bytes')
        behind = _HEAD.size + length
        name = content[_HEAD.size : behind].decode(errors='replace')
        return ChunkHead(size, checksum, name, behind + 8)  # behind the length of what is packed

    def unpacked(self, chunk: Chunk, packed: bytes) -> bytes:
        """Return the records that ``packed`` holds, as many as can be unpacked.

        Raises:
            ChunkError: their compression cannot be read.
        """
        try:
            return compression.decompressed(packed, self.compression, self.size + 1)
        except FileError as error:
            raise ChunkError(chunk, f'left out: {error}') from error

    def check(self, chunk: Chunk, size: int, checksum: Callable[[], int]) -> None:
        """Refuse records of a whole chunk whose size or checksum is another.

        Raises:
            ChunkError: they are damaged.
        """
        if size != self.size or (self.checksum and checksum() != self.checksum):
            raise ChunkError(chunk, 'damaged and left out')
