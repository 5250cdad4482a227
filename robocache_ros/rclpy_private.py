# SPDX-License-Identifier: Apache-2.0
"""All use of rclpy's private interface, tried with 7.1.6 (Jazzy) and 9.1.2 (Kilted)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.subscription import Subscription

#: Raised by what was destroyed.
InvalidHandle: type[Exception] = rclpy_implementation.InvalidHandle


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
    if not isinstance(error, rclpy_implementation.RCLInvalidROSArgsError):
        return None
    return ' '.join(re.sub(r', at \S+\.c:\d+', '', str(error)).split())


def take_message(subscription: Subscription) -> Any:
    """Return the next message that has arrived; None where there is none, or the subscription was destroyed."""
    try:
        with subscription.handle:
            taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
    except rclpy_implementation.InvalidHandle:  # by another thread, meanwhile
        return None
    return None if taken is None else taken[0]


def refuse_unknown_transitions(node: LifecycleNode) -> None:
    """Answer a ``change_state`` whose id the present state does not have with ``success=False`` and one log line.

    In rclpy before 8.0 such a request raises out of ``spin`` and ends the process. To be called once, in the node's
    constructor.
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
        node.get_logger().warning(
            f'change_state refused: {label or f"transition {wanted}"} is not possible while {state}; possible: {names}'
        )
        response.success = False
        return response

    service.callback = answer_known
