# SPDX-License-Identifier: Apache-2.0
"""Faults of clocks, and of what else a header says."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from random import Random

from robocache_core.text import shown
from robocache_core.tunable import tunable
from robocache_core.units import SECOND
from robocache_ros.bags import Topic
from robocache_ros.cdr import header_stamp_ns
from robocache_ros.tools.faults.fault import Change, Fault, Message
from robocache_ros.tools.faults.serialized import decoded, edited, has_header, with_stamp

#: By how much TAI is ahead of UTC since 2017, ns.
TAI_NS = 37 * SECOND


@dataclass(frozen=True)
class Stamps(Fault):
    """Changes the stamps of headers."""

    def is_meant_for(self, topic: Topic) -> bool:
        return has_header(topic.msgtype)

    def change(self, message: Message, random: Random) -> Change | None:
        stamp_ns = header_stamp_ns(message.raw)
        if stamp_ns is None:
            return None
        return Change((message._replace(raw=self.stamped(message, stamp_ns)),))

    @abstractmethod
    def stamped(self, message: Message, stamp_ns: int) -> bytes:
        """Return the bytes of a message, whose stamp is ``stamp_ns``, with another one."""


@dataclass(frozen=True)
class Skew(Stamps):
    """Stamps are off by a constant."""

    by_ns: int = tunable(200_000_000, 'by how much stamps are ahead; below 0: behind', unit='s')

    def stamped(self, message: Message, stamp_ns: int) -> bytes:
        return with_stamp(message.raw, stamp_ns + self.by_ns)


@dataclass(frozen=True)
class Drift(Stamps):
    """A clock runs fast or slow, from ``from`` on."""

    ppm: float = tunable(100.0, 'by how much it is fast, parts per million; below 0: slow', low=-1e6, high=1e6)

    def stamped(self, message: Message, stamp_ns: int) -> bytes:
        return with_stamp(message.raw, stamp_ns + round((message.elapsed_ns - self.from_ns) * self.ppm / 1e6))


@dataclass(frozen=True)
class Nanoseconds(Stamps):
    """The part of a second in a stamp is a second or more."""

    def stamped(self, message: Message, stamp_ns: int) -> bytes:
        return with_stamp(message.raw, stamp_ns, more_ns=SECOND)


@dataclass(frozen=True)
class ZeroStamp(Stamps):
    """Stamps are not set."""

    def stamped(self, message: Message, stamp_ns: int) -> bytes:
        return with_stamp(message.raw, 0)


@dataclass(frozen=True)
class FrameId(Fault):
    """A sensor is in another coordinate frame."""

    to: str = tunable('wrong_frame', 'name of the frame')

    def is_meant_for(self, topic: Topic) -> bool:
        return has_header(topic.msgtype)

    def change(self, message: Message, random: Random) -> Change | None:
        found = decoded(message)
        if found is None or not hasattr(found, 'header'):
            return None
        before, found.header.frame_id = found.header.frame_id, self.to
        return Change((message._replace(raw=edited(message, found)),), f'was {shown(before)}')
