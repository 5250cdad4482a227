# SPDX-License-Identifier: Apache-2.0
"""Decompression that gives as much as there is: of data that is cut short, its start."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from robocache_ros.bag_files.channel import FileError

ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'
_BLOCK = 1 << 20
#: Modules that decompress, by the name that an MCAP gives to the compression, and their class.
_MODULES = {
    'zstd': (('compression.zstd', 'backports.zstd'), 'ZstdDecompressor'),
    'lz4': (('lz4.frame',), 'LZ4FrameDecompressor'),
}


def decompressed(data: bytes, compression: str) -> bytes:
    """Return ``data`` decompressed, and nothing of what follows a place where it is damaged.

    Raises:
        FileError: the compression is unknown, or its module is not installed.
    """
    return data if compression == '' else b''.join(_parts(iter([data]), compression))


def decompress_file(source: BinaryIO, target: BinaryIO) -> None:
    """Write what ``source``, zstd, holds to ``target``.

    Raises:
        FileError: no module for zstd is installed.
    """
    for part in _parts(iter(lambda: source.read(_BLOCK), b''), 'zstd'):
        target.write(part)


def _parts(blocks: Iterator[bytes], compression: str) -> Iterator[bytes]:
    """Decompress ``blocks``, of one or more frames."""
    make = _decompressor(compression)
    frame = make()
    for block in blocks:
        while block:
            try:
                yield frame.decompress(block)
            except Exception:  # each module has its own error for damaged data
                return
            block = b''
            if frame.eof:
                block, frame = frame.unused_data or b'', make()


@functools.cache
def _decompressor(compression: str) -> Any:
    if compression not in _MODULES:
        raise FileError(f'the compression {compression!r} is none of {", ".join(_MODULES)}')
    modules, name = _MODULES[compression]
    for module in modules:
        try:
            return getattr(importlib.import_module(module), name)
        except ImportError:
            continue
    raise FileError(f'it is compressed with {compression}, and none of {", ".join(modules)} is installed')
