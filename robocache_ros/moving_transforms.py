# SPDX-License-Identifier: Apache-2.0
"""The transforms that a bag carries on /tf, taken in while its messages pass by."""

from __future__ import annotations

from robocache_ros.bags import Bag, BagError
from robocache_ros.event_log import EventLog
from robocache_ros.events import Event
from robocache_ros.static_transforms import StaticTransforms, why_unread
from robocache_ros.transform_buffer import TransformBuffer

_TOPIC = '/tf'


class MovingTransforms:
    """Fills a buffer with the transforms of a bag.

    Args:
        bag: the bag.
        static: its static transforms.
        log: receives what is ignored.

    Attributes:
        buffer: holds them.
        topics: those that it takes messages of; empty where the bag has none that can be read.
    """

    def __init__(self, bag: Bag, static: StaticTransforms, log: EventLog) -> None:
        self.buffer = TransformBuffer(static)
        self._bag, self._log = bag, log
        self._unreadable = ''
        topic = bag.topics.get(_TOPIC)
        why = '' if topic is None else why_unread(topic)
        self.topics = frozenset() if topic is None or why else frozenset({_TOPIC})
        if why:
            self._ignore(f'{_TOPIC} is ignored: {why}')

    def take(self, raw: bytes, record_ns: int) -> None:
        """Take in a message; one that cannot be read is ignored."""
        try:
            self.buffer.take(self._bag.deserialize(_TOPIC, raw))
        except BagError as error:
            self._unreadable = f'the message recorded at {record_ns} ns is ignored: {error}'

    def conclude(self) -> None:
        """Log what was ignored, of each frame the last one; after the last message."""
        for line in filter(None, (self._unreadable, *self.buffer.ignored.values())):
            self._ignore(line)

    def _ignore(self, line: str) -> None:
        self._log.emit(Event.BAG_DEFECT, bag=str(self._bag.path), detail=line)
