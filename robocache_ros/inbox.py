# SPDX-License-Identifier: Apache-2.0
"""Where messages wait between the subscriptions and the worker: bounded in count, bytes and age."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from robocache_core.config import QueueConfig
from robocache_core.ledger import Reason
from robocache_ros.clock import Clock


@dataclass(frozen=True)
class Arrival:
    """A message, when it arrived (steady clock, ns), and its place in the order of all arrivals."""

    message: Any
    nbytes: int
    arrived_ns: int
    order: int


class Level(NamedTuple):
    """How full an inbox is: messages and bytes that wait, and the saturation 0..1, the greater of both."""

    depth: int
    nbytes: int
    saturation: float


class Inbox:
    """One stream's bounded queue. Its methods return what they dropped, as ``(arrival, reason)``."""

    def __init__(self, config: QueueConfig) -> None:
        self.config = config
        self._queue: deque[Arrival] = deque()
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def saturation(self) -> float:
        """Fullness 0..1, the greater of count and bytes."""
        return max(len(self._queue) / self.config.depth, self.nbytes / self.config.max_bytes)

    @property
    def order(self) -> int | None:
        """Place of the oldest arrival in the order of all streams."""
        return self._queue[0].order if self._queue else None

    @property
    def arrived_ns(self) -> int | None:
        """When the oldest arrival came, steady clock."""
        return self._queue[0].arrived_ns if self._queue else None

    def has_room(self, nbytes: int) -> bool:
        """Whether a message of ``nbytes`` fits (an empty inbox takes any)."""
        fits = len(self._queue) < self.config.depth and self.nbytes + nbytes <= self.config.max_bytes
        return fits or not self._queue

    def put(self, arrival: Arrival) -> list[tuple[Arrival, Reason]]:
        """Add a message, making room as the policy says."""
        dropped: list[tuple[Arrival, Reason]] = []
        if self.config.policy == 'latest':
            dropped = [(old, Reason.SUPERSEDED) for old in self.clear()]
        while not self.has_room(arrival.nbytes):
            if self.config.policy == 'drop_newest':
                return [(arrival, Reason.INBOX_FULL)]
            dropped.append((self._pop(), Reason.INBOX_FULL))
        self._queue.append(arrival)
        self.nbytes += arrival.nbytes
        return dropped

    def take(self, now_ns: int) -> tuple[Arrival | None, list[tuple[Arrival, Reason]]]:
        """Return the oldest message within ``max_age``, and those that were older, as dropped."""
        dropped: list[tuple[Arrival, Reason]] = []
        while self._queue:
            arrival = self._pop()
            if self.config.policy == 'block' or now_ns - arrival.arrived_ns <= self.config.max_age_ns:
                return arrival, dropped
            dropped.append((arrival, Reason.INBOX_AGE))
        return None, dropped

    def clear(self) -> list[Arrival]:
        """Empty the queue; return what was in it."""
        dropped = list(self._queue)
        self._queue.clear()
        self.nbytes = 0
        return dropped

    def _pop(self) -> Arrival:
        arrival = self._queue.popleft()
        self.nbytes -= arrival.nbytes
        return arrival


class Inboxes:
    """All streams' inboxes behind one lock; ``take`` hands messages out in the order of arrival over all streams.

    Args:
        configs: bounds by stream.
        receive: called with the stream for every arrival.
        drop: called with stream and reason for everything that does not reach ``take``.
        clock: stamps arrivals.
    """

    def __init__(
        self,
        configs: Mapping[str, QueueConfig],
        receive: Callable[[str], None],
        drop: Callable[[str, Reason], None],
        clock: Clock,
    ) -> None:
        self._inboxes = {name: Inbox(config) for name, config in configs.items()}
        self._receive = receive
        self._drop = drop
        self._clock = clock
        self._changed = threading.Condition(threading.RLock())
        self._events: deque[tuple[int, Callable[[], None]]] = deque()
        self._next_order = 0
        self._open = False

    def open(self) -> None:
        """Accept messages."""
        with self._changed:
            self._open = True

    def close(self, reason: Reason) -> None:
        """Accept no more messages, drop those that wait, and wake the threads that wait."""
        with self._changed:
            self._open = False
            self._events.clear()
            for name, inbox in self._inboxes.items():
                for _ in inbox.clear():
                    self._drop(name, reason)
            self._changed.notify_all()

    def put(self, name: str, message: Any, nbytes: int) -> None:
        """Take in a message of stream ``name``; with policy ``block`` this waits for room."""
        with self._changed:
            if not self._open:
                return
            inbox = self._inboxes[name]
            if inbox.config.policy == 'block':
                self._changed.wait_for(lambda: inbox.has_room(nbytes) or not self._open)
                if not self._open:
                    return
            self._receive(name)
            arrival = Arrival(message, nbytes, self._clock.steady_ns(), self._next_order)
            self._next_order += 1
            self._count(name, inbox.put(arrival))
            self._changed.notify_all()

    def put_event(self, event: Callable[[], None]) -> None:
        """Have ``take`` return ``event``, in its place in the order of arrival."""
        with self._changed:
            if self._open:
                self._events.append((self._next_order, event))
                self._next_order += 1
                self._changed.notify_all()

    def take(self, timeout_s: float) -> tuple[str, Arrival] | Callable[[], None] | None:
        """Return the oldest event, or message with its stream; None after ``timeout_s`` seconds, or once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._events or self._oldest() or not self._open, timeout_s)
            while (name := self._oldest()) is not None:
                order = self._inboxes[name].order
                if self._events and order is not None and self._events[0][0] < order:
                    break
                arrival, dropped = self._inboxes[name].take(self._clock.steady_ns())
                self._count(name, dropped)
                self._changed.notify_all()
                if arrival is not None:
                    return name, arrival
            return self._events.popleft()[1] if self._events else None

    def _oldest(self) -> str | None:
        waiting = [(inbox.order, name) for name, inbox in self._inboxes.items() if inbox.order is not None]
        return min(waiting)[1] if waiting else None

    def _count(self, name: str, dropped: list[tuple[Arrival, Reason]]) -> None:
        for _, reason in dropped:
            self._drop(name, reason)

    def waited_ns(self) -> int:
        """Return how long the oldest message of all has waited, ns; 0 where there is none."""
        with self._changed:
            arrived = [inbox.arrived_ns for inbox in self._inboxes.values() if inbox.arrived_ns is not None]
            return self._clock.steady_ns() - min(arrived) if arrived else 0

    def __len__(self) -> int:
        with self._changed:
            return sum(len(inbox) for inbox in self._inboxes.values())

    @contextmanager
    def still(self) -> Iterator[None]:
        """Hold back messages in both directions within the context."""
        with self._changed:
            yield

    def levels(self) -> dict[str, Level]:
        """Return by stream how full its inbox is."""
        with self._changed:
            return {name: Level(len(inbox), inbox.nbytes, inbox.saturation) for name, inbox in self._inboxes.items()}
