# SPDX-License-Identifier: Apache-2.0
"""Databases of rosbag2 written by sqlite3, in the versions of its storage that were released."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

#: Columns of the table of topics behind id, name, type and serialization_format, by version of the storage.
_MORE = {1: (), 2: ('offered_qos_profiles',), 3: ('offered_qos_profiles',)}
_MORE[4] = (*_MORE[3], 'type_description_hash')


def write(
    path: Path,
    topics: Sequence[tuple[str, str]],
    messages: Sequence[tuple[int, int, bytes]],
    *,
    version: int = 4,
    serialization: str = 'cdr',
    definitions: Sequence[tuple[str, str, str]] = (),
) -> Path:
    """Write ``(topic, record_ns, raw)`` of ``topics`` (name, type); ``definitions``: type, encoding, text."""
    database = sqlite3.connect(path)
    more = _MORE[version]
    columns = ''.join(f', {name} TEXT NOT NULL' for name in more)
    database.executescript(
        f"""
        CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,
                            serialization_format TEXT NOT NULL{columns});
        CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL,
                              data BLOB NOT NULL);
        CREATE INDEX timestamp_idx ON messages (timestamp ASC);
        """
    )
    if version >= 3:
        database.execute('CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, ros_distro TEXT NOT NULL)')
        database.execute('INSERT INTO schema VALUES(?, ?)', (version, 'jazzy'))
    if version >= 4:
        database.execute(
            'CREATE TABLE message_definitions(id INTEGER PRIMARY KEY, topic_type TEXT NOT NULL, encoding TEXT NOT NULL,'
            ' encoded_message_definition TEXT NOT NULL, type_description_hash TEXT NOT NULL)'
        )
        database.executemany('INSERT INTO message_definitions VALUES(NULL, ?, ?, ?, "")', definitions)
    for number, (name, kind) in enumerate(topics, 1):
        row = (number, name, kind, serialization, *('' for _ in more))
        database.execute(f'INSERT INTO topics VALUES({",".join("?" * len(row))})', row)
    for number, (topic, record_ns, raw) in enumerate(messages, 1):
        database.execute('INSERT INTO messages VALUES(?, ?, ?, ?)', (number, topic + 1, record_ns, raw))
        if number % 20 == 0:
            database.commit()
    database.commit()
    database.close()
    return path
