# SPDX-License-Identifier: Apache-2.0
"""An MCAP file: read by its index, or, where it has none, by a scan to its end or to where it is cut."""

from __future__ import annotations

import heapq
import logging
import struct
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from robocache_ros.bag_files import compression
from robocache_ros.bag_files.channel import Channel, FileError
from robocache_ros.bag_files.mcap_chunk import MESSAGE_HEAD, RECORD_HEAD, Chunk, ChunkError, records_of
from robocache_ros.bag_files.mcap_fields import Fields
from robocache_ros.bag_files.source import Source

MAGIC = b'\x89MCAP0\r\n'
#: Bytes of a footer that its checksum is of.
_BEFORE_CHECKSUM = 25
_FOOTER = struct.Struct('<BQQQI8s')
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _CHUNK_INDEX, _STATISTICS, _DATA_END = 0x03, 0x04, 0x05, 0x06, 0x08, 0x0B, 0x0F
_MESSAGE_INDEX = 0x07
#: Kinds of records before the summary: header, those above, attachment and metadata.
_IN_DATA = {0x01, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _MESSAGE_INDEX, 0x09, 0x0C}
#: Bytes that are read at most of a record that is no message and no chunk: what is of interest comes first in it.
_DESCRIPTION = 1 << 20
#: Bytes that a message takes in memory beside its own.
_OVERHEAD = 200
_logger = logging.getLogger(__name__)

