# SPDX-License-Identifier: Apache-2.0
"""Reading rosbag2 files."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from rosbags.highlevel import AnyReader


def messages_of(reader: AnyReader, topics: Collection[str]) -> Iterator[tuple[Any, int, bytes]]:
    """Yield ``(connection, record_ns, raw)`` of some topics in record order; nothing where the bag has none of them.

    ``AnyReader.messages`` reads an empty list of connections as all of them.
    """
    connections = [connection for connection in reader.connections if connection.topic in topics]
    if connections:
        yield from reader.messages(connections)
