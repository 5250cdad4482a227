# SPDX-License-Identifier: Apache-2.0
"""What every file of a bag gives, whatever its storage."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Protocol


class FileError(ValueError):
    """A file that cannot be read at all."""


@dataclass(frozen=True)
class Channel:
    """A topic as one file has it.

    Attributes:
        key: number of the channel in the file.
        topic: its name, as it was recorded.
        msgtype: ROS name of its type.
        serialization: ``cdr`` for what ROS 2 records.
        digest: RIHS hash of the type; empty where the file has none.
        qos: YAML of the QoS profiles that its publishers offered.
        count: messages on it.
        definition: of the type, as the recorder wrote it; empty where the file has none.
    """

    key: int
    topic: str
    msgtype: str
    serialization: str
    digest: str
    qos: str
    count: int
    definition: str = ''


class BagFile(Protocol):
    """An open file of a bag.

    Attributes:
        channels: its topics.
        start_ns, end_ns: record times of its first and last message; 0 in a file without any.
        defects: a line for each part of it that is missing or damaged.
    """

    channels: list[Channel]
    start_ns: int
    end_ns: int
    defects: list[str]

    def messages(self, keys: Collection[int]) -> Iterator[tuple[int, int, bytes]]:
        """Yield ``(channel, record_ns, raw)`` of the channels ``keys``, in record order."""
        ...

    def close(self) -> None:
        """Close it."""
        ...