Message = tuple[int, int, bytes]
#: A record time, a place in the file, and the message, None at the beginning of a chunk.
_Timed = tuple[int, int, Message | None]


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
    """An open MCAP file (see ``BagFile``): one that begins with ``MAGIC``.

    Whatever lengths are in the file, reading takes memory for its records, a chunk of ``compression.MAX_BYTES``, and as
    much for the messages of chunks that overlap in time.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, Source(path)
        self.defects: list[str] = []
        #: Bytes of the messages that are open.
        self._held = 0
        #: Messages that the summary counts, where there is one, and whether its checksum is right.
        self._stated: int | None = None
        self._is_checked = False
        self._forget()
        try:
            if not self._is_indexed():
                self._scan()
        except BaseException:
            self.close()
            raise
        if self._contradicted:
            self.defects.append(
                f'{path.name} describes {", ".join(sorted(self._contradicted)[:3])} in two ways: the first counts'
            )
        self.channels = [
            Channel(
                key,
                t.topic,
                self._schemas.get(t.schema, ''),
                t.serialization,
                t.digest,
                t.qos,
                self._counts[key],
                self._definitions.get(t.schema, ''),
            )
            for key, t in self._topics.items()
        ]

    def _forget(self) -> None:
        """Know nothing of the file."""
        self.start_ns = self.end_ns = 0
        #: Names of the types; a channel of schema 0 has none.
        self._schemas: dict[int, str] = {0: ''}
        #: Definitions of the types, as they are written.
        self._definitions: dict[int, str] = {}
        self._topics: dict[int, _Topic] = {}
        self._contradicted: set[str] = set()
        self._counts: Counter[int] = Counter()
        self._chunks: list[Chunk] = []
        self._loose: list[_Loose] = []

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def messages(self, keys: Collection[int]) -> Iterator[Message]:
        """Yield ``(channel, record_ns, raw)`` of the channels ``keys``, in record order, then as they were written.

        A chunk is opened when its time has come. One that is damaged is left out, and the log names it.

        Raises:
            FileError: the messages of chunks that overlap in time take more than ``compression.MAX_BYTES``.
        """
        wanted, self._held = frozenset(keys), 0
        chunks = (chunk for chunk in self._chunks if not chunk.keys or chunk.keys & wanted)
        runs = [self._of_chunk(chunk, wanted) for chunk in chunks]
        for _, _, message in heapq.merge(*runs, self._of_no_chunk(wanted), key=_time_and_place):
            if message is not None:
                yield message

    def _of_chunk(self, chunk: Chunk, wanted: frozenset[int]) -> Iterator[_Timed]:
        """Yield where the chunk begins, so that it is not read before its time, then its messages in order."""
        yield chunk.start_ns, chunk.offset, None
        found = self._messages_of(chunk, wanted)
        found.reverse()
        while found:
            message = found.pop()
            yield message[1], chunk.offset, message
            self._held -= len(message[2]) + _OVERHEAD

    def _messages_of(self, chunk: Chunk, wanted: frozenset[int]) -> list[Message]:
        """The messages of a chunk in record order, as many as can be read."""
        found: list[Message] = []
        try:
            for opcode, content, at, length in records_of(chunk, self._file):
                if opcode == _MESSAGE and length >= MESSAGE_HEAD.size:
                    key, _, record_ns, _ = MESSAGE_HEAD.unpack_from(content)
                    if key in wanted:
                        is_read = len(content) == length
                        raw = bytes(content[MESSAGE_HEAD.size :]) if is_read else self._sent(at, length)
                        if raw is None:
                            break
                        self._hold(len(raw))
                        found.append((key, record_ns, raw))
        except ChunkError as error:
            _logger.warning('%s: %s', self._path, error)
        return sorted(found, key=_record_ns)

    def _hold(self, size: int) -> None:
        self._held += size + _OVERHEAD
        if self._held > compression.MAX_BYTES:
            raise FileError(
                f'{self._path.name}: more than {compression.MAX_BYTES >> 20} MiB of messages are in chunks of the same '
                f'time: order it first: mcap sort {self._path.name} -o sorted.mcap'
            )

    def _of_no_chunk(self, wanted: frozenset[int]) -> Iterator[_Timed]:
        for loose in sorted(self._loose):
            if loose.key in wanted:
                raw = self._sent(loose.offset, loose.size)
                if raw is None:
                    break
                yield loose.record_ns, loose.offset, (loose.key, loose.record_ns, raw)

    def _sent(self, at: int, length: int) -> bytes | None:
        """Read what was sent with a message whose head is at a place of the file; None where the file was cut since."""
        size = length - MESSAGE_HEAD.size
        raw = self._file.read(at + MESSAGE_HEAD.size, size)
        return raw if len(raw) == size else None

    def _records_between(self, at: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield opcode, place and length of the content of each record in a part of the file; the last may not fit.

        Raises:
            struct.error: the file was cut since it was opened.
        """
        while at + RECORD_HEAD.size <= end:
            opcode, length = RECORD_HEAD.unpack(self._file.read(at, RECORD_HEAD.size))
            yield opcode, at + RECORD_HEAD.size, length
            at += RECORD_HEAD.size + length

    def _is_indexed(self) -> bool:
        """Read the index; False where there is none, it is damaged, or it does not cover the file."""
        try:
            if self._read_summary():
                return True
        except struct.error:
            self.defects.append(f'{self._path.name}: its summary is damaged: it is read from its beginning to its end')
        topics, schemas = self._topics, self._schemas
        self._forget()
        if self._is_checked:  # what is said of the channels is whole
            self._topics, self._schemas = topics, schemas
        return False

    def _read_summary(self) -> bool:
        """Read the summary, where there is one; returns whether it is an index of the whole file.

        Raises:
            struct.error: it is damaged.
        """
        end = self._file.size - _FOOTER.size
        if end < len(MAGIC):
            return False
        opcode, length, start, _, checksum, magic = _FOOTER.unpack(self._file.read(end, _FOOTER.size))
        if (opcode, length, magic) != (0x02, 20, MAGIC) or start == 0:
            return False
        if start >= end:
            raise struct.error('it begins behind its end')
        self._is_checked = checksum != 0
        if self._is_checked and self._file.checksum(start, end + _BEFORE_CHECKSUM) != checksum:
            self._is_checked = False
            raise struct.error('the checksum is another')
        statistics: tuple[int, ...] = ()
        for kind, at, size in self._records_between(start, end):
            if at + size > end:
                raise struct.error('a record is longer than the summary')
            content = self._file.read(at, min(size, _DESCRIPTION))
            fields = Fields(content)
            if kind == _CHUNK_INDEX:
                first_ns, _, offset, size = fields.take('QQQQ')
                keys = frozenset(fields.counts())
                self._chunks.append(Chunk(first_ns, offset + RECORD_HEAD.size, size - RECORD_HEAD.size, keys))
            elif kind == _STATISTICS:
                statistics = fields.take('QHIIIIQQ')
                self._counts.update(fields.counts())
            else:
                self._describe(kind, content)
        self._stated = statistics[0] if statistics else None
        described = all(key in self._topics and self._topics[key].schema in self._schemas for key in self._counts)
        if not (statistics and self._chunks and statistics[5] == len(self._chunks) and described):
            return False
        self.start_ns, self.end_ns = statistics[6:]
        return statistics[0] == self._counts.total() and self._are_listed_truly(start)

    def _are_listed_truly(self, end: int) -> bool:
        """Whether each chunk is where and when the index says, before ``end``, and none is listed twice."""
        at = len(MAGIC)
        for chunk in sorted(self._chunks, key=lambda chunk: chunk.offset):
            head = chunk.offset - RECORD_HEAD.size
            if not at <= head or not 0 <= chunk.size <= min(end - chunk.offset, compression.MAX_BYTES):
                return False
            opcode, length, start_ns = struct.unpack('<BQQ', self._file.read(head, RECORD_HEAD.size + 8))
            if (opcode, length, start_ns) != (_CHUNK, chunk.size, chunk.start_ns):
                return False
            at = chunk.offset + chunk.size
        return True

    def _scan(self) -> None:
        """Find every chunk and message from the beginning on, up to the end or to where the file is cut."""
        is_complete, at, num_unknown = False, len(MAGIC), 0
        with suppress(struct.error):  # of a file that was cut since it was opened
            for opcode, begin, length in self._records_between(at, self._file.size):
                at = begin - RECORD_HEAD.size
                is_cut = begin + length > self._file.end()
                if (
                    opcode == 0
                    or (is_cut and opcode != _CHUNK)
                    or (opcode == _CHUNK and length > compression.MAX_BYTES)
                ):
                    break
                if opcode == _DATA_END:
                    at = begin + length
                    is_complete = self._file.read(self._file.size - len(MAGIC), len(MAGIC)) == MAGIC
                    break
                num_unknown += not self._take(opcode, begin, length)
                at = begin + length
        found = self._counts.total()
        if not is_complete:
            place = f'byte {min(at, self._file.end())} of {self._file.size}'
            self.defects.append(f'{self._path.name} is cut off or damaged at {place}; {found} messages are read')
        elif self._stated not in (None, found):
            self.defects.append(f'{self._path.name} is damaged: of {self._stated} messages {found} are read')
        elif self._stated is None and num_unknown:
            self.defects.append(f'{self._path.name} has {num_unknown} records that are of no known kind, or damaged')

    def _take(self, opcode: int, at: int, length: int) -> bool:
        """Take in a record of the data; False for one whose kind is unknown, or whose content is not of its kind."""
        if opcode == _CHUNK:
            self._scan_chunk(Chunk(0, at, length))
        elif opcode == _MESSAGE and length >= MESSAGE_HEAD.size:
            key, _, record_ns, _ = MESSAGE_HEAD.unpack(self._file.read(at, MESSAGE_HEAD.size))
            self._loose.append(_Loose(record_ns, at, length, key))
            self._count(key, record_ns)
        elif opcode in (_SCHEMA, _CHANNEL):
            try:
                self._describe(opcode, self._file.read(at, min(length, _DESCRIPTION)))
            except struct.error:
                return False
        elif opcode == _MESSAGE_INDEX:
            return int.from_bytes(self._file.read(at + 2, 4), 'little') == length - 6
        return opcode in _IN_DATA

    def _scan_chunk(self, chunk: Chunk) -> None:
        """Take in the channels of a chunk, and count its messages."""
        start_ns, keys = None, set()
        try:
            for opcode, content, at, length in records_of(chunk, self._file):
                if opcode == _MESSAGE and length >= MESSAGE_HEAD.size:
                    key, _, record_ns, _ = MESSAGE_HEAD.unpack_from(content)
                    self._count(key, record_ns)
                    start_ns = record_ns if start_ns is None else min(start_ns, record_ns)
                    keys.add(key)
                else:
                    is_read = len(content) == length
                    with suppress(struct.error):
                        self._describe(opcode, content if is_read else self._file.read(at, min(length, _DESCRIPTION)))
        except ChunkError as error:
            self.defects.append(f'{self._path.name}: {error}')
        if start_ns is not None:
            self._chunks.append(chunk._replace(start_ns=start_ns, keys=frozenset(keys)))

    def _count(self, key: int, record_ns: int) -> None:
        self.start_ns = min(self.start_ns, record_ns) if self._counts else record_ns
        self.end_ns = max(self.end_ns, record_ns)
        self._counts[key] += 1

    def _describe(self, opcode: int, record: memoryview | bytes) -> None:
        """Take in a record that says what a channel carries. The definition of its type is not parsed.

        Raises:
            struct.error: it is damaged, which costs its channel.
        """
        fields = Fields(record)
        if opcode == _SCHEMA:
            (key,) = fields.take('H')
            name = fields.text()
            if self._schemas.setdefault(key, name) != name:
                self._contradicted.add(f'schema {key}')
            with suppress(struct.error):  # without a definition it can be read all the same
                _, definition = fields.text(), fields.text()
                self._definitions.setdefault(key, definition)
        elif opcode == _CHANNEL:
            key, schema = fields.take('HH')
            topic, serialization, more = fields.text(), fields.text(), fields.texts()
            digest, qos = more.get('topic_type_hash', ''), more.get('offered_qos_profiles', '')
            found = _Topic(topic, schema, serialization, digest, qos)
            if self._topics.setdefault(key, found) != found:
                self._contradicted.add(f'channel {key}')


def _time_and_place(entry: _Timed) -> tuple[int, int]:
    return entry[:2]


def _record_ns(message: Message) -> int:
    return message[1]
