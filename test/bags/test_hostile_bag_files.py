# SPDX-License-Identifier: Apache-2.0
"""A file of a bag that was made to do harm: it costs no memory that it does not have, no endless loop, and one line."""

from __future__ import annotations

import sqlite3
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from support import mcap_by_hand, sqlite_by_hand
from support.foreign_bags import zstd
from support.fuzz.driven import is_line

from robocache_ros.bag_files import compression
from robocache_ros.bags import BagError, open_bag

TOPICS = [('/a', 'std_msgs/msg/String')]
CHANNELS = [mcap_by_hand.Channel(*topic) for topic in TOPICS]
MIB = 1 << 20
#: Bytes that a chunk may have when it is decompressed.
MOST = 4 * MIB


@pytest.fixture(autouse=True)
def _small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, 'MAX_BYTES', MOST)


@contextmanager
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * MIB, f'{peak / MIB:.1f} MiB'


def messages(count: int, size: int) -> list[tuple[int, int, bytes]]:
    return [(0, 1000 + number, b'\0\1\0\0' + b'%04d' % number + bytes(size)) for number in range(count)]


def chunk(start_ns: int, size: int, packed: bytes, method: str = '') -> bytes:
    head = struct.pack('<QQQI', start_ns, start_ns, size, 0) + mcap_by_hand.text(method)
    return mcap_by_hand.record(6, head + struct.pack('<Q', len(packed)) + packed)


def write_large(path: Path, footer: bytes, tail: bytes = b'') -> None:
    """An MCAP of 24 MiB in messages of 1 MiB, which ends in ``footer``."""
    mcap_by_hand.write(path, CHANNELS, [], index=False)
    whole = path.read_bytes()
    channel, end = whole[: -8 - 29 - 13], whole[-8 - 29 - 13 : -8 - 29]
    with path.open('wb') as file:
        file.write(channel)
        for number in range(24):
            body = struct.pack('<HIQQ', 1, 0, number, number) + bytes(MIB)
            file.write(mcap_by_hand.record(5, body))
        file.write(tail + end + footer)


@pytest.mark.parametrize('start', [8, 50, MIB, 1 << 60, (1 << 64) - 1])
@pytest.mark.parametrize('checksum', [0, 1])
def test_a_summary_that_is_said_to_be_most_of_the_file_is_none(start: int, checksum: int, tmp_path: Path) -> None:
    footer = mcap_by_hand.record(2, struct.pack('<QQI', start, 0, checksum)) + mcap_by_hand.MAGIC
    write_large(tmp_path / 'a.mcap', footer)
    with little_memory():
        bag = open_bag(tmp_path / 'a.mcap')
        assert sum(1 for _ in bag.messages({'/a'})) == 24
    damaged = 'a.mcap: its summary is damaged: it is read from its beginning to its end'
    assert bag.defects == (() if start == 8 and not checksum else (damaged,))  # records begin there as well


@pytest.mark.parametrize('length', [8 * MIB, 1 << 40, 1 << 60, (1 << 64) - 1])
def test_a_chunk_of_an_absurd_length_ends_what_is_read(length: int, tmp_path: Path) -> None:
    write_large(tmp_path / 'a.mcap', b'', tail=struct.pack('<BQ', 6, length))
    with little_memory():
        bag = open_bag(tmp_path / 'a.mcap')
        assert sum(1 for _ in bag.messages({'/a'})) == 24
    (defect,) = bag.defects
    assert 'cut off or damaged at byte' in defect


def test_chunks_of_one_time_are_not_all_held(tmp_path: Path) -> None:
    """Each is small in the file and as large as a chunk may be in memory."""
    chunks = b''
    for number in range(20):
        times = (number, 0), (1000, MIB)
        plain = b''.join(mcap_by_hand.record(5, struct.pack('<HIQQ', 1, 0, ns, ns) + bytes(size)) for ns, size in times)
        chunks += chunk(number, len(plain), zstd.compress(plain), 'zstd')
    path = mcap_by_hand.write(tmp_path / 'a.mcap', CHANNELS, [], index=False)
    whole = path.read_bytes()
    path.write_bytes(whole[: -8 - 29 - 13] + chunks + whole[-8 - 29 - 13 :])
    with little_memory():
        bag = open_bag(path)
        assert bag.count == 40
        with pytest.raises(
            BagError, match='more than 4 MiB of messages are in chunks of the same time: order it first'
        ):
            list(bag.messages({'/a'}))


def test_a_message_that_becomes_too_large_costs_itself(tmp_path: Path) -> None:
    sent = [(0, 1, zstd.compress(bytes(40 * MIB))), (0, 2, b'\0\1\0\0\1\0\0\0\0')]
    path = mcap_by_hand.write(tmp_path / 'a.mcap', CHANNELS, sent)
    with little_memory():
        bag = open_bag(path)
        bomb, after = (raw for _, _, raw in bag.messages({'/a'}))
    assert len(bomb) <= 2 * MOST
    assert after == sent[1][2]


