# SPDX-License-Identifier: Apache-2.0
"""Decompression that gives as much as there is: of data that is cut short, its start."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from robocache_core.text import shown
from robocache_ros.bag_files.channel import FileError

ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'
#: Bytes at most of what is decompressed in memory: a chunk, or a message that was compressed by itself.
MAX_BYTES = 1 << 30
_BLOCK = 1 << 20
#: Modules that decompress, by the name that an MCAP gives to the compression, and their class.
_MODULES = {
    'zstd': (('compression.zstd', 'backports.zstd'), 'ZstdDecompressor'),
    'lz4': (('lz4.frame',), 'LZ4FrameDecompressor'),
}


def decompressed(data: bytes | memoryview, compression: str, limit: int) -> bytes:
    """Return ``data`` decompressed, and nothing of what follows a place where it is damaged.

    What becomes more than ``limit`` bytes is cut there or behind it: it takes twice as many at most.

    Raises:
        FileError: the compression is unknown, or its module is not installed.
    """
    size, parts = 0, []
    for part in _parts(iter([data]), compression, limit):
        parts.append(part)
        size += len(part)
        if size >= limit:
            break
    return b''.join(parts)


def decompress_file(source: BinaryIO, target: BinaryIO) -> None:
    """Write what ``source``, zstd, holds to ``target``.

    Raises:
        FileError: no module for zstd is installed.
    """
    for part in _parts(iter(lambda: source.read(_BLOCK), b''), 'zstd', _BLOCK):
        target.write(part)


def _parts(blocks: Iterator[bytes | memoryview], compression: str, most: int) -> Iterator[bytes]:
    """Decompress ``blocks``, of one or more frames, into parts of ``most`` bytes at most."""
    make = _decompressor(compression)
    frame = make()
    for block in blocks:
        has_more = True
        while has_more:
            try:
                part = frame.decompress(block, most)
            except Exception:  # each module has its own error for damaged data
                return
            yield part
            if frame.eof:
                block, frame = frame.unused_data or b'', make()
                has_more = bool(block)
            else:
                block, has_more = b'', bool(part) and not frame.needs_input


@functools.cache
def _decompressor(compression: str) -> Any:
    if compression not in _MODULES:
        raise FileError(f'the compression {shown(compression)} is none of {", ".join(_MODULES)}')
    modules, name = _MODULES[compression]
    for module in modules:
        try:
            return getattr(importlib.import_module(module), name)
        except ImportError:
            continue
    raise FileError(f'it is compressed with {compression}, and none of {", ".join(modules)} is installed')
