# SPDX-License-Identifier: Apache-2.0
"""An MCAP file: read by its index, or, where it has none, by a scan to its end or to where it is cut."""

from __future__ import annotations

import heapq
import logging
import struct
import zlib
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from robocache_ros.bag_files.channel import Channel, FileError
from robocache_ros.bag_files.compression import decompressed

MAGIC = b'\x89MCAP0\r\n'
_FOOTER = struct.Struct('<BQQQI8s')
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _CHUNK_INDEX, _STATISTICS, _DATA_END = 0x03, 0x04, 0x05, 0x06, 0x08, 0x0B, 0x0F
_RECORD_HEAD, _MESSAGE_HEAD, _CHUNK_HEAD = struct.Struct('<BQ'), struct.Struct('<HIQQ'), struct.Struct('<QQQI')
_logger = logging.getLogger(__name__)

Message = tuple[int, int, bytes]
#: A record time, a place in the file, and the message, None at the beginning of a chunk.
_Timed = tuple[int, int, Message | None]


class _Fields:
    """Reads the fields of a record one after the other."""

    def __init__(self, content: memoryview | bytes) -> None:
        self._content, self._at = memoryview(content), 0

    def take(self, form: str) -> tuple[int, ...]:
        values = struct.unpack_from('<' + form, self._content, self._at)
        self._at += struct.calcsize('<' + form)
        return values

    def block(self, size: int) -> memoryview:
        block = self._content[self._at : self._at + size]
        self._at += size
        return block

    def text(self) -> str:
        return bytes(self.block(*self.take('I'))).decode(errors='replace')

    def counts(self) -> dict[int, int]:
        """A map of uint16 to uint64."""
        return dict(struct.iter_unpack('<HQ', self.block(*self.take('I'))))

    def texts(self) -> dict[str, str]:
        """A map of text to text."""
        inner = _Fields(self.block(*self.take('I')))
        found = {}
        while inner:
            key = inner.text()
            found[key] = inner.text()
        return found

    def __bool__(self) -> bool:
        return self._at < len(self._content)


class _Chunk(NamedTuple):
    """A chunk: the first of its record times, where its content is in the file, and its channels, empty if unknown."""

    start_ns: int
    offset: int
    size: int
    keys: frozenset[int] = frozenset()


class _Loose(NamedTuple):
    """A message that is in no chunk."""

    record_ns: int
    offset: int
    size: int
    key: int


@dataclass(frozen=True)
class _Topic:
    topic: str
    schema: int
    serialization: str
    digest: str
    qos: str