def test_a_compressed_file_is_unpacked_a_little_at_a_time(tmp_path: Path) -> None:
    (tmp_path / 'a.mcap.zstd').write_bytes(zstd.compress(bytes(64 * MIB)))
    with little_memory(), pytest.raises(BagError, match='begins neither as an MCAP nor as an SQLite database'):
        open_bag(tmp_path / 'a.mcap.zstd')


ENDLESS = 'WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n) SELECT i'


@pytest.mark.parametrize(
    'script',
    [
        f"DROP TABLE messages; CREATE VIEW messages AS {ENDLESS} AS id, 1 topic_id, i timestamp, x'00' data FROM n",
        f'DROP TABLE topics; CREATE VIEW topics AS {ENDLESS} AS id, i name, i type, i serialization_format FROM n',
        'DROP TABLE messages; CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id, timestamp,'
        ' data AS (zeroblob(900000000)))',
        'DROP TABLE messages; CREATE VIRTUAL TABLE messages USING fts5(id, topic_id, timestamp, data)',
        'ALTER TABLE messages DROP COLUMN data',
    ],
)
def test_what_is_no_table_is_not_read(script: str, tmp_path: Path) -> None:
    path = sqlite_by_hand.write(tmp_path / 'a.db3', TOPICS, messages(3, 10))
    with closing(sqlite3.connect(path)) as database:
        database.executescript(script)
    with pytest.raises(BagError, match='it has no tables of topics and messages'):
        open_bag(path)


@pytest.mark.parametrize(
    ('statement', 'count', 'words'),
    [
        ("UPDATE messages SET timestamp = 'now' WHERE id = 2", 2, 'has 1 rows that are no messages'),
        ("UPDATE messages SET data = 'text' WHERE id < 3", 1, 'has 2 rows that are no messages'),
        ('UPDATE messages SET data = 5.0 WHERE id = 1', 2, 'has 1 rows that are no messages'),
        ("UPDATE messages SET topic_id = x'01' WHERE id = 1", 2, 'has 1 rows that are no messages'),
        ('UPDATE messages SET topic_id = 9 WHERE id = 1', 2, 'on which topics 1 of its messages are'),
        ("INSERT INTO topics VALUES(9, x'00', 5, 'cdr', '', '')", 3, ''),
    ],
)
def test_a_row_of_other_types_costs_itself(statement: str, count: int, words: str, tmp_path: Path) -> None:
    path = sqlite_by_hand.write(tmp_path / 'a.db3', TOPICS, messages(3, 10))
    with closing(sqlite3.connect(path)) as database:
        database.execute(statement)
        database.commit()
    bag = open_bag(path)
    assert len(list(bag.messages(bag.topics))) == bag.count == count
    assert [words in defect for defect in bag.defects] == ([True] if words else [])


def test_pages_that_are_linked_in_a_circle_end(tmp_path: Path) -> None:
    path = sqlite_by_hand.write(tmp_path / 'a.db3', TOPICS, messages(200, 9000))
    data = bytearray(path.read_bytes())
    for page in range(5, len(data) // 4096):  # those that continue a row begin with the number of the next
        at = page * 4096
        if data[at] == 0:
            data[at : at + 4] = struct.pack('>I', page + 1)
    path.write_bytes(data[:-4096])
    bag = open_bag(path)
    assert any('cut off' in defect for defect in bag.defects)
    assert len(list(bag.messages({'/a'}))) <= 200


@pytest.mark.parametrize(
    'metadata',
    [
        '[' * 3_000,
        'rosbag2_bagfile_information: {relative_file_paths: ["\\x1b[2J\\r\\nERROR.mcap", a.mcap]}',
        'rosbag2_bagfile_information: {relative_file_paths: "\\x1b"}',
        'rosbag2_bagfile_information: {relative_file_paths: [..]}',
    ],
    ids=['too deep', 'control codes', 'no list', 'a folder'],
)
def test_a_metadata_file_that_cannot_be_used_costs_a_line(metadata: str, tmp_path: Path) -> None:
    (tmp_path / 'metadata.yaml').write_text(metadata)
    mcap_by_hand.write(tmp_path / 'a.mcap', CHANNELS, messages(3, 10))
    lines: tuple[str, ...] = ()
    try:
        bag = open_bag(tmp_path)
        lines = bag.defects
        assert bag.count == 3
    except BagError as error:
        lines = (str(error),)
    assert lines
    assert all(map(is_line, lines))


@pytest.mark.parametrize(
    'make',
    [
        lambda path: mcap_by_hand.write(path, [mcap_by_hand.Channel('/\x1b[2J', 'x')], messages(3, 10)[:0]),
        lambda path: path.write_bytes(b'SQLite format 3\0'),
        lambda path: path.write_bytes(b'SQLite format 3\0' + b'\0' * 84),
        lambda path: path.write_bytes(mcap_by_hand.MAGIC),
        lambda path: path.write_bytes(mcap_by_hand.MAGIC + chunk(1, 9, b'', '\x1b[2J' * 99) * 2),
    ],
)
def test_what_cannot_be_read_is_one_line(make: Callable[[Path], object], tmp_path: Path) -> None:
    make(tmp_path / 'bag')
    with pytest.raises(BagError) as caught:
        open_bag(tmp_path / 'bag')
    assert is_line(str(caught.value))
