# SPDX-License-Identifier: Apache-2.0
"""Reading a rosbag2: its topics, and its messages as raw CDR bytes or deserialized.

Only what is asked for is looked at: a definition that a bag carries is parsed where a stream needs it, and a part of a
bag that cannot be read costs that part.
"""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robocache_core.streams.lidar import LIVOX
from robocache_core.text import MAX_SHOWN, printable, shown
from robocache_core.tunable import ConfigError
from robocache_ros.bag_files import Channel, compression, files_of, opened
from robocache_ros.cdr import deserialize, header_stamp_ns
from robocache_ros.definitions import known, type_hash
from robocache_ros.message_types import Types
from robocache_ros.offered_qos import OfferedQos, offered_qos

_logger = logging.getLogger(__name__)
_FEWEST = 4  # messages of a topic by which its period can be found


class BagError(ValueError):
    """A bag, or a message of it, that cannot be read; the text names it and the reason, and can be shown as it is."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


@dataclass(frozen=True)
class Topic:
    """A topic of a bag: ``count`` messages of type ``msgtype``, and the QoS that its publishers offered.

    Attributes:
        name: absolute.
        msgtype: where the bag has messages of several types on the topic, the one that is read.
        count: messages.
        qos: that its publishers offered.
        unreadable: why its messages cannot be read; empty where they can. They are never yielded.
        doubt: why what is read of it may be wrong; empty where nothing is known.
        definition, digest: of the type, as the recorder wrote them; empty where it did not.
        num_publishers: that sent them, as far as the recorder wrote it: of that file which has most.
    """

    name: str
    msgtype: str
    count: int
    qos: tuple[OfferedQos, ...] = ()
    unreadable: str = ''
    doubt: str = ''
    definition: str = ''
    digest: str = ''
    num_publishers: int = 1


@dataclass(frozen=True)
class Bag:
    """A rosbag2 (directory, .mcap or .db3); ``start_ns`` and ``end_ns`` bound its record times.

    It holds no open file: each call of ``messages`` opens the bag for itself, so several threads may read at once.
    ``defects`` has a line for each part of it that is missing, cut off or damaged.
    """

    path: Path
    start_ns: int
    end_ns: int
    topics: dict[str, Topic]
    files: tuple[Path, ...] = ()
    defects: tuple[str, ...] = ()

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
            BagError: a file that was there when the bag was opened cannot be read.
        """
        wanted = {name for name in topics if name in self.topics and not self.topics[name].unreadable}
        read = dict.fromkeys(sorted(wanted), 0)
        for path in self.files if wanted else ():
            try:
                with opened(path) as file:
                    names = {
                        channel.key: name
                        for channel in file.channels
                        if (name := _absolute(channel.topic)) in wanted and channel.msgtype == self.topics[name].msgtype
                    }
                    for key, record_ns, raw in file.messages(names.keys()):
                        read[names[key]] += 1
                        yield names[key], record_ns, _uncompressed(raw)
            except Exception as error:
                raise _unreadable(self.path, error) from error
        for line in self.unread(read):
            _logger.warning('%s: %s', self.path, line)

    def unread(self, read: Mapping[str, int]) -> list[str]:
        """Return a line for each topic of which not as many messages were read as the bag had when it was opened.

        Args:
            read: by topic of the bag, messages that were read of it once the bag has been read to its end; of one that
                is ``unreadable`` none are expected.
        """
        counts = {name: 0 if self.topics[name].unreadable else self.topics[name].count for name in read}
        return [
            f'{read[name]} of {count} messages on {printable(name, MAX_SHOWN)} are read'
            for name, count in counts.items()
            if read[name] != count
        ]

    def deserialize(self, topic: str, raw: bytes, types: Types = known) -> Any:
        """Return a message of ``topic``, as ``cdr.deserialize`` does.

        Args:
            topic: its name.
            raw: the message.
            types: gives the type of the topic.

        Raises:
            BagError: its type is not known, or ``raw`` is no message of it.
        """
        msgtype = self.topics[topic].msgtype
        try:
            return deserialize(raw, types(msgtype))
        except ConfigError as error:
            raise BagError(f'{topic}: {error}') from error
        except ValueError as error:
            raise BagError(f'{topic}: {len(raw)} bytes that are no {msgtype} ({_in_one_line(error)})') from error


