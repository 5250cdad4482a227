# SPDX-License-Identifier: Apache-2.0
"""Threads that take messages, one for each subscription: an image does not wait until a cloud has been copied."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.context import Context
from rclpy.subscription import Subscription

from robocache_ros.decoders import Decoding
from robocache_ros.rcl import Taken
from robocache_ros.rclpy_private import InvalidHandle, SubscriptionWait

#: Time that ``stop`` gives to the message at hand.
STOP_S = 5.0


class ReadOnThread(CallbackGroup):  # type: ignore[misc]  # rclpy has no types
    """Of subscriptions that a ``Reader`` reads: no executor handles them, or their events."""

    def can_execute(self, entity: Any) -> bool:
        """Return whether an executor may handle ``entity``."""
        return False

    def beginning_execution(self, entity: Any) -> bool:
        """Return whether an executor may handle ``entity`` now."""
        return False

    def ending_execution(self, entity: Any) -> None:
        """Take notice that ``entity`` was handled, which does not happen."""


class Reader:
    """Takes the messages of a subscription, and calls back for its events, on a thread of its own.

    The subscription's own callback is called by no executor that heeds its callback group.

    Args:
        context: of the subscription; the thread ends with it.
        subscription: its callback group is a ``ReadOnThread``.
        take: takes the next message; gives None where there is none.
        put: called with every message; of what it returns ``here`` is called once no message waits, else ``elsewhere``.
        on_failure: called, within the handler of an exception that nothing foresees; the thread goes on.
    """

    def __init__(
        self,
        context: Context,
        subscription: Subscription,
        take: Callable[[Subscription], Taken | None],
        put: Callable[[Taken], Decoding | None],
        on_failure: Callable[[], None],
    ) -> None:
        self._context = context
        self._subscription = subscription
        self._put = put
        self._on_failure = on_failure
        self._take = take
        self._wait = SubscriptionWait(context, subscription)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f'read {subscription.topic_name}', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the message at hand.

        Raises:
            TimeoutError: that goes on for longer than ``STOP_S``; the thread ends after it.
        """
        self._stopping.set()
        self._wait.wake()
        self._thread.join(STOP_S)
        if self._thread.is_alive():
            raise TimeoutError(f'{self._subscription.topic_name} is still being read after {STOP_S} s')

    def _run(self) -> None:
        while self._goes_on:
            try:
                self._wait.wait()
                self._take_all()
            except InvalidHandle:  # the node was destroyed
                return
            except Exception:
                self._on_failure()

    @property
    def _goes_on(self) -> bool:
        return not self._stopping.is_set() and bool(self._context.ok())

    def _take_all(self) -> None:
        """Take what has come. No message waits here for an image to be decoded while another one has come behind it."""
        decoding = None
        while self._goes_on and (taken := self._take(self._subscription)) is not None:
            if decoding is not None:
                decoding.elsewhere()
            decoding = self._put(taken)
        if decoding is not None:
            decoding.here()
