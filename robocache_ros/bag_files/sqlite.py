# SPDX-License-Identifier: Apache-2.0
"""A rosbag2 in an SQLite database of any version; of one that is cut, the rows that are whole."""

from __future__ import annotations

import logging
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from robocache_ros.bag_files.channel import Channel, FileError
from robocache_ros.bag_files.sqlite_pages import Pages, Row

MAGIC = b'SQLite format 3\0'
_TOPIC, _MESSAGE = {'id', 'name', 'type', 'serialization_format'}, {'id', 'topic_id', 'timestamp', 'data'}
#: Any column can hold a value of any type.
_IS_MESSAGE = "typeof(topic_id) = 'integer' AND typeof(timestamp) = 'integer' AND typeof(data) = 'blob'"
#: Rows of the table, how many of them differ, and rows of its index, where it has one.
_ROWS = 'SELECT COUNT(*), COUNT(DISTINCT rowid), (SELECT COUNT(*) FROM messages) FROM messages NOT INDEXED'
_logger = logging.getLogger(__name__)


class SqliteFile:
    """An open database of a bag (see ``BagFile``).

    Raises:
        FileError: its topics cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.defects: list[str] = []
        self._salvaged: Pages | None = None
        self._database = _connect(path)
        try:
            self._open()
        except sqlite3.Error as error:
            self.close()
            raise FileError(f'{path.name}: {error}') from error
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        topics, messages = self._columns_of('topics'), self._columns_of('messages')
        if not (topics >= _TOPIC and messages >= _MESSAGE):
            raise FileError(f'{self._path.name}: it has no tables of topics and messages')
        pages = Pages(self._path)
        try:
            counts, span = self._counted(pages)
            pages.close()
        except sqlite3.DatabaseError as error:
            self._salvaged, rows = pages, pages.rows
            counts = Counter(row.topic_id for row in rows)
            span = (min(r.record_ns for r in rows), max(r.record_ns for r in rows)) if rows else (0, 0)
            why = str(error) if pages.is_cut else f'damaged ({error})'
            self.defects.append(f'{self._path.name} is {why}; {len(rows)} messages are read')
        self.start_ns, self.end_ns = span
        # Versions of the storage differ in what a topic has.
        later = [name if name in topics else "''" for name in ('type_description_hash', 'offered_qos_profiles')]
        found = self._database.execute(
            f'SELECT id, name, type, serialization_format, {", ".join(later)} FROM topics ORDER BY id'
        )
        definitions = self._definitions()
        self.channels = [
            Channel(key, topic, msgtype, serialization, digest, qos, counts.get(key, 0), definitions.get(msgtype, ''))
            for key, topic, msgtype, serialization, digest, qos in found
            if isinstance(key, int) and all(isinstance(t, str) for t in (topic, msgtype, serialization, digest, qos))
        ]
        if lost := sum(counts.values()) - sum(channel.count for channel in self.channels):
            self.defects.append(f'{self._path.name} does not say on which topics {lost} of its messages are')

    def _columns_of(self, name: str) -> set[str]:
        """The columns of a table that is stored: what a view or a generated column gives may have no end."""
        stored = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND rootpage > 0 AND name = ?"
        if self._database.execute(stored, (name,)).fetchone() is None:
            return set()
        return {row[1] for row in self._database.execute(f'PRAGMA table_info({name})')}

    def _counted(self, pages: Pages) -> tuple[dict[int, int], tuple[int, int]]:
        """Count the messages by topic; their first and last record time.

        Raises:
            sqlite3.DatabaseError: the database is cut or damaged.
        """
        if pages.is_cut:
            raise sqlite3.DatabaseError(f'cut off: it has {pages.num_bytes} of {pages.num_expected} bytes')
        query = 'SELECT topic_id, COUNT(*), MIN(timestamp), MAX(timestamp) FROM messages NOT INDEXED'
        found = self._database.execute(f'{query} WHERE {_IS_MESSAGE} GROUP BY topic_id').fetchall()
        counts = {topic_id: count for topic_id, count, _, _ in found}
        num_rows, num_distinct, num_indexed = self._database.execute(_ROWS).fetchone()
        if not num_rows == num_distinct == num_indexed:
            raise sqlite3.DatabaseError(f'{num_indexed} messages are indexed, {num_distinct} of {num_rows} found')
        if bad := num_rows - sum(counts.values()):
            self.defects.append(f'{self._path.name} has {bad} rows that are no messages')
        starts, ends = [row[2] for row in found], [row[3] for row in found]
        return counts, (min(starts, default=0), max(ends, default=0))

    def _definitions(self) -> dict[str, str]:
        """By type, its definition; versions of the storage before 4, and some files that are cut, have none."""
        query = 'SELECT topic_type, encoded_message_definition FROM message_definitions'
        try:
            rows = self._database.execute(query).fetchall()
        except sqlite3.DatabaseError:
            return {}
        return {kind: text for kind, text in rows if isinstance(kind, str) and isinstance(text, str)}

    def close(self) -> None:
        """Close the database."""
        self._database.close()
        if self._salvaged is not None:
            self._salvaged.close()

    def messages(self, keys: Collection[int]) -> Iterator[tuple[int, int, bytes]]:
        """Yield ``(channel, record_ns, raw)`` of the channels ``keys``, in record order, then as they were written."""
        wanted = sorted(set(keys))
        last = (-(1 << 63), 0)
        if self._salvaged is None:
            try:
                for topic_id, record_ns, key in self._in_order(wanted):
                    yield topic_id, record_ns, self._data(key)
                    last = record_ns, key
                return
            except sqlite3.DatabaseError as error:
                _logger.warning('%s: is damaged (%s): the rest is read as far as it is whole', self._path, error)
                self._salvaged = Pages(self._path)
        for row in sorted(self._salvaged.rows, key=_order):
            if row.topic_id in wanted and _order(row) > last:
                yield row.topic_id, row.record_ns, self._salvaged.data(row)

    def _in_order(self, wanted: list[int]) -> Iterator[tuple[int, int, int]]:
        """Topic, record time and row of each message. The index is not used: it may be damaged without a sign."""
        where = f'{_IS_MESSAGE} AND topic_id IN ({",".join("?" * len(wanted))})'
        query = f'SELECT topic_id, timestamp, rowid FROM messages NOT INDEXED WHERE {where} ORDER BY timestamp, rowid'
        return self._database.execute(query, wanted)

    def _data(self, key: int) -> bytes:
        row = self._database.execute('SELECT data FROM messages WHERE rowid = ?', (key,)).fetchone()
        if row is None:
            raise sqlite3.DatabaseError(f'row {key} of messages is not found')
        return bytes(row[0])


def _order(row: Row) -> tuple[int, int]:
    return row.record_ns, row.key


def _connect(path: Path) -> sqlite3.Connection:
    """Open a database to be read: with its write-ahead log where a recorder left one, else as a file nobody writes."""
    log = path.with_name(path.name + '-wal')
    mode = 'mode=ro' if log.is_file() and log.stat().st_size else 'mode=ro&immutable=1'
    database = sqlite3.connect(f'{path.absolute().as_uri()}?{mode}', uri=True, check_same_thread=False)
    database.text_factory = lambda text: text.decode(errors='replace')
    # SQLite opens a file that is shorter than its header says only so.
    database.execute('PRAGMA writable_schema=ON')
    database.execute('PRAGMA trusted_schema=OFF')
    return database
