# SPDX-License-Identifier: Apache-2.0
"""Faults of the way from a sensor to its recorder: messages are lost, late, repeated or damaged."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np

from robocache_core.tunable import Checked, ConfigError, tunable
from robocache_core.units import MS, SECOND
from robocache_ros.bags import Topic
from robocache_ros.sources import SOURCES
from robocache_ros.tools.faults.fault import Change, Fault, Message
from robocache_ros.tools.faults.serialized import BODY, edited, with_data

_TRANSFORMS = 'tf2_msgs/msg/TFMessage'


@dataclass(frozen=True)
class Transport(Fault):
    """Of all topics but those of transforms, if none is named."""

    def is_meant_for(self, topic: Topic) -> bool:
        return topic.msgtype != _TRANSFORMS


@dataclass(frozen=True)
class Drop(Transport):
    """Messages do not arrive."""

    def change(self, message: Message, random: Random) -> Change:
        return Change(())


@dataclass(frozen=True)
class KeepEvery(Transport):
    """A sensor slows down: of some messages in a row one arrives."""

    keep_every: int = tunable(2, 'of so many messages in a row one arrives', low=2)

    def change(self, message: Message, random: Random) -> Change | None:
        return Change(()) if message.number % self.keep_every else None


@dataclass(frozen=True)
class Duplicate(Transport):
    """Messages arrive twice."""

    by_ns: int = tunable(MS, 'how long after the first the second arrives', unit='s', low=0)

    def change(self, message: Message, random: Random) -> Change:
        return Change((message, message._replace(record_ns=message.record_ns + self.by_ns)))


@dataclass(frozen=True)
class Delay(Transport):
    """Messages arrive later than they did."""

    by_ns: int = tunable(100 * MS, 'how much later', unit='s', low=0)
    jitter_ns: int = tunable(0, 'up to how much later still, at random', unit='s', low=0)

    def change(self, message: Message, random: Random) -> Change:
        late_ns = self.by_ns + random.randint(0, self.jitter_ns)
        return Change((message._replace(record_ns=message.record_ns + late_ns),), f'{late_ns} ns')


@dataclass(frozen=True)
class Ending(Transport):
    """A fault whose end is to be stated."""

    def check(self, prefix: str) -> None:
        super().check(prefix)
        if not self.until_ns:
            raise ConfigError(f'until = {self.until_ns / SECOND:g}: must say when it is over, in seconds')

    def at_the_end(self, message: Message) -> Message:
        """Return a message as it arrives when the fault is over."""
        return message._replace(record_ns=message.record_ns + self.until_ns - message.elapsed_ns)


@dataclass(frozen=True)
class Stall(Ending):
    """Messages are held back, and arrive together."""

    def change(self, message: Message, random: Random) -> Change:
        return Change((self.at_the_end(message),))


@dataclass(frozen=True)
class DelayTransforms(Delay):
    """TF comes late."""

    types = (_TRANSFORMS,)

    def is_meant_for(self, topic: Topic) -> bool:
        return True


@dataclass(frozen=True)
class DropTransforms(Drop):
    """TF does not come."""

    types = (_TRANSFORMS,)

    def is_meant_for(self, topic: Topic) -> bool:
        return True


@dataclass(frozen=True)
class Restart(Ending):
    """A publisher dies and comes back: what it publishes meanwhile is lost, and what it latches is sent once more."""

    def meets(self, message: Message, random: Random) -> bool:
        return self.reaches(message.topic) and (self.is_on(message.elapsed_ns) or self._repeats(message))

    def change(self, message: Message, random: Random) -> Change:
        if not self._repeats(message):
            return Change(())
        back = self.at_the_end(message)
        return Change((back,) if self.is_on(message.elapsed_ns) else (message, back), 'sent again')

    def _repeats(self, message: Message) -> bool:
        latched = any(qos.is_latched for qos in message.topic.qos)
        return latched and message.elapsed_ns < self.until_ns


@dataclass(frozen=True)
class Damage(Fault):
    """Of the topics that streams take, if none is named."""

    of: str = tunable(
        'message', 'what is damaged: the serialized message, or its data alone', choices=('message', 'data')
    )

    def is_meant_for(self, topic: Topic) -> bool:
        return topic.msgtype in SOURCES

    def change(self, message: Message, random: Random) -> Change | None:
        if self.of == 'message':
            raw, detail = self.damaged(message.raw, random, BODY)
        else:
            found = with_data(message)
            if found is None:
                return None
            data, detail = self.damaged(found.data.tobytes(), random, 0)
            found.data = np.frombuffer(data, np.uint8)
            raw = edited(message, found)
        return Change((message._replace(raw=raw),), detail)

    def damaged(self, data: bytes, random: Random, begin: int) -> tuple[bytes, str]:
        """Return what becomes of bytes, of which those from ``begin`` on may be damaged, and what was done."""
        raise NotImplementedError(f'{type(self).__name__}.damaged')


@dataclass(frozen=True)
class Truncate(Damage):
    """Messages are cut short."""

    keep: float = tunable(0.5, 'part of the bytes that is left', low=0.0, high=1.0)

    def damaged(self, data: bytes, random: Random, begin: int) -> tuple[bytes, str]:
        size = max(begin, int(len(data) * self.keep))
        return data[:size], f'{size} of {len(data)} bytes'


@dataclass(frozen=True)
class Flip(Damage):
    """Bits of messages are flipped."""

    bits: int = tunable(1, 'how many', low=1, high=1_000_000)

    def damaged(self, data: bytes, random: Random, begin: int) -> tuple[bytes, str]:
        flipped = bytearray(data)
        places = [random.randrange(8 * begin, 8 * len(data)) for _ in range(self.bits if len(data) > begin else 0)]
        for place in places:
            flipped[place // 8] ^= 1 << place % 8
        return bytes(flipped), f'bits {", ".join(map(str, places[:20]))}'


@dataclass(frozen=True)
class Loop(Checked):
    """The recording is played again: record times go on, and stamps jump back. It concerns all topics."""

    times: int = tunable(2, 'how often it is played', low=1, high=1_000_000)
