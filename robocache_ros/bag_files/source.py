# SPDX-License-Identifier: Apache-2.0
"""The bytes of an open file, read at any place: of one that is cut while it is open as many as there still are."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

#: Bytes that are read at a time where a checksum is of many.
_BLOCK = 1 << 20


class Source:
    """An open file.

    Attributes:
        size: bytes that it had when it was opened; what is behind them is not read.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open('rb')
        self.size = os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, at: int, size: int) -> bytes:
        """Read ``size`` bytes, or as many as there are."""
        self._file.seek(at)
        return self._file.read(max(0, min(size, self.size - at)))

    def checksum(self, at: int, end: int) -> int:
        """Return the CRC-32 of a part."""
        checksum = 0
        for begin in range(at, end, _BLOCK):
            checksum = zlib.crc32(self.read(begin, min(_BLOCK, end - begin)), checksum)
        return checksum

    def end(self) -> int:
        """Return how many of its bytes are still there."""
        return min(self.size, os.fstat(self._file.fileno()).st_size)
