# SPDX-License-Identifier: Apache-2.0
"""The fields of the records of an MCAP (mcap.dev/spec)."""

from __future__ import annotations

import struct


class Fields:
    """Reads the fields of a record one after the other.

    Raises:
        struct.error: the record has no more of them.
    """

    def __init__(self, content: memoryview | bytes) -> None:
        self._content, self._at = memoryview(content), 0

    def take(self, form: str) -> tuple[int, ...]:
        values = struct.unpack_from('<' + form, self._content, self._at)
        self._at += struct.calcsize('<' + form)
        return values

    def block(self, size: int) -> memoryview:
        """The next ``size`` bytes; struct.error where there are fewer."""
        block = self._content[self._at : self._at + size]
        if len(block) < size:
            raise struct.error(f'{size} bytes are said to follow, and {len(block)} do')
        self._at += size
        return block

    def text(self) -> str:
        return bytes(self.block(*self.take('I'))).decode(errors='replace')

    def counts(self) -> dict[int, int]:
        """A map of uint16 to uint64."""
        return dict(struct.iter_unpack('<HQ', self.block(*self.take('I'))))

    def texts(self) -> dict[str, str]:
        """A map of text to text."""
        inner = Fields(self.block(*self.take('I')))
        found = {}
        while inner:
            key = inner.text()
            found[key] = inner.text()
        return found

    def __bool__(self) -> bool:
        return self._at < len(self._content)
