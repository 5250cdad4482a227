# SPDX-License-Identifier: Apache-2.0
"""All use of rclpy's private interface, tried with 7.1.6 (Jazzy) and 9.1.2 (Kilted).

``take_message`` was, too, but it is used from Lyrical on alone, where nothing here was tried.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from rclpy.context import Context
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.subscription import Subscription

from robocache_ros.message import Deserialized
from robocache_ros.rcl import Taken

#: Raised by what was destroyed.
InvalidHandle: type[Exception] = rclpy_implementation.InvalidHandle
#: Raised for whatever rcl refuses or fails at.
RCLError: type[Exception] = rclpy_implementation.RCLError


def parameter_overrides(node: Node) -> Mapping[str, Parameter]:
    """Return the parameters that ``node`` was started with, declared or not."""
    overrides: Mapping[str, Parameter] = node._parameter_overrides
    return overrides


def lifecycle_state(node: Node) -> str:
    """Return the label of the node's state; ``unconfigured`` for one that has no lifecycle."""
    machine = getattr(node, '_state_machine', None)
    return 'unconfigured' if machine is None else str(machine.current_state[1])


def argument_error(error: Exception) -> str | None:
    """Return in one line what rcl finds wrong with the arguments of ROS; None where ``error`` is of another type."""
    if isinstance(error, rclpy_implementation.UnknownROSArgsError):
        return f'unknown arguments of ROS: {error}'
    if isinstance(error, (rclpy_implementation.RCLInvalidROSArgsError, RCLError)):
        return one_line(error)
    return None


def one_line(error: Exception) -> str:
    """Return the text of an error of rcl in one line, without the places in its sources."""
    return ' '.join(re.sub(r', at \S+\.c(pp)?:\d+', '', str(error)).split())


def take_message(subscription: Subscription) -> Taken | None:
    """Return the next message that has come, as an object; None where there is none, or one that is no such message.

    Raises:
        InvalidHandle: the subscription was destroyed.
    """
    with subscription.handle:
        taken = subscription.handle.take_message(subscription.msg_type, False)
    if taken is None:
        return None
    message, info = taken
    return Taken(Deserialized(message), info['source_timestamp'], info['received_timestamp'])


class SubscriptionWait:
    """Waits for the messages and the QoS events of a subscription without an executor.

    An executor must wait for neither: a reader of Fast DDS has one condition for both, and would wake it all the time.
    """

    def __init__(self, context: Context, subscription: Subscription) -> None:
        self._context = context
        self._subscription = subscription
        with context.handle:
            self._guard = rclpy_implementation.GuardCondition(context.handle)
            num_events = len(subscription.event_handlers)
            self._set = rclpy_implementation.WaitSet(1, 1, 0, 0, 0, num_events, context.handle)
        context.on_shutdown(self.wake)

    def wait(self) -> None:
        """Wait until there is a message, or an event, whose callback is then called, or until ``wake`` is called.

        Raises:
            InvalidHandle: the context or the subscription was destroyed.
        """
        events = self._subscription.event_handlers
        with ExitStack() as in_use:
            for entity in (self._context.handle, self._subscription.handle, self._guard, *events):
                in_use.enter_context(entity)
            self._set.clear_entities()
            self._set.add_subscription(self._subscription.handle)
            self._set.add_guard_condition(self._guard)
            for event in events:
                event.add_to_wait_set(self._set)
            self._set.wait(-1)
            happened = [(event, event.take_data()) for event in events if event.is_ready(self._set)]
        for event, what in happened:
            if what is not None:
                event.callback(what)

    def wake(self) -> None:
        """End the wait, or the next one, from any thread; called when the context is shut down, too."""
        with self._guard:
            self._guard.trigger_guard_condition()


def refuse_unknown_transitions(node: LifecycleNode, on_refused: Callable[[str, str, str], None]) -> None:
    """Answer a ``change_state`` whose id the present state does not have with ``success=False``.

    In rclpy before 8.0 such a request raises out of ``spin`` and ends the process. To be called once, in the node's
    constructor. ``on_refused`` is called with the transition, the state, and the transitions that it has.
    """
    service, machine = node._service_change_state, node._state_machine
    answer = service.callback

    def answer_known(request: Any, response: Any) -> Any:
        wanted, label = request.transition.id, request.transition.label
        possible = {each[0]: each[1] for each in machine.available_transitions}
        if label in possible.values() or (not label and wanted in possible):
            return answer(request, response)
        state = machine.current_state[1]
        names = ', '.join(f'{name} ({number})' for number, name in possible.items()) or 'nothing'
        on_refused(label or f'transition {wanted}', state, names)
        response.success = False
        return response

    service.callback = answer_known
