# SPDX-License-Identifier: Apache-2.0
"""The service that writes the flight recorder to a file."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from rclpy.lifecycle import LifecycleNode
from std_srvs.srv import Trigger

from robocache_ros.dumps import Dumps

SERVICE = '~/dump_record'


def offer_dumps(node: LifecycleNode, dumps: Dumps, undo: ExitStack) -> None:
    """Offer ``~/dump_record``, whose answer has the path of the file, until ``undo`` is closed."""

    def answer(request: Any, response: Any) -> Any:
        try:
            response.message, response.success = str(dumps.write('service')), True
        except OSError as error:
            response.message, response.success = f'cannot be written: {error}; see recorder.folder', False
        return response

    undo.callback(node.destroy_service, node.create_service(Trigger, SERVICE, answer))
