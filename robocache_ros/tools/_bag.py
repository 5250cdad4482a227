# SPDX-License-Identifier: Apache-2.0
"""What a rosbag2 holds, and its messages as raw CDR bytes, read ahead of time."""

from __future__ import annotations

import itertools
import struct
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.highlevel import AnyReader
from rosbags.interfaces import Qos
from rosbags.typesys import Stores, get_typestore

from robocache_ros.bags import messages_of

CLOUD = 'sensor_msgs/msg/PointCloud2'
IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
IMU = 'sensor_msgs/msg/Imu'
TRANSFORMS = 'tf2_msgs/msg/TFMessage'

_HEADER = 16  # bytes of a serialized message up to the characters of its header's frame_id


class BagError(ValueError):
    """A bag that cannot be played; the message says why, on one line."""


@dataclass(frozen=True)
class Topic:
    """A topic of a bag: ``count`` messages of type ``msgtype``, and the QoS that its publishers offered."""

    name: str
    msgtype: str
    count: int
    qos: tuple[Qos, ...] = ()


@dataclass(frozen=True)
class Bag:
    """A rosbag2 (directory, .mcap or .db3); ``start_ns`` and ``end_ns`` bound its record times."""

    path: Path
    start_ns: int
    end_ns: int
    topics: dict[str, Topic]

    @property
    def duration_s(self) -> float:
        """Length of the recording, s."""
        return (self.end_ns - self.start_ns) / 1e9

    @property
    def count(self) -> int:
        """Messages in the bag."""
        return sum(topic.count for topic in self.topics.values())


def _reader(path: Path) -> AnyReader:
    return AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY))


def open_bag(path: Path) -> Bag:
    """Read what the bag at ``path`` holds.

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
                name: Topic(name, info.msgtype or '', info.msgcount, _offered_qos(info.connections))
                for name, info in sorted(reader.topics.items())
            }
            bag = Bag(path, reader.start_time, reader.end_time, topics)
    except Exception as error:  # the reader raises errors of its storage, YAML and type parsers
        raise BagError(f'{path}: cannot be read as a rosbag2: {" ".join(str(error).split())}') from error
    if bag.count == 0:
        raise BagError(f'{path}: has no messages')
    return bag


def _offered_qos(connections: list[Any]) -> tuple[Qos, ...]:
    return tuple(qos for connection in connections for qos in connection.ext.offered_qos_profiles)


@dataclass(frozen=True)
class Glimpse:
    """The begin of a topic: its first message, deserialized, and its ``period_s`` between header stamps, s."""

    first: Any
    period_s: float


def glimpse(bag: Bag, names: set[str], seconds: float = 3.0) -> dict[str, Glimpse]:
    """Look at the first ``seconds`` of some topics with a header, and farther where a topic begins later."""
    first: dict[str, Any] = {}
    stamps: dict[str, list[int]] = {name: [] for name in names}
    with _reader(bag.path) as reader:
        for connection, record_ns, raw in messages_of(reader, names):
            if record_ns > bag.start_ns + seconds * 1e9 and len(first) == len(names):
                break
            if connection.topic not in first:
                first[connection.topic] = reader.deserialize(raw, connection.msgtype)
            stamps[connection.topic].append(header_stamp_ns(raw))
    return {name: Glimpse(message, _period_s(bag, name, stamps[name])) for name, message in first.items()}


def _period_s(bag: Bag, name: str, stamps_ns: list[int]) -> float:
    steps = sorted(b - a for a, b in itertools.pairwise(stamps_ns))
    if len(steps) >= 3 and steps[len(steps) // 2] > 0:
        return steps[len(steps) // 2] / 1e9
    return bag.duration_s / bag.topics[name].count


def all_messages(bag: Bag, name: str) -> list[Any]:
    """Every message of one (small) topic, deserialized; none where the bag lacks it."""
    with _reader(bag.path) as reader:
        return [reader.deserialize(raw, c.msgtype) for c, _, raw in messages_of(reader, {name})]


def header_stamp_ns(raw: bytes) -> int:
    """Stamp, ns, of a serialized message that begins with a std_msgs/Header."""
    if len(raw) < _HEADER:
        raise BagError(f'a message of {len(raw)} bytes has no header')
    order = '<' if raw[1] & 1 else '>'
    seconds, nanoseconds = struct.unpack_from(f'{order}iI', raw, 4)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


class ReadAhead:
    """Iterates over ``(topic, record_ns, raw)`` of a bag in record order, read by a thread of its own.

    The thread keeps up to ``max_bytes`` ready, so that a slow disk or a compressed chunk does not make the player
    late. It opens the bag itself, since a sqlite3 connection belongs to the thread that made it. An error of the
    reader is raised in the thread that iterates.
    """

    def __init__(self, bag: Bag, topics: set[str], max_bytes: int = 128 << 20) -> None:
        self._bag, self._topics, self._max_bytes = bag, topics, max_bytes
        self._ready: deque[tuple[str, int, bytes]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._done = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._read, name='read_ahead', daemon=True)

    def __enter__(self) -> ReadAhead:
        """Start to read, and wait until there is as much as may be kept (or all)."""
        self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._done or self._bytes >= self._max_bytes)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop reading."""
        with self._changed:
            self._done = True
            self._changed.notify_all()
        self._thread.join()

    def __iter__(self) -> Iterator[tuple[str, int, bytes]]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ready or self._done)
                if not self._ready:
                    if self._error is not None:
                        raise BagError(f'{self._bag.path}: {self._error}') from self._error
                    return
                item = self._ready.popleft()
                self._bytes -= len(item[2])
                self._changed.notify_all()
            yield item

    def _read(self) -> None:
        try:
            with _reader(self._bag.path) as reader:
                for connection, record_ns, raw in messages_of(reader, self._topics):
                    with self._changed:
                        self._changed.wait_for(lambda: self._done or self._bytes < self._max_bytes)
                        if self._done:
                            return
                        self._ready.append((connection.topic, record_ns, raw))
                        self._bytes += len(raw)
                        self._changed.notify_all()
        except Exception as error:  # handed to the thread that iterates
            self._error = error
        finally:
            with self._changed:
                self._done = True
                self._changed.notify_all()