class McapFile:
    """An open MCAP file (see ``BagFile``): one that begins with ``MAGIC``."""

    def __init__(self, path: Path) -> None:
        self._path, self._size = path, path.stat().st_size
        self._file = path.open('rb')
        self.start_ns = self.end_ns = 0
        self.defects: list[str] = []
        #: Names of the types; a channel of schema 0 has none.
        self._schemas: dict[int, str] = {0: ''}
        self._topics: dict[int, _Topic] = {}
        self._counts: Counter[int] = Counter()
        self._chunks: list[_Chunk] = []
        self._loose: list[_Loose] = []
        try:
            if not self._is_indexed():
                self._scan()
        except BaseException:
            self.close()
            raise
        self.channels = [
            Channel(key, t.topic, self._schemas.get(t.schema, ''), t.serialization, t.digest, t.qos, self._counts[key])
            for key, t in self._topics.items()
        ]

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def messages(self, keys: Collection[int]) -> Iterator[Message]:
        """Yield ``(channel, record_ns, raw)`` of the channels ``keys``, in record order, then as they were written.

        A chunk is opened when its time has come. One that is damaged is left out, and the log names it.
        """
        wanted = frozenset(keys)
        chunks = (chunk for chunk in self._chunks if not chunk.keys or chunk.keys & wanted)
        runs = [self._of_chunk(chunk, wanted) for chunk in chunks]
        for _, _, message in heapq.merge(*runs, self._of_no_chunk(wanted), key=_time_and_place):
            if message is not None:
                yield message

    def _of_chunk(self, chunk: _Chunk, wanted: frozenset[int]) -> Iterator[_Timed]:
        """Yield where the chunk begins, so that it is not read before its time, then its messages in order."""
        yield chunk.start_ns, chunk.offset, None
        try:
            found = [message for message in _messages(self._content(chunk), chunk) if message[0] in wanted]
        except FileError as error:
            _logger.warning('%s: %s', self._path, error)
            return
        for message in sorted(found, key=lambda message: message[1]):
            yield message[1], chunk.offset, message

    def _of_no_chunk(self, wanted: frozenset[int]) -> Iterator[_Timed]:
        for loose in sorted(self._loose):
            if loose.key in wanted:
                yield loose.record_ns, loose.offset, _message(memoryview(self._content(loose)))

    def _content(self, part: _Chunk | _Loose) -> bytes:
        self._file.seek(part.offset)
        return self._file.read(min(part.size, self._size - part.offset))

    def _is_indexed(self) -> bool:
        """Read the index; False where there is none, it is damaged, or it does not cover the file."""
        with suppress(struct.error):
            if self._read_summary():
                return True
        self._chunks.clear()
        self._counts.clear()
        return False

    def _read_summary(self) -> bool:
        if self._size < len(MAGIC) + _FOOTER.size:
            return False
        self._file.seek(-_FOOTER.size, 2)
        opcode, length, start, _, _, magic = _FOOTER.unpack(self._file.read())
        if (opcode, length, magic) != (0x02, 20, MAGIC) or not 0 < start < self._size:
            return False
        self._file.seek(start)
        summary = self._file.read(self._size - start - _FOOTER.size)
        statistics: tuple[int, ...] = ()
        for kind, record in _records(summary):
            fields = _Fields(record)
            if kind == _CHUNK_INDEX:
                first_ns, _, offset, size = fields.take('QQQQ')
                keys = frozenset(fields.counts())
                self._chunks.append(_Chunk(first_ns, offset + _RECORD_HEAD.size, size - _RECORD_HEAD.size, keys))
            elif kind == _STATISTICS:
                statistics = fields.take('QHIIIIQQ')
                self._counts.update(fields.counts())
            else:
                self._describe(kind, record)
        described = all(key in self._topics and self._topics[key].schema in self._schemas for key in self._counts)
        fits = all(chunk.offset + chunk.size <= start for chunk in self._chunks)
        if not (statistics and self._chunks and statistics[5] == len(self._chunks) and described and fits):
            return False
        self.start_ns, self.end_ns = statistics[6:]
        return True

    def _scan(self) -> None:
        """Find every chunk and message from the beginning on, up to the end or to where the file is cut."""
        at, is_complete = len(MAGIC), False
        while not is_complete and at + _RECORD_HEAD.size <= self._size:
            self._file.seek(at)
            opcode, length = _RECORD_HEAD.unpack(self._file.read(_RECORD_HEAD.size))
            at += _RECORD_HEAD.size
            if opcode == 0 or (at + length > self._size and opcode != _CHUNK):
                at -= _RECORD_HEAD.size
                break
            is_complete = opcode == _DATA_END
            if opcode == _CHUNK:
                self._scan_chunk(_Chunk(0, at, length))
            elif opcode == _MESSAGE and length >= _MESSAGE_HEAD.size:
                key, _, record_ns, _ = _MESSAGE_HEAD.unpack(self._file.read(_MESSAGE_HEAD.size))
                self._loose.append(_Loose(record_ns, at, length, key))
                self._count(key, record_ns)
            elif opcode in (_SCHEMA, _CHANNEL):
                self._describe(opcode, memoryview(self._file.read(length)))
            at += length
        self._file.seek(max(0, self._size - len(MAGIC)))
        if not is_complete or self._file.read() != MAGIC:
            place = f'byte {min(at, self._size)} of {self._size}'
            self.defects.append(
                f'{self._path.name} is cut off or damaged at {place}; {self._counts.total()} messages are read'
            )

    def _scan_chunk(self, chunk: _Chunk) -> None:
        """Take in the channels of a chunk, and count its messages."""
        times, keys = [], set()
        try:
            for opcode, record in _records(_unpacked(self._content(chunk), chunk)):
                if opcode == _MESSAGE and len(record) >= _MESSAGE_HEAD.size:
                    key, _, record_ns, _ = _MESSAGE_HEAD.unpack_from(record)
                    self._count(key, record_ns)
                    times.append(record_ns)
                    keys.add(key)
                else:
                    self._describe(opcode, record)
        except FileError as error:
            self.defects.append(f'{self._path.name}: {error}')
        if times:
            self._chunks.append(chunk._replace(start_ns=min(times), keys=frozenset(keys)))

    def _count(self, key: int, record_ns: int) -> None:
        self.start_ns = min(self.start_ns, record_ns) if self._counts else record_ns
        self.end_ns = max(self.end_ns, record_ns)
        self._counts[key] += 1

    def _describe(self, opcode: int, record: memoryview | bytes) -> None:
        """Take in a record that says what a channel carries. The definition of its type is not looked at."""
        fields = _Fields(record)
        with suppress(struct.error):  # a damaged one costs its channel
            if opcode == _SCHEMA:
                (key,) = fields.take('H')
                self._schemas[key] = fields.text()
            elif opcode == _CHANNEL:
                key, schema = fields.take('HH')
                topic, serialization, more = fields.text(), fields.text(), fields.texts()
                digest, qos = more.get('topic_type_hash', ''), more.get('offered_qos_profiles', '')
                self._topics[key] = _Topic(topic, schema, serialization, digest, qos)


def _time_and_place(entry: _Timed) -> tuple[int, int]:
    return entry[:2]


def _message(record: memoryview) -> Message:
    key, _, record_ns, _ = _MESSAGE_HEAD.unpack_from(record)
    return key, record_ns, bytes(record[_MESSAGE_HEAD.size :])


def _records(data: bytes) -> Iterator[tuple[int, memoryview]]:
    """Yield opcode and content of each record that is whole."""
    view, at = memoryview(data), 0
    while at + _RECORD_HEAD.size <= len(view):
        opcode, length = _RECORD_HEAD.unpack_from(view, at)
        at += _RECORD_HEAD.size
        if at + length > len(view):
            return
        yield opcode, view[at : at + length]
        at += length


def _messages(content: bytes, chunk: _Chunk) -> Iterator[Message]:
    for opcode, record in _records(_unpacked(content, chunk)):
        if opcode == _MESSAGE and len(record) >= _MESSAGE_HEAD.size:
            yield _message(record)


def _unpacked(content: bytes, chunk: _Chunk) -> bytes:
    """Return the records of a chunk: of one that the end of the file cuts, as many as there are.

    Raises:
        FileError: the chunk is all there, and damaged; or its compression is unknown.
    """
    if len(content) < _CHUNK_HEAD.size + 4:
        return b''
    fields = _Fields(content)
    _, _, size, checksum = fields.take('QQQI')
    compression = fields.text()
    packed = bytes(fields.block(len(content))[8:])  # behind their length
    data = decompressed(packed, compression)
    if len(content) == chunk.size and (len(data) != size or (checksum and zlib.crc32(data) != checksum)):
        raise FileError(f'the chunk of {chunk.size} bytes at byte {chunk.offset} is damaged and left out')
    return data