def open_bag(path: Path, types: Collection[str] = ()) -> Bag:
    """Read which topics the bag at ``path`` has.

    Args:
        path: a directory, or one of its files.
        types: of a topic on which the bag has messages of several types, the first of these is read; where there is
            none, the first one.

    Raises:
        BagError: it does not exist, is not a rosbag2, none of its files can be read, or it has no message.
    """
    if not path.exists():
        raise BagError(f'{path}: there is no such bag')
    try:
        listing = files_of(path)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    contents = [_content(file) for file in listing.files]
    readable = [content for content in contents if content.error is None]
    if not readable:
        raise _unreadable(path, next(content.error for content in contents if content.error is not None))
    spans = [content.span_ns for content in readable if content.channels and any(content.span_ns)]
    bag = Bag(
        path,
        start_ns=min((start for start, _ in spans), default=0),
        end_ns=max((end for _, end in spans), default=0),
        topics=_topics([content.channels for content in readable], types),
        files=tuple(content.path for content in readable),
        defects=tuple(map(printable, (*listing.defects, *(line for content in contents for line in content.defects)))),
    )
    if bag.count == 0:
        raise BagError('; '.join((f'{path}: has no messages', *bag.defects)))
    return bag


def has_header(msgtype: str) -> bool:
    """Whether messages of a type begin with a std_msgs/Header, where it is known or Livox's; else False."""
    if msgtype in LIVOX:
        return True
    try:
        members = known(msgtype).get_fields_and_field_types()
    except ConfigError:
        return False
    return next(iter(members.values()), '') == 'std_msgs/Header'


@dataclass(frozen=True)
class Glimpse:
    """The start of a topic: its first message that can be read, and the period between header stamps, s."""

    first: Any
    period_s: float


def glimpse(bag: Bag, topics: Collection[str], seconds: float = 3.0, types: Types = known) -> dict[str, Glimpse]:
    """Read the start of some topics with a header: of each its first ``seconds``, and four messages at least.

    The period is the median one between its stamps in their order; of a topic with a single stamp it is the mean over
    the bag. Messages that cannot be read are passed over; a topic that has no others is not in the result. ``types``
    gives the types that are not known here.

    Raises:
        BagError: the bag cannot be read.
    """

    def type_of(name: str) -> Any:
        try:
            return known(name)
        except ConfigError:
            return types(name)

    first: dict[str, Any] = {}
    began_ns: dict[str, int] = {}
    stamps: dict[str, list[int]] = {name: [] for name in topics}
    left = {name: bag.topics[name].count for name in topics}
    for topic, record_ns, raw in bag.messages(topics):
        if topic in left:
            with suppress(BagError):
                if topic not in first:
                    first[topic] = bag.deserialize(topic, raw, type_of)
                stamp_ns = header_stamp_ns(raw)
                stamps[topic] += [] if stamp_ns is None else [stamp_ns]
            left[topic] -= 1
            is_over = record_ns > began_ns.setdefault(topic, record_ns) + seconds * 1e9
            if not left[topic] or (is_over and len(stamps[topic]) >= _FEWEST):
                del left[topic]
        if not left:
            break
    return {name: Glimpse(message, _period_s(bag, name, stamps[name])) for name, message in first.items()}


@dataclass(frozen=True)
class _Content:
    """What a file of a bag holds, or why it cannot be opened."""

    path: Path
    channels: tuple[Channel, ...] = ()
    span_ns: tuple[int, int] = (0, 0)
    defects: tuple[str, ...] = ()
    error: Exception | None = None


