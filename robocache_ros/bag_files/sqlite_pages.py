# SPDX-License-Identifier: Apache-2.0
"""The rows of a bag's messages from the pages of an SQLite database that is cut, without the tree that joins them."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

_LEAF_OF_TABLE = 0x0D
_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 8: 0, 9: 0}
_FIRST_BLOB = 12


class Row(NamedTuple):
    """A row of the table ``messages``: its rowid, what it holds, and where its data begins and ends in the payload."""

    key: int
    topic_id: int
    record_ns: int
    payload_at: int
    payload_size: int
    data_at: int


class Pages:
    """The pages of the database at ``path``, as many as there are (sqlite.org/fileformat2.html)."""

    def __init__(self, path: Path) -> None:
        with path.open('rb') as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        (size,) = struct.unpack_from('>H', self._bytes, 16)
        self._page_size = 65536 if size == 1 else max(size, 512)
        self._usable = self._page_size - self._bytes[20]
        (num_pages,) = struct.unpack_from('>I', self._bytes, 28)
        self.num_bytes, self.num_expected = len(self._bytes), num_pages * self._page_size
        #: Bytes that further rows may claim: together all have no more than the file, unless they are damaged.
        self._unclaimed = 2 * self.num_bytes

    @property
    def is_cut(self) -> bool:
        """Whether the file is shorter than its header says."""
        return bool(self.num_bytes < self.num_expected)

    def close(self) -> None:
        """Close the file."""
        self._bytes.close()

    @cached_property
    def rows(self) -> list[Row]:
        """The rows that are whole, in the order of the pages."""
        return [row for page in range(self.num_bytes // self._page_size) for row in self._rows_of(page)]

    def data(self, row: Row) -> bytes:
        """Return the message of a row."""
        return b''.join(self._payload(row.payload_at, row.payload_size))[row.data_at :]

    def _rows_of(self, page: int) -> Iterator[Row]:
        head = page * self._page_size + (100 if page == 0 else 0)
        if self._bytes[head] != _LEAF_OF_TABLE:
            return
        (num_cells,) = struct.unpack_from('>H', self._bytes, head + 3)
        for cell in range(min(num_cells, self._page_size // 4)):
            try:
                (offset,) = struct.unpack_from('>H', self._bytes, head + 8 + 2 * cell)
                row = self._row(page * self._page_size + offset)
            except (struct.error, IndexError):  # no page of a table, though it begins like one
                return
            if row is not None:
                yield row

    def _row(self, at: int) -> Row | None:
        """Read the cell at ``at``; None where it is no whole row of ``messages``."""
        size, at = self._varint(at)
        key, at = self._varint(at)
        header_size, cursor = self._varint(at)
        kinds: list[int] = []
        while cursor < at + header_size and len(kinds) < 5:
            kind, cursor = self._varint(cursor)
            kinds.append(kind)
        if len(kinds) != 4 or kinds[0] != 0 or kinds[3] < _FIRST_BLOB or kinds[3] % 2:
            return None
        if kinds[1] not in _INTEGER_BYTES or kinds[2] not in _INTEGER_BYTES:
            return None
        topic_id, cursor = self._integer(kinds[1], at + header_size)
        record_ns, cursor = self._integer(kinds[2], cursor)
        data_at = cursor - at
        if data_at + (kinds[3] - _FIRST_BLOB) // 2 != size or size > self._unclaimed:
            return None
        self._unclaimed -= size
        is_whole = sum(map(len, self._payload(at, size))) == size
        return Row(key, topic_id, record_ns, at, size, data_at) if is_whole else None

    def _payload(self, at: int, size: int) -> Iterator[bytes]:
        """Yield the parts of a payload: that in its cell, and those on overflow pages up to one that is missing."""
        local = self._local_size(size)
        yield self._bytes[at : at + local]
        left, link = size - local, at + local
        while left > 0:
            if link + 4 > self.num_bytes:
                return
            (page,) = struct.unpack_from('>I', self._bytes, link)
            link = (page - 1) * self._page_size
            if page == 0 or link + self._usable > self.num_bytes:
                return
            part = min(left, self._usable - 4)
            yield self._bytes[link + 4 : link + 4 + part]
            left -= part

    def _local_size(self, size: int) -> int:
        """Bytes of a payload that are in its cell."""
        if size <= self._usable - 35:
            return size
        least = (self._usable - 12) * 32 // 255 - 23
        fitting = least + (size - least) % (self._usable - 4)
        return fitting if fitting <= self._usable - 35 else least

    def _varint(self, at: int) -> tuple[int, int]:
        """Return an integer of SQLite's variable length, and where the next byte is."""
        value = 0
        for i in range(8):
            byte = self._bytes[at + i]
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value, at + i + 1
        return value << 8 | self._bytes[at + 8], at + 9

    def _integer(self, kind: int, at: int) -> tuple[int, int]:
        if kind >= 8:
            return kind - 8, at
        end = at + _INTEGER_BYTES[kind]
        return int.from_bytes(self._bytes[at:end], 'big', signed=True), end
