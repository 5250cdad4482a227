# SPDX-License-Identifier: Apache-2.0
"""Everything that is used of rclpy beyond its public interface, tried with 7.1.6 (Jazzy) and 9.1.2 (Kilted)."""

from __future__ import annotations

from typing import Any

from rclpy.lifecycle import LifecycleNode


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