def _content(path: Path) -> _Content:
    try:
        with opened(path) as file:
            return _Content(path, tuple(file.channels), (file.start_ns, file.end_ns), tuple(file.defects))
    except Exception as error:  # whatever a parser makes of damaged bytes
        return _Content(path, defects=(f'{path.name} cannot be read ({_in_one_line(error)})',), error=error)


def _topics(files: Iterable[Iterable[Channel]], types: Collection[str]) -> dict[str, Topic]:
    groups: dict[str, list[list[Channel]]] = {}
    for channels in files:
        by_name = sorted(channels, key=lambda channel: _absolute(channel.topic))
        for name, group in itertools.groupby(by_name, key=lambda channel: _absolute(channel.topic)):
            groups.setdefault(name, []).append(list(group))
    return {name: _topic(name, groups[name], types) for name in sorted(groups)}


def _topic(name: str, files: list[list[Channel]], types: Collection[str]) -> Topic:
    channels = [channel for file in files for channel in file]
    found = [channel.msgtype for channel in channels if channel.count] or [channel.msgtype for channel in channels]
    msgtype = next((each for each in found if each in types), found[0])
    read = [channel for channel in channels if channel.msgtype == msgtype]
    formats = sorted({channel.serialization for channel in read} - {'cdr'})
    unreadable = f'its messages are {" and ".join(map(shown, formats))}, not CDR' if formats else ''
    doubts = [_other_types(channels, msgtype), *map(_doubt, read)]
    return Topic(
        name,
        msgtype,
        sum(channel.count for channel in read),
        tuple(qos for channel in read for qos in offered_qos(channel.qos)),
        unreadable,
        next(filter(None, doubts), ''),
        read[0].definition,
        read[0].digest,
        max(_num_publishers(channel for channel in file if channel.msgtype == msgtype) for file in files),
    )


def _num_publishers(channels: Iterable[Channel]) -> int:
    """Publishers of the channels of a file: a recorder writes the QoS of each, or gives each a channel of its own."""
    return sum(max(1, len(offered_qos(channel.qos))) for channel in channels)


def _other_types(channels: Iterable[Channel], msgtype: str) -> str:
    """What a topic has of other types than the one that is read."""
    left_out: Counter[str] = Counter()
    for channel in channels:
        if channel.msgtype != msgtype and channel.count:
            left_out[channel.msgtype] += channel.count
    listed = ', '.join(f'{count} of {shown(other)}' for other, count in left_out.items())
    return f'it has messages of several types: {shown(msgtype)} is read, left out are {listed}' if listed else ''


def _doubt(channel: Channel) -> str:
    """A type that the recording robot defined in another way than it is known here."""
    here = type_hash(channel.msgtype) if channel.digest else ''
    there = printable(channel.digest, MAX_SHOWN)
    return '' if here in ('', there) else f'its type hash is {there}, that of {channel.msgtype} is {here}'


def _absolute(topic: str) -> str:
    """The topic of a node without a namespace."""
    return f'/{topic.lstrip("/")}'


def _uncompressed(raw: bytes) -> bytes:
    """A message that was compressed by itself, as rosbag2 does in compression mode ``message``."""
    if not raw.startswith(compression.ZSTD_MAGIC):  # CDR begins with 0
        return raw
    return compression.decompressed(raw, 'zstd', compression.MAX_BYTES)


def _unreadable(path: Path, error: Exception) -> BagError:
    """One type for the errors of storages and parsers."""
    return BagError(f'{path}: cannot be read as a rosbag2: {_in_one_line(error)}')


def _in_one_line(error: Exception) -> str:
    return printable(' '.join(str(error).split())) or type(error).__name__


def _period_s(bag: Bag, name: str, stamps_ns: list[int]) -> float:
    steps = sorted(b - a for a, b in itertools.pairwise(sorted(set(stamps_ns))))
    return steps[len(steps) // 2] / 1e9 if steps else bag.duration_s / bag.topics[name].count
