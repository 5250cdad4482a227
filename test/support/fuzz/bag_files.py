# SPDX-License-Identifier: Apache-2.0
"""Files of bags, whole, and what can happen to one: a serial number makes one of each."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import lz4.frame
from support import mcap_by_hand, sqlite_by_hand
from support.foreign_bags import zstd

PAGE = 4096
PER_CHUNK = 12
#: Bytes of the record in a chunk that becomes much larger.
BOMB = 48 << 20
TOPICS = [('/small', 'std_msgs/msg/String'), ('/large', 'sensor_msgs/msg/Image')]
CHANNELS = [mcap_by_hand.Channel(*topic) for topic in TOPICS]
ABSURD = (0, 1, 1 << 16, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 60, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)

Message = tuple[str, int, bytes]
Span = tuple[int, int]


def _messages() -> list[tuple[int, int, bytes]]:
    """Small ones, and some of several pages of a database, written a little out of their order."""
    messages = []
    for number in range(120):
        is_large = number % 6 == 0
        raw = b'\0\1\0\0' + (b'<%06d>' % number) * (1100 if is_large else 5)
        messages.append((int(is_large), 1000 + (number ^ 5), raw))
    return messages


RECORDED = _messages()
#: What each whole file holds, in record order.
MESSAGES: list[Message] = [(TOPICS[number][0], ns, raw) for number, ns, raw in sorted(RECORDED, key=lambda m: m[1])]


@dataclass(frozen=True)
class Whole:
    """A file before anything is done to it.

    Attributes:
        data: its bytes.
        spans: of each of ``MESSAGES``, the bytes that it is in: of one in a chunk, those of the chunk.
        records: where the records begin, or the pages of a database.
        lengths: where a length is written.
        has_checksums: whether no changed byte of a message can go unseen.
    """

    data: bytes
    spans: list[Span]
    records: list[int]
    lengths: list[int]
    has_checksums: bool = False

    @property
    def is_mcap(self) -> bool:
        return self.data.startswith(mcap_by_hand.MAGIC)

    def inside(self, touched: Sequence[Span]) -> list[Message]:
        """The messages of whose bytes some are in ``touched``."""
        return [m for m, span in zip(MESSAGES, self.spans, strict=True) if any(_meet(span, each) for each in touched)]

    def before(self, end: int) -> list[Message]:
        return [message for message, (_, last) in zip(MESSAGES, self.spans, strict=True) if last <= end]


@dataclass(frozen=True)
class Damaged:
    """A file to which something was done: where, as far as bytes of the whole file were changed or taken away."""

    done: str
    data: bytes
    touched: list[Span]


def _meet(a: Span, b: Span) -> bool:
    return a[0] < b[1] and b[0] < a[1]


def _mcap(per_chunk: int = 0, compression: str = '', compress: Callable[[bytes], bytes] = bytes, index: bool = True):
    def write(path: Path) -> Whole:
        data = mcap_by_hand.write(
            path, CHANNELS, RECORDED, per_chunk=per_chunk, compression=compression, compress=compress, index=index
        ).read_bytes()
        records = mcap_records(data)
        spans = [_of_record(data, records, message, per_chunk) for message in MESSAGES]
        return Whole(data, spans, records, [at + 1 for at in records], has_checksums=bool(per_chunk))

    return write


def mcap_records(data: bytes) -> list[int]:
    records, at = [], len(mcap_by_hand.MAGIC)
    while at + 9 <= len(data) - len(mcap_by_hand.MAGIC):
        records.append(at)
        at += 9 + struct.unpack_from('<Q', data, at + 1)[0]
    return records


def _of_record(data: bytes, records: list[int], message: Message, per_chunk: int) -> Span:
    """The record that a message is in: its own, or that of its chunk."""
    ends = [*records[1:], len(data)]
    if not per_chunk:
        at = data.index(message[2])
        return next(span for span in zip(records, ends, strict=True) if span[0] < at < span[1])
    chunks = [span for span in zip(records, ends, strict=True) if data[span[0]] == 6]
    number = next(n for n, (_, ns, _) in enumerate(RECORDED) if ns == message[1])
    return chunks[number // per_chunk]


def _sqlite(path: Path) -> Whole:
    sqlite_by_hand.write(path, TOPICS, RECORDED)
    with closing(sqlite3.connect(path)) as database:
        database.execute('VACUUM')  # which leaves no row twice
    data = path.read_bytes()
    spans, lengths = [], []
    for _, _, raw in MESSAGES:
        assert data.count(raw[:12]) == 1
        first, last = data.index(raw[-8:]), data.rindex(raw[-8:])  # its last page may come first
        spans.append((first // PAGE * PAGE, (last // PAGE + 1) * PAGE))
        lengths += range(data.index(raw[:12]) - 16, data.index(raw[:12]) - 8)
    return Whole(data, spans, list(range(0, len(data), PAGE)), lengths)


_WRITERS: dict[str, Callable[[Path], Whole]] = {
    'mcap': _mcap(),
    'mcap of chunks': _mcap(PER_CHUNK),
    'mcap of zstd': _mcap(PER_CHUNK, 'zstd', zstd.compress),
    'mcap of lz4 without index': _mcap(PER_CHUNK, 'lz4', lz4.frame.compress, index=False),
    'sqlite3': _sqlite,
}
STORAGES = list(_WRITERS)


@cache
def whole(storage: str) -> Whole:
    with TemporaryDirectory() as folder:
        return _WRITERS[storage](Path(folder) / 'bag')


Damage = Callable[[Random, Whole], Damaged]
_ANY: list[Damage] = []
_MCAP: list[Damage] = []
_SQLITE: list[Damage] = []


def damaged(storage: str, serial: int) -> Damaged:
    """File number ``serial`` of a storage: the same on every machine."""
    rng, file = Random(f'{storage} {serial}'), whole(storage)
    return rng.choice(_ANY + (_MCAP if file.is_mcap else _SQLITE))(rng, file)


def _kind_of(kinds: list[Damage]) -> Callable[[Damage], Damage]:
    def register(damage: Damage) -> Damage:
        kinds.append(damage)
        return damage

    return register


def _overwritten(file: Whole, what: str, places: Sequence[tuple[int, bytes]]) -> Damaged:
    data = bytearray(file.data)
    for at, new in places:
        data[at : at + len(new)] = new[: len(data) - at]
    return Damaged(f'{what} at {[at for at, _ in places]}', bytes(data), [(at, at + len(new)) for at, new in places])


def _place(rng: Random, file: Whole) -> int:
    """Any byte, or one near the beginning of a record."""
    near = rng.choice(file.records) + rng.randrange(100)
    return min(rng.choice((near, rng.randrange(len(file.data)))), len(file.data) - 1)


@_kind_of(_ANY)
def bits_flipped(rng: Random, file: Whole) -> Damaged:
    places = [_place(rng, file) for _ in range(rng.choice((1, 1, 2, 8)))]
    return _overwritten(file, 'bits flipped', [(at, bytes([file.data[at] ^ 1 << rng.randrange(8)])) for at in places])


@_kind_of(_ANY)
def block_overwritten(rng: Random, file: Whole) -> Damaged:
    size = rng.choice((1, 8, 512, PAGE))
    new = rng.choice((bytes(size), b'\xff' * size, rng.randbytes(size)))
    return _overwritten(file, 'block overwritten', [(_place(rng, file), new)])


@_kind_of(_ANY)
def cut(rng: Random, file: Whole) -> Damaged:
    at = rng.choice((rng.randrange(len(file.data)), rng.choice(file.records) + rng.choice((0, 1, 8, 9, 10))))
    return Damaged(f'cut at {at}', file.data[:at], [(at, len(file.data))])


@_kind_of(_ANY)
def absurd_length(rng: Random, file: Whole) -> Damaged:
    value = rng.choice(ABSURD)
    new = struct.pack('<Q', value) if file.is_mcap else _varint(value)
    return _overwritten(file, f'length of {value}', [(rng.choice(file.lengths), new)])


def _varint(value: int) -> bytes:
    """An integer as SQLite writes one of nine bytes."""
    return bytes(value >> shift & 0x7F | 0x80 for shift in range(57, 7, -7)) + bytes([value & 0xFF])


def _inserted(file: Whole, what: str, record: bytes, at: int) -> Damaged:
    return Damaged(f'{what} at {at}', file.data[:at] + record + file.data[at:], [])


def _between(rng: Random, file: Whole) -> int:
    """Where a record of the data begins, behind the first that has messages."""
    kinds = [(at, file.data[at]) for at in file.records]
    end = next(at for at, kind in kinds if kind == 0x0F)
    first = next(at for at, kind in kinds if kind in (5, 6))
    return rng.choice([at for at, _ in kinds if first < at <= end])


@_kind_of(_MCAP)
def unknown_record(rng: Random, file: Whole) -> Damaged:
    record = mcap_by_hand.record(rng.choice((0x10, 0x7F, 0x80, 0xFF)), rng.randbytes(rng.choice((0, 1, 5000))))
    return _inserted(file, 'unknown record', record, _between(rng, file))


@_kind_of(_MCAP)
def channel_twice(rng: Random, file: Whole) -> Damaged:
    head = struct.pack('<HH', rng.choice((1, 2)), rng.choice((0, 1, 2))) + mcap_by_hand.text('/other\x1b')
    record = mcap_by_hand.record(4, head + mcap_by_hand.text('cdr') + mcap_by_hand.text(b''))
    return _inserted(file, 'channel twice', record, _between(rng, file))


@_kind_of(_MCAP)
def bomb(rng: Random, file: Whole) -> Damaged:
    """A chunk that becomes much larger than the file, and says so or not."""
    compression = rng.choice(('zstd', 'lz4'))
    packed = _bomb_of(compression)
    size = rng.choice((0, 1000, 9 + BOMB, 1 << 60))
    head = struct.pack('<QQQI', 1, 2, size, 0) + mcap_by_hand.text(compression) + struct.pack('<Q', len(packed))
    return _inserted(file, f'bomb of {compression}', mcap_by_hand.record(6, head + packed), _between(rng, file))


@cache
def _bomb_of(compression: str) -> bytes:
    return {'zstd': zstd.compress, 'lz4': lz4.frame.compress}[compression](mcap_by_hand.record(0x80, bytes(BOMB)))


@_kind_of(_MCAP)
def summary_that_lies(rng: Random, file: Whole) -> Damaged:
    """Without a checksum: chunks that are listed again, overlap, or are elsewhere in place and time; wrong counts."""
    start = next(at for at in file.records if file.data[at] == 0x0F) + 13
    bounds = zip(file.records, [*file.records[1:], len(file.data)], strict=True)
    records = [bytearray(file.data[at:end]) for at, end in bounds if at >= start][:-1]
    counted = [record for record in records if record[0] in (0x08, 0x0B)]
    for record in rng.sample(counted, min(len(counted), rng.choice((1, 1, 3)))):
        field = rng.randrange(9, 42)
        what = rng.choice(('again', 'other', 'shifted', 'gone'))
        if what == 'again':
            records += [record] * rng.choice((1, 30))
        elif what == 'gone':
            records.remove(record)
        elif what == 'other':
            record[field : field + 8] = struct.pack('<Q', rng.choice(ABSURD))
        else:
            record[field] = (record[field] + 1) % 256
    begin = rng.choice((start, start, start, rng.choice(ABSURD), rng.randrange(len(file.data))))
    footer = mcap_by_hand.record(2, struct.pack('<QQI', begin, 0, 0)) + mcap_by_hand.MAGIC
    return Damaged('false summary', file.data[:start] + b''.join(records) + footer, [(start, len(file.data))])


@_kind_of(_SQLITE)
def page_linked(rng: Random, file: Whole) -> Damaged:
    """The link to the next page that an overflow page begins with, to any page: itself, one before it, none."""
    page = rng.randrange(1, len(file.records))
    to = rng.choice((page + 1, rng.randrange(len(file.records) + 2), 1 << 31))
    return _overwritten(file, 'page linked', [(page * PAGE, struct.pack('>I', to))])


@_kind_of(_SQLITE)
def header_that_lies(rng: Random, file: Whole) -> Damaged:
    new = struct.pack('>I', rng.choice((0, 1, 2, 512, 65536, 1 << 20, (1 << 32) - 1)))
    return _overwritten(file, 'header', [(rng.randrange(16, 96), new)])
