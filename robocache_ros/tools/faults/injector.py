# SPDX-License-Identifier: Apache-2.0
"""Puts faults into a stream of messages, and lists every one of them."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from robocache_ros.cdr import header_stamp_ns
from robocache_ros.tools.faults.fault import Fault, Message
from robocache_ros.tools.faults.serialized import has_header


@dataclass(frozen=True)
class Injection:
    """One message that a fault changed.

    Attributes:
        kind: of the fault.
        topic: of the message.
        number: of the message on its topic in what the faults were put into, from 0.
        lap: how often that had been through before it.
        stamp_ns: of its header, before the fault; None where it has none.
        record_ns: when it was recorded.
        added: messages that there are more for it: -1 where it is gone, 0 where it was changed.
        detail: what was done.
    """

    kind: str
    topic: str
    number: int
    lap: int
    stamp_ns: int | None
    record_ns: int
    added: int
    detail: str = ''

    @classmethod
    def of(cls, kind: str, message: Message, added: int, detail: str = '') -> Injection:
        """Return the injection of a fault of some kind into ``message``."""
        stamp_ns = header_stamp_ns(message.raw) if has_header(message.topic.msgtype) else None
        return cls(kind, message.topic.name, message.number, message.lap, stamp_ns, message.record_ns, added, detail)


class Injector:
    """Applies faults in their order to each message, and gives what becomes of them in the order of record times.

    Args:
        faults: each with the name of its kind.
        seed: of all that is random: the same seed changes the same messages in the same way.

    Attributes:
        injections: those since they were last taken away.
    """

    def __init__(self, faults: Sequence[tuple[str, Fault]], seed: int) -> None:
        self._faults, self._seed = tuple(faults), seed
        #: Messages that are not due yet, with their record times and the order in which they came.
        self._waiting: list[tuple[int, int, Message]] = []
        self._num_put = 0
        self.injections: list[Injection] = []

    def put(self, message: Message) -> None:
        """Take the next message, recorded no earlier than the one before it."""
        messages = [message]
        for index, (kind, fault) in enumerate(self._faults):
            messages = [each for one in messages for each in self._changed(index, kind, fault, one)]
        for each in messages:
            heapq.heappush(self._waiting, (each.record_ns, self._num_put, each))
            self._num_put += 1

    def due(self, now_ns: int | None = None) -> Iterator[Message]:
        """Yield the messages that arrive up to ``now_ns``, all where it is None, in the order of their record times."""
        while self._waiting and (now_ns is None or self._waiting[0][0] <= now_ns):
            yield heapq.heappop(self._waiting)[2]

    def _changed(self, index: int, kind: str, fault: Fault, message: Message) -> tuple[Message, ...]:
        random = Random(f'{self._seed} {index} {message.topic.name} {message.number} {message.lap}')
        change = fault.change(message, random) if fault.meets(message, random) else None
        if change is None:
            return (message,)
        self.injections.append(Injection.of(kind, message, len(change.messages) - 1, change.detail))
        return change.messages
