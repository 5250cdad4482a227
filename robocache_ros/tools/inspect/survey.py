# SPDX-License-Identifier: Apache-2.0
"""All topics of a bag, looked at while its messages pass by."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from robocache_ros.bag_types import types_in
from robocache_ros.bags import Bag, Topic, has_header
from robocache_ros.cdr import header_stamp_ns
from robocache_ros.message_types import Types
from robocache_ros.tools.inspect.contents import contents_of
from robocache_ros.tools.inspect.spread import Spread
from robocache_ros.tools.inspect.stamps import Stamps


class TopicSurvey:
    """What was seen of one topic.

    Attributes:
        topic: as the bag has it.
        is_stamped: its messages begin with a header.
        stamps: when its messages were taken and recorded.
        contents: what they hold; None for types that no stream takes.
        nbytes: of each message.
    """

    def __init__(self, topic: Topic, bag: Bag, types: Types) -> None:
        self.topic = topic
        self.is_stamped = has_header(topic.msgtype)
        self.stamps = Stamps(bag.start_ns, bag.end_ns, is_stamped=self.is_stamped)
        self.contents = contents_of(topic.msgtype, types)
        self.nbytes = Spread()

    def take(self, record_ns: int, raw: bytes) -> None:
        """Look at a message."""
        self.nbytes.take(len(raw))
        is_readable = self.contents is None or self.contents.take(record_ns, raw)
        self.stamps.take(record_ns, header_stamp_ns(raw) if self.is_stamped and is_readable else None)


class BagSurvey:
    """Looks at every message of a bag, in memory that its length does not matter to.

    Args:
        bag: the bag.
        progress: called with the record time of each message, ns since the start of the bag.

    Attributes:
        topics: by name.
    """

    def __init__(self, bag: Bag, progress: Callable[[int], None]) -> None:
        self.bag, self._progress = bag, progress
        types = types_in(bag)
        self.topics = {name: TopicSurvey(topic, bag, types) for name, topic in bag.topics.items()}

    def messages(self, _: Bag, wanted: Collection[str]) -> Iterator[tuple[str, int, bytes]]:
        """Yield what ``Bag.messages`` does, having looked at these messages and at those of all other topics."""
        for topic, record_ns, raw in self.bag.messages(self.topics.keys()):
            self.topics[topic].take(record_ns, raw)
            self._progress(record_ns - self.bag.start_ns)
            if topic in wanted:
                yield topic, record_ns, raw
