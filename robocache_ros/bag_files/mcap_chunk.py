# SPDX-License-Identifier: Apache-2.0
"""A chunk of an MCAP file: where it is, and the records that it holds."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from robocache_ros.bag_files import compression
from robocache_ros.bag_files.channel import FileError
from robocache_ros.bag_files.source import Source

#: Kind of a record and length of its content; channel, number and times of a message, ahead of what was sent.
RECORD_HEAD, MESSAGE_HEAD = struct.Struct('<BQ'), struct.Struct('<HIQQ')
_HEADS = RECORD_HEAD.size + MESSAGE_HEAD.size
#: First and last record time, size and checksum of the unpacked records, and the length of the compression's name.
_CHUNK_HEAD = struct.Struct('<QQQII')
#: Bytes that are looked at for a chunk's head and the name behind it: more than they take with any known compression.
_MAX_CHUNK_HEAD = 256
#: Bytes of records that are read at a time. Short messages then take few reads, and little is read twice of long ones,
#: which are read by themselves.
_BLOCK = 1 << 18


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


def records_of(chunk: Chunk, file: Source) -> Iterator[tuple[int, memoryview, int, int]]:
    """Yield the records of a chunk, of one that the file cuts those that are whole.

    Of each: its kind, its content as far as a block holds it, the place of the content in the file, and its length. A
    block holds the head of a message at least. The rest of a long one is read at its place by those who want it.

    Raises:
        ChunkError: it is all there, and damaged here; or its compression cannot be read.
    """
    block, begin, end = _opened(chunk, file)
    at, last = begin, end if block else begin - 1
    while (place := at + RECORD_HEAD.size) <= end:
        if at > last:
            block, begin = memoryview(file.read(at, min(_BLOCK, end - at))), at
            until = at + len(block)
            last = end if until == end else until - _HEADS
            if at > last:
                break
        opcode, length = RECORD_HEAD.unpack_from(block, at - begin)
        at = place + length
        if at > end:
            break
        yield opcode, block[place - begin : at - begin], place, length
    if at != end and _is_whole(chunk, file):
        raise ChunkError(chunk, 'left out from a record on that is longer than the chunk')


def _opened(chunk: Chunk, file: Source) -> tuple[memoryview, int, int]:
    """Return a first block of the records of a chunk, and where they begin and end: in the file, or in the block.

    The block is all of them where they are packed or have a checksum: what is given is then what was checked. Else it
    is empty.

    Raises:
        ChunkError: as of ``records_of``.
    """
    size, expected, method, num_ahead = _head(chunk, file)
    begin = chunk.offset + num_ahead
    end = max(begin, min(chunk.offset + chunk.size, file.end()))
    block = b''
    if method or expected:
        block = _unpacked(chunk, file.read(begin, end - begin), method, size)
        begin, end = 0, len(block)
    checksum = expected and zlib.crc32(block)
    if (end - begin, checksum) != (size, expected) and _is_whole(chunk, file):
        raise ChunkError(chunk, 'damaged and left out')
    return memoryview(block), begin, end


def _head(chunk: Chunk, file: Source) -> tuple[int, int, str, int]:
    """Return what a chunk says of its records, and how many bytes are ahead of them in it.

    That is their size when they are unpacked, their checksum, 0 for none, and the name of their compression, or none.
    One whose head is cut off holds nothing.

    Raises:
        ChunkError: it is said to hold more than is read.
    """
    content = file.read(chunk.offset, min(chunk.size, _MAX_CHUNK_HEAD))
    if len(content) < _CHUNK_HEAD.size:
        return 0, 0, '', len(content)
    _, _, size, checksum, length = _CHUNK_HEAD.unpack_from(content)
    if size > compression.MAX_BYTES:
        raise ChunkError(chunk, f'left out: it is said to hold {size} bytes')
    behind = _CHUNK_HEAD.size + length
    method = content[_CHUNK_HEAD.size : behind].decode(errors='replace')
    return size, checksum, method, behind + 8  # behind the length of what is packed


def _unpacked(chunk: Chunk, packed: bytes, method: str, size: int) -> bytes:
    """Return the records that are packed, as many as can be unpacked.

    Raises:
        ChunkError: their compression cannot be read.
    """
    if method == '':
        return packed
    try:
        return compression.decompressed(packed, method, size + 1)
    except FileError as error:
        raise ChunkError(chunk, f'left out: {error}') from error


def _is_whole(chunk: Chunk, file: Source) -> bool:
    return chunk.offset + chunk.size <= file.end()
