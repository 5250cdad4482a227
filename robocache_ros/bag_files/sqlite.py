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
        pages = Pages(self._path)
        try:
            if pages.is_cut:
                raise sqlite3.DatabaseError(f'cut off: it has {pages.num_bytes} of {pages.num_expected} bytes')
            counts = dict(self._database.execute('SELECT topic_id, COUNT(*) FROM messages GROUP BY topic_id'))
            span = self._database.execute('SELECT MIN(timestamp), MAX(timestamp) FROM messages').fetchone()
            pages.close()
        except sqlite3.DatabaseError as error:
            self._salvaged = pages
            rows = pages.rows
            counts = Counter(row.topic_id for row in rows)
            span = (min(r.record_ns for r in rows), max(r.record_ns for r in rows)) if rows else (0, 0)
            why = str(error) if pages.is_cut else f'damaged ({error})'
            self.defects.append(f'{self._path.name} is {why}; {len(rows)} messages are read')
        self.start_ns, self.end_ns = (value or 0 for value in span)
        self.channels = [
            Channel(key, topic, msgtype, serialization, digest, qos, counts.get(key, 0))
            for key, topic, msgtype, serialization, digest, qos in self._database.execute(self._topics_query())
        ]

    def _topics_query(self) -> str:
        """Versions of the storage differ in what a topic has."""
        present = {row[1] for row in self._database.execute('PRAGMA table_info(topics)')}
        later = [name if name in present else "''" for name in ('type_description_hash', 'offered_qos_profiles')]
        return f'SELECT id, name, type, serialization_format, {", ".join(later)} FROM topics ORDER BY id'

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
            marks = ','.join('?' * len(wanted))
            columns = 'id, topic_id, timestamp, data'
            query = f'SELECT {columns} FROM messages WHERE topic_id IN ({marks}) ORDER BY timestamp, id'
            try:
                for key, topic_id, record_ns, data in self._database.execute(query, wanted):
                    yield topic_id, record_ns, data
                    last = record_ns, key
                return
            except sqlite3.DatabaseError as error:
                _logger.warning('%s: is damaged (%s): the rest is read as far as it is whole', self._path, error)
                self._salvaged = Pages(self._path)
        for row in sorted(self._salvaged.rows, key=_order):
            if row.topic_id in wanted and _order(row) > last:
                yield row.topic_id, row.record_ns, self._salvaged.data(row)


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
    return database
