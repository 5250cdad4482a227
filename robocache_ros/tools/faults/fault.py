# SPDX-License-Identifier: Apache-2.0
"""What every fault is: a choice of messages, and a function from one message to those that it becomes.

A fault has no state and no clock: the same message with the same random numbers becomes the same, from a bag and live.
What it gives is recorded no earlier than the message itself.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from random import Random
from typing import ClassVar, NamedTuple

from robocache_core.tunable import Checked, ConfigError, tunable
from robocache_core.units import SECOND
from robocache_ros.bags import Topic


class Message(NamedTuple):
    """A serialized message.

    Attributes:
        topic: on which it was recorded.
        record_ns: when it was recorded, or is to arrive.
        raw: as it is serialized.
        number: of the message on its topic, from 0.
        lap: how often the bag had been through before it.
        elapsed_ns: time from the first message of all to this one.
    """

    topic: Topic
    record_ns: int
    raw: bytes
    number: int
    lap: int = 0
    elapsed_ns: int = 0


class Change(NamedTuple):
    """What a fault makes of a message: the messages that it becomes, and what was done, for the list of injections."""

    messages: tuple[Message, ...]
    detail: str = ''


@dataclass(frozen=True)
class Fault(Checked):
    """Changes the messages of some topics, all of them or a part, for a while."""

    #: Message types that it can change; empty: all. Only those are taken where ``topic`` is not given.
    types: ClassVar[Collection[str]] = ()

    topic: str = tunable('', 'its topics, * for any characters; empty: all whose type it can change')
    from_ns: int = tunable(0, 'when it begins, in the time of the recording from its first message', unit='s', low=0)
    until_ns: int = tunable(0, 'when it ends; 0: with the recording', unit='s', low=0)
    share: float = tunable(1.0, 'part of the messages that it meets, chosen at random', low=0.0, high=1.0)

    def check(self, prefix: str) -> None:
        if 0 < self.until_ns <= self.from_ns:
            raise ConfigError(
                f'until = {self.until_ns / SECOND:g}: must be 0, or after from = {self.from_ns / SECOND:g} s'
            )

    def meets(self, message: Message, random: Random) -> bool:
        """Whether it changes a message."""
        return self.reaches(message.topic) and self.is_on(message.elapsed_ns) and random.random() < self.share

    def reaches(self, topic: Topic) -> bool:
        """Whether it can change messages of a topic."""
        if self.types and topic.msgtype not in self.types:
            return False
        return fnmatchcase(topic.name, self.topic) if self.topic else self.is_meant_for(topic)

    def is_meant_for(self, topic: Topic) -> bool:
        """Whether it changes messages of a topic, though no topic is named."""
        return True

    def is_on(self, elapsed_ns: int) -> bool:
        """Whether it acts at a time after the first message."""
        return self.from_ns <= elapsed_ns and (not self.until_ns or elapsed_ns < self.until_ns)

    @abstractmethod
    def change(self, message: Message, random: Random) -> Change | None:
        """Return what a message becomes; None where nothing can be done to it, as its bytes are no such message."""
