# SPDX-License-Identifier: Apache-2.0
"""Reading a rosbag2: its topics, and its messages as raw CDR bytes or deserialized."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection, Qos
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

_HEADER = 16  # bytes of a serialized message up to the characters of its header's frame_id


class BagError(ValueError):
    """A bag that cannot be read; the message names it and the reason, on one line."""


@dataclass(frozen=True)
class Topic:
    """A topic of a bag: ``count`` messages of type ``msgtype``, and the QoS that its publishers offered.

    Where the bag has messages of several types on the topic, ``msgtype`` names them all and is no type.
    """

    name: str
    msgtype: str
    count: int
    qos: tuple[Qos, ...] = ()


@dataclass(frozen=True)
class Bag:
    """A rosbag2 (directory, .mcap or .db3); ``start_ns`` and ``end_ns`` bound its record times.

    It holds no open file: each call of ``messages`` opens the bag for itself, so several threads may read at once.
    """

    path: Path
    start_ns: int
    end_ns: int
    topics: dict[str, Topic]
    typestore: Typestore = field(repr=False)

    @property
    def duration_s(self) -> float:
        """Length of the recording, s."""
        return (self.end_ns - self.start_ns) / 1e9

    @property
    def count(self) -> int:
        """Messages in the bag."""
        return sum(topic.count for topic in self.topics.values())

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, int, bytes]]:
        """Yield ``(topic, record_ns, raw)`` of the messages on ``topics``, in record order.

        Topics that the bag lacks give nothing, and so does an empty choice.

        Raises:
            BagError: the bag cannot be read to its end.
        """
        try:
            with _reader(self.path) as reader:
                connections = [connection for connection in reader.connections if connection.topic in topics]
                if connections:  # the reader takes an empty list for all connections
                    for connection, record_ns, raw in reader.messages(connections):
                        yield connection.topic, record_ns, raw
        except Exception as error:
            raise _unreadable(self.path, error) from error

    def deserialize(self, topic: str, raw: bytes) -> Any:
        """Return a message of ``topic``, by the definition of its type in the bag; in a bag without any, by Jazzy's.

        Raises:
            BagError: ``raw`` is no message of the topic's type.
        """
        try:
            return self.typestore.deserialize_cdr(raw, self.topics[topic].msgtype)
        except Exception as error:
            raise _unreadable(self.path, error, topic) from error


def open_bag(path: Path) -> Bag:
    """Read which topics the bag at ``path`` has.

    Raises:
        BagError: it does not exist, is not a rosbag2, is damaged, or has no message.
    """
    if not path.exists():
        raise BagError(f'{path}: there is no such bag')
    if path.suffix == '.bag':
        raise BagError(f'{path}: is a ROS 1 bag; convert it first: rosbags-convert --src {path} --dst {path.stem}')
    try:
        with _reader(path) as reader:
            topics = {
                name: Topic(name, _types(info.connections), info.msgcount, _offered_qos(info.connections))
                for name, info in sorted(reader.topics.items())
            }
            bag = Bag(path, reader.start_time, reader.end_time, topics, reader.typestore)
    except Exception as error:
        raise _unreadable(path, error) from error
    if bag.count == 0:
        raise BagError(f'{path}: has no messages')
    return bag


@dataclass(frozen=True)
class Glimpse:
    """The start of a topic: its first message, deserialized, and the period between header stamps, s."""

    first: Any
    period_s: float


def glimpse(bag: Bag, topics: Collection[str], seconds: float = 3.0) -> dict[str, Glimpse]:
    """Read the first ``seconds`` of some topics with a header, and on to the first message of those that start later.

    The period is the median one; of a topic with fewer than four messages in that time it is the mean over the bag.

    Raises:
        BagError: the bag cannot be read, or a message has no header.
    """
    first: dict[str, Any] = {}
    stamps: dict[str, list[int]] = {name: [] for name in topics}
    for topic, record_ns, raw in bag.messages(topics):
        if record_ns > bag.start_ns + seconds * 1e9 and len(first) == len(topics):
            break
        if topic not in first:
            first[topic] = bag.deserialize(topic, raw)
        stamps[topic].append(header_stamp_ns(raw))
    return {name: Glimpse(message, _period_s(bag, name, stamps[name])) for name, message in first.items()}


def header_stamp_ns(raw: bytes) -> int:
    """Stamp, ns, of a serialized message that begins with a std_msgs/Header.

    Raises:
        BagError: ``raw`` is too short for a header.
    """
    if len(raw) < _HEADER:
        raise BagError(f'a message of {len(raw)} bytes has no header')
    order = '<' if raw[1] & 1 else '>'
    seconds, nanoseconds = struct.unpack_from(f'{order}iI', raw, 4)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def _reader(path: Path) -> AnyReader:
    return AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY))


def _unreadable(path: Path, error: Exception, topic: str = '') -> BagError:
    """One type for the errors of the reader's storage, YAML, type and message parsers."""
    where = f'{path}: {topic}' if topic else f'{path}'
    return BagError(f'{where}: cannot be read as a rosbag2: {" ".join(str(error).split())}')


def _types(connections: list[Connection]) -> str:
    return ' and '.join(sorted({connection.msgtype for connection in connections}))


def _offered_qos(connections: list[Connection]) -> tuple[Qos, ...]:
    return tuple(qos for connection in connections for qos in connection.ext.offered_qos_profiles)


def _period_s(bag: Bag, name: str, stamps_ns: list[int]) -> float:
    steps = sorted(b - a for a, b in itertools.pairwise(stamps_ns))
    if len(steps) >= 3 and steps[len(steps) // 2] > 0:
        return steps[len(steps) // 2] / 1e9
    return bag.duration_s / bag.topics[name].count
